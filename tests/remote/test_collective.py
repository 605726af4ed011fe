"""Does a real all-reduce measure right, and does each fault end with a name? Two ranks of GLOO under one agent."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path

import msgspec
import pytest

from diag.collecting import Scene, first, gloo
from diag.facts.record import unknown
from diag.remote import collective
from diag.remote.collective import sizes_bytes
from diag.remote.hearing import Hearing
from diag.wishes import Wishes
from tests.remote.agents import Workshop, until, workshop
from tests.remote.jobs import MIB, Running, facts

pytestmark = pytest.mark.torch

__all__ = ["workshop"]
LOGS = Path(__file__).parents[1] / "data" / "nccl"

PHASES = (
    "spawned", "imported", "roll_called", "initialised", "first_collective", "size_8192", "size_65536",
    "size_2097152", "done",
)  # fmt: skip


def rank_pid(shop: Workshop, rank: int) -> int:
    for pid in shop.processes():
        if f"\0RANK={rank}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes():
            return pid
    raise AssertionError(f"no process of rank {rank}")


def test_what_nccl_logged_of_networks_is_told(workshop, tmp_path, monkeypatch):
    """GLOO writes none: the ranks find one of NCCL's where theirs would be."""
    for rank in (0, 1):
        (tmp_path / f"nccl.{rank}").write_text((LOGS / "two-nodes-2.18.6.log").read_text())
    monkeypatch.setattr("diag.remote.job.LOG", str(tmp_path / "nccl"))
    heard = []
    monkeypatch.setattr("diag.remote.job.Hearing", lambda who: heard.append(Hearing(who)) or heard[-1])
    session = workshop.session()
    collective.measure({"n1": session}, facts({"n1": session}), max_size_bytes=MIB, on_done=lambda _: None)
    for rank in (0, 1):
        assert any("Using network" in line for line in heard[0].logs[rank])
        assert "NCCL_DEBUG" not in heard[0].environment


def test_two_ranks_on_one_node_measure_every_size_and_verify_it(workshop):
    session = workshop.session()
    done: list[str] = []
    measured = collective.measure(
        {"n1": session}, facts({"n1": session}), deadline_s=60, max_size_bytes=2 * MIB, on_done=done.append
    )
    assert (measured.finished, measured.backend, measured.world_size, done) == (True, "gloo", 2, ["n1"])
    assert [step.size_bytes for step in measured.steps] == list(sizes_bytes(2 * MIB))
    assert all(step.verified and len(step.times_s) >= 5 for step in measured.steps)
    assert [tuple(name for name, _ in rank.phases) for rank in measured.ranks] == [PHASES] * 2
    assert all(
        before <= after
        for rank in measured.ranks
        for (_, before), (_, after) in zip(rank.phases, rank.phases[1:], strict=False)
    )
    assert measured.library.startswith("gloo of torch ")
    assert dict(measured.environment)["GLOO_SOCKET_IFNAME"] == "lo"
    assert dict(measured.effective_environment)["NCCL_SOCKET_IFNAME"] == "=lo"
    assert measured.interpreters[0][1].startswith(session.hello.executable)
    session.end(5)
    workshop.assert_nothing_is_left()


def test_a_collective_of_gloo_takes_the_place_of_nccls_with_as_many_ranks(workshop):
    """As beside NCCL on GPUs; here both are GLOO's, and the record of the first says otherwise."""
    sessions = {"n1": workshop.session()}
    nodes = facts(sessions)
    scene = Scene(nodes={"n1": nodes[0]}, sessions=sessions, excluded={}, wishes=Wishes(max_size_bytes=64 * 1024))
    before = first(scene, unknown("--pairs none")).call(on_done=lambda _: None)
    assert gloo(scene, before).answer is None
    beside = gloo(scene, msgspec.structs.replace(before, backend="nccl")).call(on_done=lambda _: None)
    assert (beside.finished, beside.backend, beside.world_size) == (True, "gloo", before.world_size), beside.summary
    assert all(step.verified for step in beside.steps)


def test_busbw_is_that_of_the_slowest_ranks_median(workshop):
    session = workshop.session()
    running = Running({"n1": session}, max_size_bytes=64 * 1024)
    step = running.result().steps[-1]
    of_ranks = running.job.heard.times_s[65536]
    assert step.times_s == tuple(map(max, of_ranks[0], of_ranks[1]))
    assert step.algbw_bytes_per_s == pytest.approx(65536 / statistics.median(step.times_s))
    assert step.busbw_bytes_per_s == pytest.approx(step.algbw_bytes_per_s * 2 * (2 - 1) / 2)


