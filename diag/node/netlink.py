"""How is the kernel asked for its interfaces, addresses and routes? One dump of rtnetlink(7) each, no tools."""

from __future__ import annotations

import _socket as socket  # the module around it costs every node 4 ms of CPU
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Tuple

    Message = Tuple[bytes, "dict[int, bytes]"]

NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, REQUEST_DUMP = 0x1, 0x1 | 0x300
TYPE_BITS = 0x3FFF
TIMEOUT_S = 5.0


def dump(kind: int, header_size: int) -> Iterator[Message]:
    """Every message of a dump: its fixed header and its attributes."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        kernel.settimeout(TIMEOUT_S)
        kernel.bind((0, 0))
        kernel.send(struct.pack("=IHHII16x", 32, kind, REQUEST_DUMP, 1, 0))
        while True:
            for answer, body in messages(kernel.recv(1 << 18)):
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    code = -struct.unpack("i", body[:4])[0]
                    raise OSError(code, os.strerror(code))
                yield body[:header_size], dict(attributes(body[header_size:]))
    finally:
        kernel.close()


def ask(kind: int, body: bytes, protocol: int = 0) -> bytes:
    """The body of the one message that answers. ``protocol``: NETLINK_ROUTE or another. OSError: the kernel's no."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        kernel.settimeout(TIMEOUT_S)
        kernel.bind((0, 0))
        kernel.send(struct.pack("=IHHII", 16 + len(body), kind, REQUEST, 1, 0) + body)
        for answer, told in messages(kernel.recv(1 << 16)):
            if answer == NLMSG_ERROR:
                code = -struct.unpack("i", told[:4])[0]
                raise OSError(code, os.strerror(code))
            return told
    finally:
        kernel.close()
    raise OSError("the kernel did not answer")


def messages(packet: bytes) -> Iterator[tuple[int, bytes]]:
    while len(packet) >= 16:  # noqa: PLR2004 - struct nlmsghdr
        length, kind = struct.unpack("=IH", packet[:6])
        yield kind, packet[16:length]
        packet = packet[(length + 3) & ~3 :]


def attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    while len(body) >= 4:  # noqa: PLR2004 - struct rtattr
        length, kind = struct.unpack("=HH", body[:4])
        if length < 4:  # noqa: PLR2004 - struct rtattr
            return
        yield kind & TYPE_BITS, body[4:length]
        body = body[(length + 3) & ~3 :]


def address(family: int, packed: bytes | None) -> str | None:
    if packed is None or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return socket.inet_ntop(family, packed)


def number(packed: bytes | None) -> int:
    return int(struct.unpack("=I", packed)[0]) if packed else 0


def text(packed: bytes) -> str:
    return packed.split(b"\0")[0].decode("utf-8", "replace")
