"""Does a deadline end a stage, and is an interrupt remembered that somebody swallowed?"""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from diag.cli import end_at_once
from diag.cli.signals import heard, unwound, within
from diag.errors import DiagError


def test_a_stage_that_takes_too_long_is_one_line():
    with pytest.raises(DiagError) as error, within(0.05, "judge"):
        time.sleep(5)
    assert str(error.value) == "judge: not done within 0.05 s; give it more time: --deadline judge=SECONDS"


def deaf() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        time.sleep(5)


def test_a_deadline_holds_even_where_the_interrupt_was_swallowed():
    with pytest.raises(DiagError), within(0.05, "judge"):
        deaf()


def test_a_stage_in_time_leaves_no_timer_behind():
    before = signal.getsignal(signal.SIGALRM)
    with within(5, "plan"):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == before


@pytest.fixture
def told_of_hangups():
    """Under nohup they are ignored, by diag too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("told_of_hangups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_is_remembered(number):
    before = signal.getsignal(number)
    with heard() as signals:
        with contextlib.suppress(KeyboardInterrupt), signals.interruptible():
            os.kill(os.getpid(), number)
            time.sleep(1)
        assert signals.numbers == [number]
    assert signal.getsignal(number) == before


def test_an_interrupt_outside_what_may_be_interrupted_is_only_noted():
    with heard() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals


def test_whoever_insists_ends_what_is_not_to_be_interrupted():
    with heard() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert len(signals.numbers) == 2


def test_one_section_is_interrupted_once():
    with heard() as signals:
        with contextlib.suppress(KeyboardInterrupt), signals.interruptible():
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert len(signals.numbers) == 2


def test_under_nohup_a_hangup_ends_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with heard() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.numbers == []
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_prompt_is_unwound_and_what_follows_ends_at_once():
    before = signal.signal(signal.SIGINT, end_at_once)
    try:
        with pytest.raises(KeyboardInterrupt), unwound():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is end_at_once
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_inside_a_stage_is_none_of_its_deadline():
    with pytest.raises(KeyboardInterrupt), within(5, "judge"):
        raise KeyboardInterrupt
