"""Is a fault in the middle of a run named, on time, with nothing left behind?"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace

import pytest

from tests.lab.cluster import Lab
from tests.lab.host import Host
from tests.lab.running import AGENT, LEASE_S, Run, complete, ranks_of, run_into_the_all_reduce, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.torch, pytest.mark.timeout(240)]

COLLECTIVES_S = 45
LIMITED = ("--deadline", f"collectives={COLLECTIVES_S}")
LOST_S = 25.0
"""The board waits 10 s for a beat, ranks 12 s for the board; then last words, the job's stop, goodbyes, verdicts."""
ENDED_S = 15.0
"""Whose processes end has not to be waited for."""
RETRY_S = 30.0
"""The others then run the all-reduce once more."""


def test_a_sshd_frozen_before_login_is_named_and_costs_no_more_than_the_deadline(lab4, tmp_path, leaves_nothing):
    frozen = lab4.hosts[2]
    with leaves_nothing(lab4):
        frozen.freeze_sshd()
        run = Run(lab4, tmp_path / "run", "--level", "passive", "--deadline", "reach=4").wait()
        frozen.thaw_sshd()
    assert run.status == 3, run.stderr
    complete(run, lab4)
    assert run.culprits() == {"node_unreachable": (frozen.name,)}
    assert run.verdicts["stages"][0]["seconds"] < 7
    assert run.verdicts["stages"][0]["nodes_done"] == 3
    assert "banner" in json.dumps(run.verdicts["culprits"])


def test_a_mount_that_hangs_costs_one_node_its_model_facts_only(make_lab, tmp_path, leaves_nothing):
    lab = make_lab(3, faults={1: ("hungmount",)})
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", "--model", "/mnt/hung", "--level", "passive").wait()
    complete(run, lab)
    hung = lab.hosts[1].name
    unknown = {
        (v["node"], v["summary"]) for v in run.verdicts["verdicts"] if v["outcome"] == "not_measured" and v["node"]
    }
    assert {node for node, why in unknown if "no answer within" in why} == {hung}
    assert run.outcomes("open_files_limit_is_high_enough")[hung] == "passed"
    assert run.seconds < 30


def test_an_agent_frozen_in_the_facts_is_named_and_leaves_nothing_when_thawed(make_lab, tmp_path, leaves_nothing):
    lab = make_lab(3, faults={1: ("hungmount",)})  # whose facts take until the request for the hung model gives up
    frozen = lab.hosts[1]
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", "--model", "/mnt/hung", "--level", "passive", "--deadline", "facts=12")
        wait_for(lambda: any(AGENT in " ".join(one.argv) for one in frozen.processes()), "agent")
        time.sleep(2)
        assert frozen.freeze(AGENT)
        run.wait()
        assert frozen.thaw(AGENT)
    complete(run, lab)
    assert run.culprits()["agent_silent"] == (frozen.name,)
    facts = run.verdicts["stages"][1]
    assert (facts["name"], facts["nodes_done"], facts["nodes_total"]) == ("facts", 2, 3)
    assert facts["seconds"] < 14


@pytest.mark.parametrize("act", ["kill", "freeze"])
def test_a_rank_killed_or_frozen_in_the_all_reduce_is_named(lab4, tmp_path, leaves_nothing, act):
    victim = lab4.hosts[3]
    with leaves_nothing(lab4):
        run = run_into_the_all_reduce(lab4, tmp_path / "run", *LIMITED)
        for rank in ranks_of(victim):
            os.kill(rank.pid, signal.SIGKILL if act == "kill" else signal.SIGSTOP)
        run.wait()
        if act == "freeze":
            victim.thaw("allreduce")
    assert run.status == 1, run.stderr + run.stdout
    complete(run, lab4)
    cause = {"kill": "rank_died", "freeze": "rank_frozen"}[act]
    assert run.culprits() == {cause: (victim.name,)}, run.verdicts["culprits"]
    without = run.snapshot()["without"]
    assert without["finished"], without
    assert without["nodes"] == [host.name for host in lab4.hosts if host is not victim]
    assert f"without   {victim.name}: all-reduce of 3 nodes finishes, busbw " in run.report()
    assert run.seconds < 90 + RETRY_S


@pytest.mark.parametrize("place", [2, 0], ids=["in_the_middle", "first"])
def test_a_host_lost_in_the_all_reduce_is_named_alone(lab4, tmp_path, leaves_nothing, place):
    victim = lab4.hosts[place]
    with leaves_nothing(lab4):
        run = run_into_the_all_reduce(lab4, tmp_path / "run", *LIMITED)
        victim.blackhole()
        lost_at = time.monotonic()
        wait_for(lambda: not any(AGENT in " ".join(one.argv) for one in victim.processes()), "the end of the lease")
        assert time.monotonic() - lost_at < LEASE_S + 10
        run.wait()
        assert time.monotonic() - lost_at < LOST_S + RETRY_S
        victim.kill("sshd: root@")  # sshd itself waits for TCP to give up, for a quarter of an hour
    complete(run, lab4)
    assert run.stage("collectives")["seconds"] < COLLECTIVES_S
    lost_alone(run, lab4, victim)


def test_a_host_whose_processes_all_end_at_once_is_named_alone(make_lab, tmp_path, leaves_nothing):
    """The first, at which all others meet: who is lost in the middle is less to the others."""
    lab = make_lab(3)
    victim = lab.hosts[0]
    others = replace(lab, hosts=tuple(host for host in lab.hosts if host is not victim))
    with leaves_nothing(others):
        run = run_into_the_all_reduce(lab, tmp_path / "run", *LIMITED)
        victim.die()
        died_at = time.monotonic()
        run.wait()
        assert time.monotonic() - died_at < ENDED_S + RETRY_S
    complete(run, lab)
    lost_alone(run, lab, victim)


def lost_alone(run: Run, lab: Lab, victim: Host) -> None:
    """One culprit; what all others and the victim itself told before stays; nothing in the report says otherwise."""
    assert run.status == 1, run.stderr
    assert run.culprits() == {"agent_silent": (victim.name,)}, run.verdicts["culprits"]
    others = {host.name for host in lab.hosts} - {victim.name}
    assert run.outcomes("every_rank_comes_through") == {
        victim.name: "failed", **dict.fromkeys(others, "not_measured")
    }  # fmt: skip
    assert set(run.outcomes("open_files_limit_is_high_enough").values()) == {"passed"}
    assert run.outcomes("nothing_is_left_behind") == {victim.name: "not_measured", **dict.fromkeys(others, "passed")}
    stage = run.stage("collectives")
    assert stage["nodes_done"] < stage["nodes_total"] == len(lab.hosts)
    assert {node["name"] for node in run.snapshot()["nodes"] if node["reach"]["outcome"] == "answered"} == others
    assert f"culprits  {victim.name}  stopped answering in collectives" in run.report()
    assert "frozen" not in json.dumps([run.verdicts["culprits"], run.snapshot()["collective"]])
