from __future__ import annotations

import threading
import time

from diag.remote.ssh_alarm import Alarm


def test_alarms_ring_in_the_order_of_their_time():
    rung: list[str] = []
    now = time.monotonic()
    last = threading.Event()
    Alarm(now + 0.1, last.set)
    Alarm(now + 0.06, lambda: rung.append("second"))
    Alarm(now + 0.03, lambda: rung.append("first"))
    assert last.wait(2)
    assert rung == ["first", "second"]
    assert time.monotonic() - now >= 0.1


def test_an_alarm_that_was_called_off_does_not_ring():
    rung = threading.Event()
    alarm = Alarm(time.monotonic() + 0.03, rung.set)
    alarm.call_off()
    alarm.call_off()
    assert not rung.wait(0.1)


def test_an_alarm_in_the_past_rings_at_once():
    rung = threading.Event()
    Alarm(time.monotonic() - 1, rung.set)
    assert rung.wait(1)


def test_many_alarms_share_one_thread_that_ends_with_the_last():
    before = threading.active_count()
    alarms = [Alarm(time.monotonic() + 60 + number, lambda: None) for number in range(100)]
    assert threading.active_count() <= before + 1
    for alarm in alarms:
        alarm.call_off()
    until = time.monotonic() + 1
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.005)
    assert threading.active_count() <= before
