"""How large a packet passes from this node to another in one piece? Proven by datagrams that nobody may fragment.

TCP hides it: it agrees on a smaller size, or its handshake passes and the first full packet does not.
"""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import struct
import time

import dials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS: dict[int, int] = {socket.AF_INET: 28, socket.AF_INET6: 48}
"""Of IP and UDP."""
LARGEST = 65535
SIZES = (9000, 8192, 4200, 4096, 2048, 1500, 1450, 1400, 1280, 576)
"""Tried below the interface's own MTU, the largest first."""
TRIES, ANSWER_S = 3, 0.12
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PROBE = 10, 23, 3
"""linux/in.h, linux/in6.h: don't fragment, whatever was learnt of the path before."""
PORT = struct.Struct("!H")
QUESTION = struct.Struct("!8sH")


class Paths:
    """One UDP socket on the data address; it answers ``peer`` alone, and only to who knows the token."""

    def __init__(self, address: str, port: int, peer: str, token: str) -> None:
        self.peer, self.there = peer, 0
        self.key = hashlib.sha256(b"path" + token.encode()).digest()[:8]
        family = dials.family_of(address)
        self.headers = HEADERS[family]
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PROBE)
        else:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PROBE)
        try:
            self.socket.bind((address, port))
        except OSError:  # that port was free of TCP alone; the other end is told which it is
            self.socket.bind((address, 0))

    def __enter__(self) -> Paths:  # noqa: PYI034 - Self is not in the oldest Python that runs this
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def tell_port(self, control: socket.socket, listens: bool) -> None:
        """Each tells the other where its socket is."""
        mine = PORT.pack(self.socket.getsockname()[1])
        if listens:
            self.there = PORT.unpack(dials.read_exactly(control, PORT.size))[0]
            control.sendall(mine)
        else:
            control.sendall(mine)
            self.there = PORT.unpack(dials.read_exactly(control, PORT.size))[0]

    def try_sizes(self, mtu: int) -> dict[str, Any]:
        """``path_mtu``: the largest that came through; 0: not even the smallest datagram did."""
        for size in (mtu, *(size for size in SIZES if size < mtu)):
            if size > self.headers + QUESTION.size and size <= LARGEST and self._passes(size):
                return {"path_mtu": size}
        return {"path_mtu": 0}

    def _passes(self, size: int) -> bool:
        question = QUESTION.pack(self.key, size).ljust(size - self.headers, b"\0")
        for _ in range(TRIES):
            try:
                self.socket.sendto(question, (self.peer, self.there))
            except OSError:  # EMSGSIZE: not even this node's own interface takes it
                return False
            if self._is_answered(size):
                return True
        return False

    def _is_answered(self, size: int) -> bool:
        until = time.monotonic() + ANSWER_S
        while select.select([self.socket], [], [], max(0.0, until - time.monotonic()))[0]:
            if self._heard() == size:
                return True
        return False

    def answer_until(self, control: socket.socket) -> None:
        """Say with a small datagram which size came, until the other says on ``control`` that it is done."""
        until = time.monotonic() + TRIES * ANSWER_S * (len(SIZES) + 1) + 1
        while time.monotonic() < until:
            ready = select.select([self.socket, control], [], [], max(0.0, until - time.monotonic()))[0]
            if self.socket in ready:
                size = self._heard(whole=True)
                if size:
                    self._answer(size)
            elif control in ready:
                dials.read_exactly(control, 1)
                return
        raise socket.timeout("the other side never said that it is done")

    def _answer(self, size: int) -> None:
        with contextlib.suppress(OSError):  # a rule of this node lets no datagram out: nothing is known of their size
            self.socket.sendto(QUESTION.pack(self.key, size), (self.peer, self.there))

    def _heard(self, *, whole: bool = False) -> int:
        """The size that a datagram of the peer names; 0: it is not ours, or not ``whole``."""
        try:
            datagram, (caller, *_) = self.socket.recvfrom(65536)
        except OSError:  # an ICMP answer to what we sent
            return 0
        if caller != self.peer or len(datagram) < QUESTION.size:
            return 0
        key, size = QUESTION.unpack_from(datagram)
        if key != self.key or (whole and len(datagram) != size - self.headers):
            return 0
        return int(size)
