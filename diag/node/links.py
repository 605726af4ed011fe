"""Which network interfaces, addresses and routes does this node have? Asked of the kernel through rtnetlink.

The layouts are those of rtnetlink(7), linux/if_link.h, linux/if_addr.h and linux/rtnetlink.h.
"""

from __future__ import annotations

import _socket as socket  # the module around it costs every node 4 ms of CPU
import os
import struct

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator, Tuple

    Message = Tuple[bytes, "dict[int, bytes]"]

RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE = 18, 22, 26
NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST_DUMP = 0x1 | 0x300
MAIN_TABLE, UNICAST = 254, 1
ROUTES_AT_MOST = 512
STATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_OPERSTATE, IFLA_LINKINFO = 1, 3, 4, 10, 16, 18
IFLA_INFO_KIND = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_TABLE, RTA_VIA = 1, 4, 5, 6, 7, 15, 18


def interfaces(root: str = "/") -> list[dict[str, Any]]:
    """Every interface with its addresses, but for veth ends that a bridge of this node holds (its containers')."""
    held: dict[int, list[str]] = {}
    for header, found in _dump(RTM_GETADDR, 8):
        family, prefix, _, _, index = struct.unpack("BBBBI", header)
        address = _address(family, found.get(IFA_LOCAL) or found.get(IFA_ADDRESS))
        if address:
            held.setdefault(index, []).append(f"{address}/{prefix}")
    rows = [_interface(header, found, held, root) for header, found in _dump(RTM_GETLINK, 16)]
    return [row for row in rows if not (row["link"] == "veth" and row.pop("held", None))]


def _interface(header: bytes, found: dict[int, bytes], held: dict[int, list[str]], root: str) -> dict[str, Any]:
    _, _, hardware, index, flags, _ = struct.unpack("BBHiII", header)
    name = _text(found[IFLA_IFNAME])
    folder = os.path.join(root, "sys/class/net", name)
    row = {
        "name": name,
        "link": _text(dict(_attributes(found.get(IFLA_LINKINFO, b""))).get(IFLA_INFO_KIND, b"")),
        "hardware": hardware,
        "loopback": bool(flags & 0x8),
        "device": os.path.exists(os.path.join(folder, "device")),
        "state": STATES[min(found.get(IFLA_OPERSTATE, b"\0")[0], len(STATES) - 1)],
        "mtu": _number(found.get(IFLA_MTU)),
        "mac": found.get(IFLA_ADDRESS, b"").hex(":") if found.get(IFLA_ADDRESS) else None,
        "addresses": held.get(index, []),
    }
    if row["device"] or row["link"] in ("bond", "vlan"):
        row["speed"] = proc.line(os.path.join(folder, "speed"))
    if IFLA_MASTER in found:
        row["held"] = True
    return row


def routes() -> list[dict[str, Any]]:
    """Unicast routes of the main table, default ones first; at most ROUTES_AT_MOST (a router may hold the world)."""
    names = dict(socket.if_nameindex())
    rows = []
    for header, found in _dump(RTM_GETROUTE, 12):
        family, prefix, _, _, table, _, _, kind, _ = struct.unpack("BBBBBBBBI", header)
        table = _number(found.get(RTA_TABLE)) or table
        if table == MAIN_TABLE and kind == UNICAST and RTA_OIF in found and not _is_link_local(family, found):
            rows.append(_route(family, prefix, found, names))
    rows.sort(key=lambda row: (row["destination"] != "default", row["gateway"] is not None))
    return rows[:ROUTES_AT_MOST]


def _is_link_local(family: int, found: dict[int, bytes]) -> bool:
    return family == socket.AF_INET6 and found.get(RTA_DST, b"")[:2] == b"\xfe\x80"


def _route(family: int, prefix: int, found: dict[int, bytes], names: dict[int, str]) -> dict[str, Any]:
    target = _address(family, found.get(RTA_DST))
    index = _number(found[RTA_OIF])
    via = found.get(RTA_VIA)
    gateway = _address(family, found.get(RTA_GATEWAY))
    if via and gateway is None:
        gateway = _address(struct.unpack("H", via[:2])[0], via[2:])
    return {
        "destination": f"{target}/{prefix}" if target and prefix else "default",
        "interface": names.get(index, str(index)),
        "gateway": gateway,
        "metric": _number(found.get(RTA_PRIORITY)),
        "source": _address(family, found.get(RTA_PREFSRC)),
    }


def _dump(kind: int, header_size: int) -> Iterator[Message]:
    """Every message of a dump: its fixed header and its attributes."""
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        kernel.settimeout(5)
        kernel.bind((0, 0))
        kernel.send(struct.pack("=IHHII16x", 32, kind, REQUEST_DUMP, 1, 0))
        while True:
            for answer, body in _messages(kernel.recv(1 << 18)):
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    code = -struct.unpack("i", body[:4])[0]
                    raise OSError(code, os.strerror(code))
                yield body[:header_size], dict(_attributes(body[header_size:]))
    finally:
        kernel.close()


def _messages(packet: bytes) -> Iterator[tuple[int, bytes]]:
    while len(packet) >= 16:  # noqa: PLR2004 - struct nlmsghdr
        length, kind = struct.unpack("=IH", packet[:6])
        yield kind, packet[16:length]
        packet = packet[(length + 3) & ~3 :]


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    while len(body) >= 4:  # noqa: PLR2004 - struct rtattr
        length, kind = struct.unpack("=HH", body[:4])
        if length < 4:  # noqa: PLR2004 - struct rtattr
            return
        yield kind & 0x3FFF, body[4:length]
        body = body[(length + 3) & ~3 :]


def _address(family: int, packed: bytes | None) -> str | None:
    if packed is None or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return socket.inet_ntop(family, packed)


def _number(packed: bytes | None) -> int:
    return int(struct.unpack("=I", packed)[0]) if packed else 0


def _text(packed: bytes) -> str:
    return packed.split(b"\0")[0].decode("utf-8", "replace")
