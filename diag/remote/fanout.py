"""How is the same work done for many nodes at once? A thread and a deadline for each; nobody is waited for longer."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from diag.errors import NodeError

T = TypeVar("T")


def each(
    work: Mapping[str, Callable[[], T]],
    *,
    width: int,
    deadline_s: float,
    on_done: Callable[[str, T | NodeError], None] = lambda _name, _result: None,
) -> dict[str, T | NodeError]:
    """What each call returned, or the NodeError that stopped it, in the order of ``work``.

    ``deadline_s`` is for all of them: past it, who has not finished is reported and its thread left to itself, and
    who was not begun is reported as that. Any other exception becomes a NodeError with the original as its cause:
    one node's surprise does not hide the others' results. ``on_done`` is called in the caller's thread.
    """
    results: dict[str, T | NodeError] = {}
    finished: queue.SimpleQueue[tuple[str, T | NodeError]] = queue.SimpleQueue()
    waiting = iter(work.items())
    until = time.monotonic() + deadline_s
    due: dict[str, float] = {}
    while len(results) < len(work):
        for name, call in itertools.islice(waiting, width - len(due)):
            due[name] = until
            if time.monotonic() >= until:
                finished.put((name, _not_begun(name, width, deadline_s)))
                continue
            threading.Thread(target=_run, args=(name, call, finished), daemon=True, name=f"diag {name}").start()
        for name, result in _collect(finished, due, deadline_s):
            del due[name]
            results[name] = result
            on_done(name, result)
    return {name: results[name] for name in work}


def _not_begun(name: str, width: int, deadline_s: float) -> NodeError:
    return NodeError(name, "agent_silent", f"not begun within {deadline_s:g} s: {width} others took all that time")


def _run(name: str, call: Callable[[], T], finished: queue.SimpleQueue[tuple[str, T | NodeError]]) -> None:
    try:
        finished.put((name, call()))
    except NodeError as error:
        finished.put((name, error))
    except Exception as error:  # noqa: BLE001 - the fan-out keeps the original as the cause
        surprise = NodeError(name, "agent_silent", f"unexpected {type(error).__name__}: {error}")
        surprise.__cause__ = error
        finished.put((name, surprise))


def _collect(
    finished: queue.SimpleQueue[tuple[str, T | NodeError]], due: Mapping[str, float], deadline_s: float
) -> list[tuple[str, T | NodeError]]:
    """The calls that finished by now, or that are past their deadline; waits for the first."""
    done: dict[str, T | NodeError] = {}
    try:
        name, result = finished.get(timeout=max(0.0, min(due.values()) - time.monotonic()))
        done[name] = result
        while True:
            name, result = finished.get_nowait()
            done[name] = result
    except queue.Empty:
        pass
    now = time.monotonic()
    for name in [name for name, at in due.items() if at <= now and name not in done]:
        done[name] = NodeError(name, "agent_silent", f"no answer within {deadline_s:g} s")
    return [(name, result) for name, result in done.items() if name in due]
