"""How do launchers and ranks say where they are, and learn who is not? Over a connection to the board."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Troubles = list[dict[str, str]]

PLACE = "DIAG_BOARD"
"""JSON: address and port of the board, source: the node's own data address, node: its number."""
TOKEN = "DIAG_TOKEN"  # noqa: S105 - the variable's name
BEAT_S = 1.0
LOST_S = 11.0
"""Later than the board loses us, so that it is the first to say who is cut off; soon enough to be heard after it."""
CONNECT_S = 10.0
BYE_S = 0.3
TERMINATED_S = 0.5
"""torchrun ends the ranks beside a dead one; until then there is word from the board of who that was."""


class Roll:
    """``on_trouble`` is called once, in the thread, with ``{"who", "cause", "what"}`` of each lost one.

    ``patience_s``: for how long this process may be silent where it is (what holds the interpreter silences it).
    """

    def __init__(self, who: str, phase: str, patience_s: float, on_trouble: Callable[[Roll, Troubles], None]) -> None:
        place = json.loads(os.environ[PLACE])
        self.on_trouble = on_trouble
        self.troubles: Troubles = []
        self.troubled = threading.Event()
        self._complete: dict[str, threading.Event] = {}
        self._sending = threading.Lock()
        self._over = False
        there = (place["address"], place["port"])
        self._socket = socket.create_connection(there, CONNECT_S, source_address=(place["source"], 0))
        self._heard = time.monotonic()
        self._woken, self._wake = os.pipe()
        self._send(token=os.environ[TOKEN], who=who, phase=phase, patience_s=patience_s)
        threading.Thread(target=self._serve, daemon=True, name="diag-roll").start()

    def say(self, phase: str, patience_s: float, **about: Any) -> None:
        self._send(phase=phase, patience_s=patience_s, about=about)

    def await_all(self, phase: str, timeout_s: float) -> bool:
        """Wait until all of this kind are at ``phase``; False: trouble came first, or nothing did."""
        complete = self._complete.setdefault(phase, threading.Event())
        self._send(ready=phase)
        until = time.monotonic() + timeout_s
        while not complete.wait(0.05):
            if self.troubled.is_set() or time.monotonic() > until:
                return False
        return True

    def failed(self, what: str) -> None:
        self._send(failed=what)

    def bye(self) -> None:
        """From here on nobody misses this process. Read to the end: what is unread would make the kernel cut it off."""
        self._over = True
        self._send(bye=True)
        with contextlib.suppress(OSError):
            self._socket.settimeout(BYE_S)
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(1 << 16):
                pass

    def on_sigterm(self) -> None:
        """Obey torchrun's SIGTERM even inside a collective: the thread does. Call it from the main thread."""
        signal.signal(signal.SIGTERM, lambda *_: None)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    # -- the thread

    def _send(self, **message: Any) -> None:
        with self._sending, contextlib.suppress(OSError):  # the thread finds out why
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _serve(self) -> None:
        kept, lost = b"", ""
        while not lost:
            ready = select.select([self._socket.fileno(), self._woken], [], [], BEAT_S)[0]
            if self._woken in ready and signal.SIGTERM in os.read(self._woken, 64):
                self._send(bye=True)
                threading.Timer(TERMINATED_S, self._terminate).start()
            if self._socket.fileno() in ready:
                chunk = self._receive()
                self._heard = time.monotonic()
                *lines, kept = (kept + chunk).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
                lost = "" if chunk else "the board's process ended"
            elif not ready:
                self._send()
                silent_s = time.monotonic() - self._heard
                lost = f"no answer from the board for {silent_s:.0f} s" if silent_s > LOST_S else ""
        if not self._over:
            self._learn([{"who": "board", "cause": "agent_silent", "what": lost}])

    def _terminate(self) -> None:
        self.bye()
        os._exit(128 + signal.SIGTERM)

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(1 << 16)
        except OSError:
            return b""

    def _obey(self, message: dict[str, Any]) -> None:
        if "all" in message:
            self._complete.setdefault(message["all"], threading.Event()).set()
        if "troubles" in message:
            self._learn(message["troubles"])

    def _learn(self, troubles: Troubles) -> None:
        told = self.troubled.is_set()
        self.troubles = troubles
        self.troubled.set()
        if not told and not self._over:
            self.on_trouble(self, troubles)
