"""Who is there, how far did each come, who fell silent? Launchers and ranks report here; it runs on the first node.

A store of torch counts its clients but names none, and can be asked only once torch is imported: a node that hangs in
that import, or has another version, would go unnamed. This one needs the standard library, listens on the data address
only, and wants a token. What it sees it tells the controller (as markers) and all who are there.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import select
import socket
import sys
import time

import alive
import markers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOOK_S = 0.25
MISSING_S = 15.0
"""After the first of its kind: a launcher needs 0.1 s, torchrun starts its ranks within one."""
TOGETHER_S = 0.15
"""What goes wrong this soon after the first did so by itself; nobody is told before, so nobody leaves because of it."""
BEAT_S = 1.5
"""Members speak every second."""
AWAY_S = 3.0
LINE_BYTES = 1 << 16


class Member:
    """A launcher (``node:1``) or a rank (``rank:5``)."""

    def __init__(self, who: str, now: float) -> None:
        self.who = who
        self.heard = now
        self.phase = ""
        self.patience_s = MISSING_S
        self.about: dict[str, Any] = {}
        self.ready: set[str] = set()
        self.gone = False

    @property
    def kind(self) -> str:
        return self.who.partition(":")[0]


class Board:
    """``expected``: kind -> how many of it."""

    def __init__(self, listener: socket.socket, token: str, peers: list[str], expected: dict[str, int]) -> None:
        self.listener, self.token, self.peers, self.expected = listener, token, set(peers), expected
        self.unknown: dict[int, tuple[socket.socket, bytes]] = {}
        self.members: dict[str, Member] = {}
        self.connections: dict[int, tuple[socket.socket, Member, bytes]] = {}
        self.first: dict[str, float] = {}
        self.troubles: list[dict[str, str]] = []
        self.troubled_at: float | None = None
        self.told = False
        self.looked = time.monotonic()

    # -- listening

    def turn(self) -> None:
        poll = select.poll()
        for fd in (self.listener.fileno(), *self.unknown, *self.connections):
            poll.register(fd, select.POLLIN)
        patience_s = LOOK_S if self.troubled_at is None or self.told else TOGETHER_S / 2
        for fd, _ in poll.poll(patience_s * 1000):
            if fd == self.listener.fileno():
                self._accept()
            elif fd in self.unknown:
                self._greet(fd)
            elif fd in self.connections:
                self._hear(fd)
        self._look(time.monotonic())

    def _accept(self) -> None:
        connection, (address, *_) = self.listener.accept()
        if address not in self.peers:
            connection.close()
            return
        connection.setblocking(False)
        self.unknown[connection.fileno()] = (connection, b"")

    def _greet(self, fd: int) -> None:
        """The first line of a connection has to carry the token and a name."""
        connection, received = self.unknown.pop(fd)
        chunk = _receive(connection)
        line, end, rest = (received + chunk).partition(b"\n")
        if not end and chunk and len(received) < LINE_BYTES:
            self.unknown[fd] = (connection, received + chunk)
            return
        hello = _parse(line)
        if not hmac.compare_digest(str(hello.get("token")), self.token):
            connection.close()
            return
        now = time.monotonic()
        member = Member(str(hello["who"]), now)
        self.first.setdefault(member.kind, now)
        self.members[member.who] = member
        self.connections[fd] = (connection, member, rest)
        self._obey(member, hello)
        self._tell(connection, {"troubles": self.troubles} if self.told else {})

    def _hear(self, fd: int) -> None:
        connection, member, kept = self.connections[fd]
        chunk = _receive(connection)
        *lines, rest = (kept + chunk).split(b"\n")
        member.heard = time.monotonic()
        self.connections[fd] = (connection, member, rest)
        for line in lines:
            self._obey(member, _parse(line))
            self._tell(connection, {})
        if not chunk:
            del self.connections[fd]
            connection.close()
            if not member.gone:
                member.gone = True
                self._trouble(member.who, "rank_died", f"its process ended in phase {member.phase}")

    def _obey(self, member: Member, line: dict[str, Any]) -> None:
        member.phase = line.get("phase", member.phase)
        member.patience_s = line.get("patience_s", member.patience_s)
        member.about.update(line.get("about", {}))
        if "failed" in line:
            self._trouble(member.who, "failed", line["failed"])
        if line.get("bye"):
            member.gone = True
        if "ready" in line:
            member.ready.add(line["ready"])
            self._complete(member.kind, line["ready"])

    # -- judging

    def _complete(self, kind: str, phase: str) -> None:
        """When the last one is ready, tell all; not when their versions differ."""
        ready = [member for member in self.members.values() if member.kind == kind and phase in member.ready]
        if len(ready) < self.expected[kind]:
            return
        for name in ("torch", "nccl"):
            self._compare(name, ready)
        if not self.troubles:
            self._tell_all({"all": phase}, kind)

    def _compare(self, name: str, members: list[Member]) -> None:
        versions = [str(member.about.get(name)).partition("+")[0] for member in members]  # a build is no version
        common = max(sorted(set(versions), key=versions.index), key=versions.count)
        for member, version in zip(members, versions):
            if version != common:
                cause = "version_differs" if name == "torch" else "nccl_version_or_env_differs_between_nodes"
                self._trouble(member.who, cause, f"loaded {name} {version}, the others {common}")

    def _look(self, now: float) -> None:
        if now - self.looked > AWAY_S:  # we were stopped: nobody's silence means anything
            for member in self.members.values():
                member.heard = now
        self.looked = now
        if self.troubled_at is not None:
            if now - self.troubled_at > TOGETHER_S and not self.told:
                self._tell_troubles()
            return
        missing = [who for kind, since in self.first.items() if now - since > MISSING_S for who in self._absent(kind)]
        for who in missing:
            self._trouble(who, "rank_missing", f"nothing was heard of it for {MISSING_S:g} s")
        there = [member for member in self.members.values() if not member.gone]
        if any(now - member.heard > member.patience_s for member in there):
            for member in there:
                silent_s = now - member.heard
                if silent_s > member.patience_s - BEAT_S:
                    self._trouble(member.who, "rank_frozen", f"silent for {silent_s:.0f} s in phase {member.phase}")

    def _absent(self, kind: str) -> list[str]:
        wanted = (f"{kind}:{number}" for number in range(self.expected[kind]))
        return [who for who in wanted if who not in self.members]

    def _trouble(self, who: str, cause: str, what: str) -> None:
        self.troubled_at = self.troubled_at or time.monotonic()
        if not self.told and all(known["who"] != who for known in self.troubles):
            self.troubles.append({"who": who, "cause": cause, "what": what})

    def _tell_troubles(self) -> None:
        """Once: what comes later follows from it."""
        self.told = True
        for trouble in self.troubles:
            markers.say(trouble=trouble)
        self._tell_all({"troubles": self.troubles})

    # -- telling

    def _tell_all(self, message: dict[str, Any], kind: str = "") -> None:
        for connection, member, _ in list(self.connections.values()):
            if kind in ("", member.kind):
                self._tell(connection, message)

    def _tell(self, connection: socket.socket, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # gone, or so far behind that its buffer is full: its silence will tell
            connection.send(json.dumps(message).encode() + b"\n")


def _receive(connection: socket.socket) -> bytes:
    """Empty: it ended, or broke. Asked only when something waits to be read."""
    try:
        return connection.recv(LINE_BYTES)
    except OSError:
        return b""


def _parse(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def listen(address: str) -> socket.socket:
    """On a free port of ``address``."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind((address, 0))
    listener.listen(1024)
    return listener


def main() -> None:
    """argv: a JSON object with address, peers, nodes, ranks, deadline_s; the token is in the environment."""
    alive.watch()
    markers.start_clock()
    asked = json.loads(sys.argv[1])
    try:
        listener = listen(asked["address"])
    except OSError as error:
        markers.say(board="failed", said=markers.one_line(error))
        sys.exit(1)
    board = Board(listener, os.environ["DIAG_TOKEN"], asked["peers"], {"node": asked["nodes"], "rank": asked["ranks"]})
    markers.say(board="listening", port=listener.getsockname()[1])
    until = time.monotonic() + asked["deadline_s"]
    while time.monotonic() < until:
        board.turn()


if __name__ == "__main__":
    main()
