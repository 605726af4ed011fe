"""Which keys were read already? Files and the agent are asked once for all hosts."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from diag.remote.ssh_identities import Identity, PublicKey, Unusable, read_public

AGENT_LIMIT_S = 3.0


class Keys:
    """The keyring of a run. May be used by several threads."""

    def __init__(self, load: Callable[[str], Identity], list_agent: Callable[[], tuple[Identity, ...]]) -> None:
        """``load`` reads a file, and raises Unusable or FileNotFoundError."""
        self._load, self._list_agent = load, list_agent
        self._lock = threading.Lock()
        self._files: dict[str, Identity | Exception] = {}
        self._public: dict[str, list[PublicKey]] = {}
        self._agent: tuple[Identity, ...] | None = None

    def agent(self) -> tuple[Identity, ...]:
        """Nothing if there is no agent, or it does not answer."""
        with self._lock:
            if self._agent is None:
                answer: queue.SimpleQueue[tuple[Identity, ...]] = queue.SimpleQueue()
                ask = lambda: answer.put(self._list_agent())  # noqa: E731 - a thread's whole work
                threading.Thread(target=ask, daemon=True, name="diag asks the agent").start()
                try:
                    self._agent = answer.get(timeout=AGENT_LIMIT_S)
                except queue.Empty:
                    self._agent = ()
            return self._agent

    def public(self, path: str) -> Sequence[PublicKey]:
        if path not in self._public:
            self._public[path] = read_public(path)
        return self._public[path]

    def file(self, path: str) -> Identity:
        with self._lock:
            if path not in self._files:
                try:
                    self._files[path] = self._load(path)
                except (Unusable, FileNotFoundError) as error:
                    self._files[path] = error
            found = self._files[path]
        if isinstance(found, Identity):
            return found
        raise found
