"""How does a run on real hosts end that is interrupted, killed, or meets another one?"""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.lab.running import Run, complete, ranks_of, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.torch, pytest.mark.timeout(240)]


def test_ctrl_c_writes_what_is_known_and_leaves_nothing(lab4, tmp_path, leaves_nothing):
    with leaves_nothing(lab4):
        run = Run(lab4, tmp_path / "run")
        wait_for(lambda: all(ranks_of(host) for host in lab4.hosts), "ranks on all hosts")
        run.process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        run.wait(30)
    assert run.status == 130, run.stderr
    assert time.monotonic() - asked < 20
    assert json.loads((run.out / "snapshot.json").read_text())["interrupted"] is True
    assert set(run.outcomes("open_files_limit_is_high_enough").values()) == {"passed"}
    assert "Traceback" not in run.stderr


def test_a_controller_killed_outright_leaves_nothing(lab4, tmp_path, leaves_nothing):
    with leaves_nothing(lab4):
        run = Run(lab4, tmp_path / "run")
        wait_for(lambda: all(ranks_of(host) for host in lab4.hosts), "ranks on all hosts")
        run.process.kill()
        run.process.communicate(timeout=10)


def test_a_second_run_says_who_holds_the_lock(lab4, tmp_path, leaves_nothing):
    with leaves_nothing(lab4):
        first = Run(lab4, tmp_path / "first")
        wait_for(lambda: all(ranks_of(host) for host in lab4.hosts), "ranks on all hosts")
        second = Run(lab4, tmp_path / "second").wait()
        first.wait()
    assert first.status == 0, first.stderr
    assert second.status == 3, second.stderr
    told = json.dumps([v for v in second.verdicts["verdicts"] if v["outcome"] == "not_measured"])
    assert "another diag is at work: pid" in told
    complete(second, lab4)
