"""How do an interrupt and a deadline end a stage of the controller, without ending the run?"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType

from diag.errors import DiagError

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class OutOfTime(KeyboardInterrupt):
    """The deadline of a stage; an interrupt to everybody in between, since pytest lets nothing else through."""


@contextlib.contextmanager
def heard() -> Generator[list[int]]:
    """The signals that asked for an end so far. Each interrupts like Ctrl-C; the list stays if pytest swallows it."""
    signals: list[int] = []

    def hear(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    wanted = [number for number in ENDING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, hear) for number in wanted}  # under nohup a hangup ends nothing
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def within(limit_s: float, stage: str) -> Generator[None]:
    """Raises DiagError when what is inside is not done in time, also where it swallowed the interrupt."""
    late = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        late.set()
        raise OutOfTime

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        with contextlib.suppress(OutOfTime):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if late.is_set():
        raise DiagError(stage, f"not done within {limit_s:g} s", do=f"give it more time: --deadline {stage}=SECONDS")
