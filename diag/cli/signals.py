"""How do an interrupt and a deadline end a stage of the controller, without ending the run?"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType

from diag.cli import ENDING, end_at_once
from diag.errors import DiagError

INSISTING = 2
"""So many signals end what is not to be interrupted."""


class OutOfTime(KeyboardInterrupt):
    """The deadline of a stage; an interrupt to everybody in between, since pytest lets nothing else through."""


class Signals:
    """The signals that asked for an end so far.

    Inside ``interruptible`` the first one interrupts, like Ctrl-C. Anywhere else one is only noted, since what is known
    is still to be judged, written and told; whoever insists ends that too.
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.noted = 0
        self.open = False

    def __bool__(self) -> bool:
        return bool(self.numbers)

    @contextlib.contextmanager
    def interruptible(self) -> Generator[None]:
        self.open = True
        try:
            yield
        finally:
            self.open = False

    def hear(self, number: int, _frame: FrameType | None) -> None:
        self.numbers.append(number)
        if self.open:
            self.open = False  # once: what follows an interrupt is not interrupted by the same impatience
            raise KeyboardInterrupt
        self.noted += 1
        if self.noted >= INSISTING:
            raise KeyboardInterrupt


@contextlib.contextmanager
def heard() -> Generator[Signals]:
    """Hear the signals that ask for an end, until the results are told."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    wanted = [number for number in ENDING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, signals.hear) for number in wanted}  # under nohup a hangup ends nothing
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def unwound() -> Generator[None]:
    """An interrupt ends what is inside step by step, where a terminal has to be put back as it was."""
    if signal.getsignal(signal.SIGINT) is not end_at_once:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, end_at_once)


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
