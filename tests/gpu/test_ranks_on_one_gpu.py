"""Do several ranks of NCCL on one GPU sum right, and is each fault among them named? The same with GLOO anywhere.

NCCL refuses two ranks of one host on a device; with an ``NCCL_HOSTID`` each they are of different hosts, over sockets.
Times mean nothing here. Where there is a GPU, ``DIAG_RECORD`` names a folder into which NCCL's logs are written.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from diag.data_interface import Place
from diag.participants import Participants
from diag.probes import nccl_log
from diag.remote.session import Session
from tests.remote.agents import Workshop, until, workshop
from tests.remote.jobs import MIB, Running

__all__ = ["workshop"]

pytestmark = [pytest.mark.torch, pytest.mark.timeout(180)]

GPU = [pytest.mark.gpu, pytest.mark.may_skip]
ON_GPU = [pytest.param("nccl", marks=GPU)]
"""What tests of the collective show with GLOO already."""
LATE = """
import sys, time
if "-m" in sys.orig_argv and "allreduce" in sys.orig_argv:
    time.sleep(1000)
"""


def names(count: int) -> tuple[str, ...]:
    return tuple(f"n{number}" for number in range(count))


def on_loopback(count: int, backend: str, interface: str = "lo") -> Participants:
    return Participants(
        backend=backend,
        backend_why="",
        places=tuple(Place(node=name, interface=interface, address="127.0.0.1") for name in names(count)),
        ranks=(1,) * count,
        interface_why="",
        excluded={},
    )


def agents(workshop: Workshop, count: int, more: Mapping[str, Mapping[str, str]] | None = None) -> dict[str, Session]:
    """One for each rank, as of hosts of their own; ``more``: variables of some."""
    sessions = {}
    for name in names(count):
        log = workshop.folder.with_name("nccl") / f"{name}.%p"
        log.parent.mkdir(exist_ok=True)
        set_there = {
            "NCCL_HOSTID": name,
            "NCCL_DEBUG": "INFO",
            "NCCL_DEBUG_SUBSYS": "INIT,NET,GRAPH,ENV,TUNING",
            "NCCL_DEBUG_FILE": str(log),
            "NCCL_IB_DISABLE": "1",
            **(more or {}).get(name, {}),
        }
        sessions[name] = workshop.session(first=f"import os; os.environ.update({set_there!r})")
    return sessions


@contextmanager
def kept_logs(workshop: Workshop, case: str) -> Iterator[None]:
    yield
    if kept := os.environ.get("DIAG_RECORD"):
        shutil.copytree(workshop.folder.with_name("nccl"), Path(kept) / case, dirs_exist_ok=True)


def rank_pid(workshop: Workshop, rank: int) -> int:
    wanted = f"\0RANK={rank}\0".encode()
    return next(pid for pid in workshop.processes() if wanted in Path(f"/proc/{pid}/environ").read_bytes())


@pytest.mark.parametrize(("count", "backend"), [(2, "gloo"), *(pytest.param(n, "nccl", marks=GPU) for n in (2, 3, 4))])
def test_ranks_of_hosts_of_their_own_sum_right(workshop, backend, count):
    with kept_logs(workshop, f"healthy{count}"):
        running = Running(agents(workshop, count), max_size_bytes=MIB, who=on_loopback(count, backend), deadline_s=120)
        ended = running.result(130)
    assert (ended.finished, ended.world_size, ended.backend) == (True, count, backend), ended.summary
    assert all(step.verified for step in ended.steps)
    if backend == "nccl":
        log = nccl_log.read(lines_of(workshop))
        assert {row.kind for row in log.transports} == {"NET/Socket"}, log


def lines_of(workshop: Workshop) -> list[str]:
    folder = workshop.folder.with_name("nccl")
    return [line for path in sorted(folder.iterdir()) for line in path.read_text(errors="replace").splitlines()]


@pytest.mark.parametrize("backend", ON_GPU)
def test_an_interface_that_is_not_there_is_told_and_nothing_hangs(workshop, backend):
    with kept_logs(workshop, "wrong_interface"):
        who = on_loopback(2, backend, interface="nosuch0")
        ended = Running(agents(workshop, 2), max_size_bytes=MIB, who=who, deadline_s=90).result(100)
    assert not ended.finished
    said = " ".join(rank.said for rank in ended.ranks)
    assert "nosuch0" in said or "interface" in said, ended


@pytest.mark.parametrize("backend", ON_GPU)
def test_a_frozen_rank_is_named_by_the_others(workshop, backend):
    with kept_logs(workshop, "frozen"):
        sessions = agents(workshop, 3)
        running = Running(sessions, max_size_bytes=256 * MIB, who=on_loopback(3, backend), deadline_s=90)
        running.wait_for(1, "size_65536", 80)
        os.kill(rank_pid(workshop, 1), signal.SIGSTOP)
        ended = running.result(60)
    assert [rank.outcome for rank in ended.ranks] == ["stopped", "rank_frozen", "stopped"], ended.summary
    assert ended.summary.endswith("; ranks 0, 2 wait for it"), ended.summary


@pytest.mark.parametrize("backend", ON_GPU)
def test_a_rank_that_never_comes_is_named_by_the_others(workshop, backend):
    late = workshop.folder / "late"
    late.mkdir()
    (late / "sitecustomize.py").write_text(LATE)
    with kept_logs(workshop, "missing"):
        sessions = agents(workshop, 3, {"n1": {"PYTHONPATH": str(late)}})
        ended = Running(sessions, max_size_bytes=MIB, who=on_loopback(3, backend), deadline_s=60).result(70)
    assert [rank.outcome for rank in ended.ranks] == ["stopped", "rank_missing", "stopped"], ended.summary
    assert until(lambda: not any(b"allreduce" in Path(f"/proc/{p}/cmdline").read_bytes() for p in workshop.processes()))
