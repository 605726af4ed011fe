"""Which jump hosts are connected? One connection for all: sshd drops new ones when many come at once (MaxStartups)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from diag.errors import DiagError


class Closable(Protocol):
    """A connection."""

    @property
    def alive(self) -> bool: ...
    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


class _Slot(Generic[C]):
    def __init__(self) -> None:
        self.made = threading.Event()
        self.users = 0
        self.connection: C | None = None
        self.error: DiagError | None = None


class Jumps(Generic[C]):
    """Connections by key; each lives as long as somebody uses it. A failure is told to all who wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[Hashable, _Slot[C]] = {}

    def take(self, key: Hashable, make: Callable[[], C], until: float) -> C:
        """The open connection, or what ``make`` opens. Raises what ``make`` raised, TimeoutError at ``until``."""
        with self._lock:
            slot = self._slots.get(key)
            mine = slot is None or (slot.connection is not None and not slot.connection.alive)
            if slot is None or mine:
                slot = self._slots[key] = _Slot()
            slot.users += 1
        if mine:
            self._fill(slot, make)
        elif not slot.made.wait(max(0.0, until - time.monotonic())):
            self.give_back(key, slot.connection)
            raise TimeoutError
        if slot.error or slot.connection is None:
            raise slot.error or TimeoutError
        return slot.connection

    def _fill(self, slot: _Slot[C], make: Callable[[], C]) -> None:
        try:
            slot.connection = make()
        except DiagError as error:
            slot.error = error
        finally:
            slot.made.set()

    def give_back(self, key: Hashable, connection: C | None) -> None:
        """One user less; the last one closes it."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is None or slot.connection is not connection:
                return
            slot.users -= 1
            last = slot.users == 0 and connection is not None
            if last:
                del self._slots[key]
        if last and connection is not None:
            connection.close()
