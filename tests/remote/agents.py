"""Real agents for tests: child processes with the product's code and a lock of their own, and what they left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diag.inventory import Host
from diag.remote import payload
from diag.remote.local import LocalChannel, LocalTransport
from diag.remote.session import JobEnd, Session, open_session

NODE = Path(__file__).parents[2] / "diag" / "node"


class TunedTransport:
    """The local transport; the agent's constants (``{"agent.LEASE_S": 1.0}``) are set before it starts."""

    def __init__(self, constants: dict[str, Any], first: str = "") -> None:
        modules = {name.partition(".")[0] for name in constants}
        self._first = f"import sys;sys.path.insert(0,{str(NODE)!r});" if constants else ""
        self._first += "".join(f"import {module};" for module in sorted(modules))
        self._first += "".join(f"{name}={value!r};" for name, value in constants.items()) + (first and first + ";")

    def open(self, host: Host, argv: tuple[str, ...], timeout_s: float) -> LocalChannel:
        *command, bootstrap, size = argv
        return LocalTransport().open(host, (*command, self._first + bootstrap, size), timeout_s)


class Workshop:
    """Starts agents whose folders and lock lie in ``folder``, and knows what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sessions: list[Session] = []

    def session(
        self, *, python: str | None = None, first: str = "", wrapper: tuple[str, ...] = (), **constants: Any
    ) -> Session:
        """``first``: statements before the agent's; ``agent__LEASE_S=1.0`` sets a constant of its modules."""
        self.sessions.append(open_session(self._host(python, wrapper), self._transport(first, constants), 20))
        return self.sessions[-1]

    def channel(self) -> LocalChannel:
        """An agent that awaits its code, without a session."""
        host = self._host(None, ())
        return self._transport("", {}).open(host, payload.command(host, sys.executable), 20)

    def _host(self, python: str | None, wrapper: tuple[str, ...]) -> Host:
        return Host(name="n1", transport="local", python=python, exec=wrapper, env=(("TMPDIR", str(self.folder)),))

    def _transport(self, first: str, constants: dict[str, Any]) -> TunedTransport:
        settings = {"lock.PATHS": (str(self.folder / "diag.lock"),)}
        return TunedTransport(settings | {name.replace("__", "."): value for name, value in constants.items()}, first)

    def left(self) -> list[str]:
        """Files in the folder, and processes that carry the folder in their environment."""
        return sorted(map(str, self.folder.iterdir())) + [f"process {pid}" for pid in self.processes()]

    def processes(self) -> list[int]:
        """All that were started with our TMPDIR: agents, watchers, workers, jobs and what they started."""
        needle = f"TMPDIR={self.folder}".encode()
        return [pid for pid in _pids() if needle in _read(f"/proc/{pid}/environ") and pid != os.getpid()]

    def assert_nothing_is_left(self, within_s: float = 5) -> None:
        assert until(lambda: not self.left(), within_s), self.left()

    def end(self) -> None:
        for session in self.sessions:
            session.abort()
        self._signal(signal.SIGCONT)
        if not until(lambda: not self.processes(), 5):
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    shop.end()


def until(true: Callable[[], object], within_s: float = 5) -> bool:
    """Wait for it."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return bool(true())


def shell(session: Session, script: str, deadline_s: float = 20, **env: str) -> tuple[JobEnd, list[Any]]:
    """Run a shell script as a job: how it ended, and its ``@diag`` lines."""
    lines: list[Any] = []
    end = session.job(["/bin/sh", "-c", script], env, deadline_s, lines.append)
    return end, lines


def is_running(pid: int) -> bool:
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:1] not in ([], [b"Z"], [b"X"])


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and is_running(int(path.name))]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