def test_a_rank_killed_in_the_middle_is_named_by_the_other(workshop):
    session = workshop.session()
    running = Running({"n1": session}, max_size_bytes=512 * MIB)
    running.wait_for(1, "size_65536")
    os.kill(rank_pid(workshop, 1), signal.SIGKILL)
    ended = running.result(15)
    other, killed = ended.ranks
    assert (killed.outcome, killed.said) == ("rank_died", "killed by signal 9 (SIGKILL)")
    assert other.outcome == "stopped"
    assert other.said.startswith("rank 1: its process ended in phase ")
    assert ended.finished is False
    assert ended.summary.startswith("n1: rank 1 died after phase size_")
    assert [step.size_bytes for step in ended.steps][:2] == [8192, 65536]


def test_a_frozen_rank_is_named_by_the_other_and_nothing_is_left_of_it(workshop):
    session = workshop.session()
    running = Running({"n1": session}, max_size_bytes=512 * MIB)
    running.wait_for(0, "size_65536")
    os.kill(rank_pid(workshop, 0), signal.SIGSTOP)
    ended = running.result(25)
    assert [rank.outcome for rank in ended.ranks] == ["rank_frozen", "stopped"]
    assert ended.ranks[1].said.startswith("rank 0: silent for 10 s in phase ")
    assert ended.summary.startswith("n1: rank 0 frozen after phase size_")
    assert ended.summary.endswith("; rank 1 waits for it")
    assert "rank 1 in collective " in ended.cited
    assert ended.cited.endswith("; rank 0 gave none")
    session.end(5)
    workshop.assert_nothing_is_left()


def test_a_rank_that_stands_still_between_two_collectives_is_named_by_torchs_flight_recorder(workshop):
    """It breathes, so the board has nothing to say; all others only wait."""
    session = workshop.session(first=f"import os;os.environ['PYTHONPATH']={str(Path(__file__).parent)!r}")
    running = Running({"n1": session}, max_size_bytes=MIB, deadline_s=25, ranks=3, program="hanging_allreduce")
    ended = running.result(40)
    assert [rank.outcome for rank in ended.ranks] == ["stopped", "rank_frozen", "stopped"], ended.summary
    assert ended.ranks[1].said.startswith("has not entered collective "), ended.ranks[1]
    assert ended.ranks[1].said.endswith(", in which ranks 0, 2 wait")
    assert ended.summary.endswith("; ranks 0, 2 wait for it")
    assert ", in size 64.0 KiB since " in ended.summary
    recorder = ended.witnesses[1]
    assert (recorder.name, recorder.spoke, recorder.behind) == ("torch's flight recorder", True, (1,))
    assert ended.witnesses[0].said == "the collective is not NCCL's"
    session.end(5)
    workshop.assert_nothing_is_left()


def test_ranks_do_not_outlive_their_agent(workshop):
    session = workshop.session()
    running = Running({"n1": session}, max_size_bytes=512 * MIB)
    running.wait_for(1, "roll_called")
    os.kill(session.hello.pid, signal.SIGKILL)
    ended = running.result(15)
    assert [rank.outcome for rank in ended.ranks] == ["agent_silent"] * 2
    workshop.assert_nothing_is_left()


def test_at_the_deadline_the_job_is_ended_and_what_was_measured_is_kept(workshop):
    session = workshop.session()
    running = Running({"n1": session}, max_size_bytes=1024 * MIB, deadline_s=60)
    running.wait_for(1, "size_4194304")
    running.job.until = time.monotonic()
    ended = running.result(10)
    assert ended.finished is False
    assert [rank.outcome for rank in ended.ranks] == ["stopped"] * 2, ended
    assert [step.size_bytes for step in ended.steps][:3] == [8192, 65536, 524288]
    assert "all ranks alive" in ended.summary
    assert until(lambda: not any("allreduce" in command_line(pid) for pid in workshop.processes()))


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_launcher_that_cannot_import_torch_says_so(workshop):
    session = workshop.session(first="import os;os.environ['PYTHONPATH']=os.environ['TMPDIR']+'/broken'")
    broken = workshop.folder / "broken" / "torch"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')\n")
    ended = Running({"n1": session}, max_size_bytes=8192).result(15)
    assert [rank.outcome for rank in ended.ranks] == ["rank_died"] * 2
    assert ended.ranks[0].said == "ImportError: libcudart.so.12: cannot open shared object file"


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [
        (64 * MIB, (8192, 65536, 524288, 4194304, 64 * MIB)),
        (MIB, (8192, 65536, MIB)),
        (8192, (8192,)),
        (1, (8192,)),
    ],
)
def test_sizes_grow_by_eight_and_end_with_the_largest(largest, sizes):
    assert sizes_bytes(largest) == sizes
