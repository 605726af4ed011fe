"""Who tells the agents that we are still here? One thread for all sessions, for as long as there is one."""

from __future__ import annotations

import threading
from typing import Protocol

EVERY_S = 5.0


class Alive(Protocol):
    """A session whose lease is renewed."""

    def send_alive(self) -> None: ...


_sessions: dict[int, Alive] = {}
_lock = threading.Lock()
_changed = threading.Event()
_ticker: threading.Thread | None = None


def beat(session: Alive) -> None:
    """Renew the lease of ``session`` every few seconds from now on."""
    global _ticker  # noqa: PLW0603 - one thread for the whole process, started with the first session
    with _lock:
        _sessions[id(session)] = session
        if _ticker is None:
            _ticker = threading.Thread(target=_tick, daemon=True, name="diag heartbeat")
            _ticker.start()


def stop(session: Alive) -> None:
    with _lock:
        _sessions.pop(id(session), None)
        if not _sessions:
            _changed.set()


def _tick() -> None:
    global _ticker  # noqa: PLW0603 - as above
    while True:
        _changed.wait(EVERY_S)
        _changed.clear()
        with _lock:
            if not _sessions:
                _ticker = None
                return
            sessions = list(_sessions.values())
        for session in sessions:
            session.send_alive()
