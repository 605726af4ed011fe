"""Which ports of the other nodes can this node reach? It listens on the same ones meanwhile, and answers the others.

No port is opened that something uses, none dialled that a node of this run did not open, and all are closed when the
question is answered. A connection counts once the other end has shown that it knows the token.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import select
import socket
import time

import dials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AT_ONCE = 128
CONNECT_S = 2.0
REFUSED_S, REFUSED_SHARE = 1.5, 1 / 3
"""For so long, and for this share of the time, a refusal may mean that the other node has not begun: a thousand are not
asked at one moment."""
TOKEN_BYTES, ANSWER_BYTES = 32, 16
MOST_HELD = 700
"""Connections of others that are answered at once: with our own and the listeners fewer than 1,024 descriptors."""


def free(*, address: str, ports: list[int]) -> list[int]:
    """Those of ``ports`` that nothing uses at ``address`` now."""
    return [port for port in ports if dials.is_free(address, port)]


def knock(
    *, address: str, ports: list[int], used: dict[str, list[int]], name: str, token: str, nodes: dict[str, str],
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """``nodes``: name -> address, of all; this one is ``name``. ``used``: of those ``ports`` that are in use somewhere.

    ``failed``: [port, errno's name, [nodes]]; ``tried``, ``untried``: connections. ``not_opened``: ports of ours that
    could not be listened at after all.
    """
    names = list(nodes)
    after = names.index(name) + 1  # each begins with the next one, not all with the first
    others = {other: nodes[other] for other in names[after:] + names[: after - 1]}
    own = [port for port in ports if port not in used.get(name, ())]
    door = _Door(address, own, token, set(others.values()))
    targets = [
        (other, there, port) for other, there in others.items() for port in ports if port not in used.get(other, ())
    ]
    round_ = _Round(address, token, targets, seconds)
    until = time.monotonic() + seconds
    while time.monotonic() < until and not (round_.is_over() and door.has_seen_all()):
        poll = select.poll()
        for fd, events in {**door.waits_for(), **round_.waits_for()}.items():
            poll.register(fd, events)
        ready = dict(poll.poll(20))
        door.serve(ready)
        round_.go_on(ready)
    round_.end()
    door.close()
    return {**round_.told(), "not_opened": door.not_opened}


class _Door:
    """Our own listeners: open until every caller came to each, or the time is over."""

    def __init__(self, address: str, ports: list[int], token: str, callers: set[str]) -> None:
        self.token, self.callers = token.encode(), callers
        self.listeners: dict[int, socket.socket] = {}
        self.held: dict[int, tuple[socket.socket, float]] = {}
        self.not_opened: list[int] = []
        self.came = 0
        for port in ports:
            try:
                listener = dials.open_listener(address, port)
            except OSError:
                self.not_opened.append(port)
            else:
                listener.setblocking(False)
                self.listeners[listener.fileno()] = listener

    def waits_for(self) -> dict[int, int]:
        return dict.fromkeys((*(self.listeners if len(self.held) < MOST_HELD else ()), *self.held), select.POLLIN)

    def has_seen_all(self) -> bool:
        return self.came >= len(self.callers) * len(self.listeners) and not self.held

    def serve(self, ready: dict[int, int]) -> None:
        for fd in ready:
            if fd in self.listeners:
                self._accept(self.listeners[fd])
            elif fd in self.held:
                self._answer(fd)
        for fd, (connection, until) in list(self.held.items()):
            if time.monotonic() > until:
                connection.close()
                del self.held[fd]

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, (caller, *_) = listener.accept()
        except OSError:  # gone again
            return
        if caller not in self.callers:
            connection.close()
            return
        connection.setblocking(False)
        self.held[connection.fileno()] = (connection, time.monotonic() + CONNECT_S)

    def _answer(self, fd: int) -> None:
        """The token comes in one piece or is none; who dials closes first, so that no port of ours waits."""
        connection, _ = self.held[fd]
        try:
            shown = connection.recv(TOKEN_BYTES)
            if shown and hmac.compare_digest(shown, self.token):
                connection.send(_answer_to(self.token))
                self.came += 1
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        connection.close()
        del self.held[fd]

    def close(self) -> None:
        for connection, _ in self.held.values():
            connection.close()
        for listener in self.listeners.values():
            listener.close()


class _Round:
    """Our own dialling: ``AT_ONCE`` at a time."""

    def __init__(self, address: str, token: str, targets: list[tuple[str, str, int]], seconds: float) -> None:
        self.address, self.token, self.seconds = address, token.encode(), seconds
        self.waiting = targets[::-1]
        self.again: list[tuple[float, tuple[str, str, int]]] = []
        self.open: dict[int, tuple[socket.socket, tuple[str, str, int], float, bool]] = {}
        self.failed: dict[tuple[int, str], list[str]] = {}
        self.tried = 0
        self.refused_until = time.monotonic() + max(REFUSED_S, REFUSED_SHARE * seconds)

    def is_over(self) -> bool:
        return not (self.waiting or self.open or self.again)

    def waits_for(self) -> dict[int, int]:
        while self.again and self.again[0][0] <= time.monotonic():
            self.waiting.append(self.again.pop(0)[1])
        while self.waiting and len(self.open) < AT_ONCE:
            self._dial(self.waiting.pop())
        return {fd: select.POLLIN if shown else select.POLLOUT for fd, (_, _, _, shown) in self.open.items()}

    def _dial(self, target: tuple[str, str, int]) -> None:
        connection = socket.socket(dials.family_of(self.address), socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.bind((self.address, 0))
            code = connection.connect_ex((target[1], target[2]))
        except OSError as error:
            code = error.errno or errno.EIO
        if code in (0, errno.EINPROGRESS):
            self.open[connection.fileno()] = (connection, target, time.monotonic() + CONNECT_S, False)
        else:
            connection.close()
            self._end(target, code)

    def go_on(self, ready: dict[int, int]) -> None:
        for fd in list(self.open):
            connection, target, until, shown = self.open[fd]
            if fd not in ready:
                if time.monotonic() > until:
                    self._close(fd, errno.ETIMEDOUT)
                continue
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._close(fd, code)
            elif not shown:
                self._show(fd, connection, target, until)
            else:
                self._hear(fd, connection)

    def _show(self, fd: int, connection: socket.socket, target: tuple[str, str, int], until: float) -> None:
        try:
            connection.send(self.token)
            self.open[fd] = (connection, target, until, True)
        except OSError as error:
            self._close(fd, error.errno or errno.EIO)

    def _hear(self, fd: int, connection: socket.socket) -> None:
        try:
            answer = connection.recv(ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._close(fd, error.errno or errno.EIO)
        else:
            right = hmac.compare_digest(answer, _answer_to(self.token))
            self._close(fd, 0 if right else errno.ECONNRESET if not answer else errno.EBADMSG)

    def _close(self, fd: int, code: int) -> None:
        connection, target, _, _ = self.open.pop(fd)
        connection.close()
        self._end(target, code)

    def _end(self, target: tuple[str, str, int], code: int) -> None:
        if code == errno.ECONNREFUSED and time.monotonic() < self.refused_until:
            self.again.append((time.monotonic() + 0.1, target))
            return
        self.tried += 1
        if code:
            self.failed.setdefault((target[2], errno.errorcode.get(code, os.strerror(code))), []).append(target[0])

    def end(self) -> None:
        """Those that are still open had less than their time: they are not tried, like those that wait."""
        for connection, *_ in self.open.values():
            connection.close()

    def told(self) -> dict[str, Any]:
        untried = len(self.waiting) + len(self.open) + len(self.again)
        failed = [[port, error, names] for (port, error), names in sorted(self.failed.items())]
        return {"tried": self.tried, "untried": untried, "failed": failed}


def _answer_to(token: bytes) -> bytes:
    return hashlib.sha256(b"here" + token).digest()[:ANSWER_BYTES]
