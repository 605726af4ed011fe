"""Does a process that comes onto a GPU end our job, and one of our own not? A compiled NVML says who is there."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from diag.facts.container import Container
from diag.participants import Participants, participants
from diag.remote.node_collectives import among, together
from diag.remote.onlookers import HIDDEN, Onlooker, beside, of, start
from diag.remote.session import Session
from diag.wishes import EngineEnvironment
from tests.checks.machines import gpu_node
from tests.node.nvml_library import ADDRESSES, library
from tests.node.trees import H200, pci_device, plant
from tests.remote.agents import Workshop, workshop
from tests.remote.jobs import MIB, Running, facts
from tests.remote.test_collective import rank_pid

__all__ = ["library", "workshop"]
pytestmark = pytest.mark.torch


@pytest.fixture
def stranger() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "300"])
    yield process.pid
    process.kill()
    process.wait()


class Watched:
    """A node that seems to have eight GPUs; ``uses`` puts a process onto the first."""

    def __init__(self, shop: Workshop, library: Path, folder: Path) -> None:
        self.told = folder / "user"
        self.session: Session = shop.session(
            first=f"import os;os.environ.update(LD_LIBRARY_PATH={str(library)!r},FAKE_PID_FILE={str(self.told)!r})"
        )
        tree = {name: text for at in ADDRESSES for name, text in pci_device(at, H200).items()}
        root = plant(folder, tree)
        self.onlooker = Onlooker(session=self.session, known=(), root=str(root))

    def uses(self, pid: int) -> None:
        part = self.told.with_suffix(".part")
        part.write_text(f"{pid}\n")
        part.replace(self.told)


@pytest.fixture
def watched(workshop: Workshop, library: Path, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return Watched(workshop, library, tmp_path_factory.mktemp("gpus"))


def test_a_stranger_on_a_gpu_ends_the_all_reduce_and_accuses_nobody(watched, workshop, stranger):
    running = Running({"n1": watched.session}, max_size_bytes=1024 * MIB, watched={"n1": watched.onlooker})
    running.wait_for(1, "size_65536")
    watched.uses(stranger)
    ended = running.result(10)
    assert ended.stopped == f"n1: another process began to use a GPU (pid {stranger})"
    assert ended.summary == f"stopped: {ended.stopped}"
    assert [rank.outcome for rank in ended.ranks] == ["stopped"] * 2
    watched.session.end(5)
    workshop.assert_nothing_is_left()


def test_a_rank_of_ours_on_a_gpu_ends_nothing(watched, workshop):
    running = Running({"n1": watched.session}, max_size_bytes=64 * MIB, watched={"n1": watched.onlooker})
    running.wait_for(1, "size_8192")
    watched.uses(rank_pid(workshop, 1))
    ended = running.result(60)
    assert ended.finished, ended.summary
    assert ended.stopped == ""
    watched.session.end(5)
    workshop.assert_nothing_is_left()


def test_a_stranger_ends_what_the_gpus_of_a_node_do_together(watched, stranger, monkeypatch):
    """Its ranks are GLOO's here; whom they are watched by is not."""
    monkeypatch.setattr("diag.remote.onlookers.beside", lambda *_: ({"n1": watched.onlooker}, {}))
    node = facts({"n1": watched.session})[0]
    watched.uses(stranger)
    found = together(
        watched.session, among(node, 2), node, EngineEnvironment(), sizes=(8192,), until=time.monotonic() + 60
    )
    assert found.stopped == f"n1: another process began to use a GPU (pid {stranger})"
    assert found.times == ()


def test_who_used_the_gpus_before_is_known(watched, stranger):
    watched.uses(stranger)
    onlooker = replace(watched.onlooker, known=(stranger,))
    ended = Running({"n1": watched.session}, max_size_bytes=8192, watched={"n1": onlooker}).result(60)
    assert ended.finished, ended.summary


def test_it_is_told_that_somebody_looks_and_not_before_nvml_answers(watched, tmp_path):
    seeing, blind = threading.Event(), threading.Event()
    start(watched.onlooker, 30, print, seeing.set)
    start(replace(watched.onlooker, environment={"LD_LIBRARY_PATH": str(tmp_path)}), 30, print, blind.set)
    assert seeing.wait(15)
    assert not blind.wait(1)
    watched.session.end(5)


HOST = msgspec.structs.replace(gpu_node(1), container=Container(kind=None, pids_of_machine=True))


def in_nccl(node) -> Participants:
    return replace(participants([node], {}), backend="nccl")


def test_each_node_whose_gpus_are_used_is_watched():
    session = object()
    looking, unwatched = beside({HOST.name: session}, [HOST], in_nccl(HOST))  # type: ignore[dict-item]
    assert (set(looking), unwatched) == ({HOST.name}, {})
    assert beside({}, [HOST], replace(in_nccl(HOST), backend="gloo")) == ({}, {})


def test_in_a_container_that_nobody_entered_from_its_host_it_is_said_that_nobody_looks():
    for container in (Container(kind="docker", pids_of_machine=True), Container(kind=None, pids_of_machine=False)):
        inside = msgspec.structs.replace(HOST, container=container)
        assert of(object(), inside) == HIDDEN  # type: ignore[arg-type]
