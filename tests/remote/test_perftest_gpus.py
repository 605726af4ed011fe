"""From GPU to GPU: which GPU is shown to perftest, and when is none touched? Runs here need neither agents nor GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from diag.busy import why_not_on_gpus
from diag.facts.device import GpuProcess
from diag.facts.links import Flow
from diag.facts.node import Node
from diag.facts.record import Missing, is_known, peek
from diag.probes.perftest import Trial, argv
from diag.probes.perftest_failures import Ended, failure
from diag.remote import onlookers, perftest, perftest_gpus
from diag.remote.onlookers import Onlooker
from diag.remote.perftest import Pairs
from tests.checks.changes import having
from tests.checks.machines import gpu_node

WRITE = Trial(tool="ib_write_bw", size_bytes=65536, seconds=1)
TABLE = " #bytes #iterations BW peak[Gb/sec] BW average[Gb/sec] MsgRate[Mpps]\n 65536 9 9 350.0 9\n"


class Session:
    def __init__(self) -> None:
        self.stopped = 0

    def stop_jobs(self) -> None:
        self.stopped += 1


class Scene:
    """``comes``: at which node somebody begins to use a GPU, and after how many runs; ``blind``: NVML is silent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, comes: str = "", after: int = 0, blind: str = "") -> None:
        self.parties: list[Any] = []
        self.alarms: dict[str, Callable[[str], None]] = {}
        self.sessions: Any = {name: Session() for name in ("gpu01", "gpu02")}
        self.comes, self.after, self.blind = comes, after, blind
        monkeypatch.setattr(perftest, "run", self.run)
        monkeypatch.setattr(perftest, "AT_ONCE", 1)
        monkeypatch.setattr(perftest_gpus, "FIRST_LOOK_S", 0.3)
        monkeypatch.setattr(onlookers, "of", self.of)
        monkeypatch.setattr(onlookers, "start", self.start)

    def of(self, session: Any, _node: Node) -> Onlooker | str:
        return Onlooker(session=session, known=())

    def start(
        self, onlooker: Onlooker, _seconds: float, on_newcomer: Callable[[str], None], on_look: Callable[[], None]
    ) -> None:
        name = next(name for name, session in self.sessions.items() if session is onlooker.session)
        self.alarms[name] = on_newcomer
        if name == self.comes and not self.after:
            on_newcomer("another process began to use a GPU (pid 7)")
        elif name != self.blind:
            on_look()

    def run(self, _test: Trial, client: Any, server: Any, _seconds: float) -> tuple[Ended, Ended]:
        self.parties += [client, server]
        if self.comes and len(self.parties) == 2 * self.after:
            self.alarms[self.comes]("another process began to use a GPU (pid 7)")
            return Ended(node=client.node, status=None, text=""), Ended(node=server.node, status=None, text="")
        return Ended(node=client.node, status=0, text=TABLE), Ended(node=server.node, status=0, text="")

    def flows(self, **ended: str) -> tuple[tuple[Flow, ...], tuple[tuple[str, str], ...]]:
        nodes = {f"gpu{number:02}": gpu_node(number) for number in (1, 2)}
        wanted = Pairs(pairs=(("gpu01", "gpu02"),), number=1, addresses=dict.fromkeys(nodes, "10.0.0.1"), ended=ended)
        return perftest_gpus.measure(wanted, WRITE, self.sessions, nodes, 60)


def test_each_end_is_shown_the_gpu_that_is_near_its_device_and_no_other(monkeypatch: pytest.MonkeyPatch):
    scene = Scene(monkeypatch)
    flows, left_out = scene.flows()
    rails = len(gpu_node(1).hcas)
    assert len({(flow.source, flow.rail) for flow in flows if flow.bytes_per_s == 350e9 / 8}) == 2 * rails
    assert left_out == ()
    near = {pair.b: int(pair.a.partition(":")[2]) for pair in gpu_node(1).between if pair.path in ("PIX", "PXB")}
    for party in scene.parties:
        node = gpu_node(int(party.node[-1]))
        shown = node.gpus[near[party.side.device]].uuid
        assert party.environment == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": shown}
        assert "--use_cuda=0" in argv(WRITE, party.side)


@pytest.mark.parametrize("after", [0, 1])
def test_a_newcomer_at_a_gpu_ends_what_runs_there_and_no_more_begins(monkeypatch: pytest.MonkeyPatch, after: int):
    scene = Scene(monkeypatch, "gpu02", after)
    flows, left_out = scene.flows()
    assert len(scene.parties) == 2 * after
    assert scene.sessions["gpu02"].stopped
    why = "another process began to use a GPU (pid 7)"
    assert {peek(flow, "bytes_per_s").why for flow in flows} == {f"gpu02: {why}"}
    assert not any(flow.cause for flow in flows)
    assert left_out == (("RDMA from the GPUs of gpu02", why),)


@pytest.mark.parametrize(
    "looks",
    ["in a container the pids of others are hidden", Onlooker(session=None, known=None)],  # type: ignore[arg-type] - unused
)
def test_where_nobody_can_look_no_gpu_is_touched(monkeypatch: pytest.MonkeyPatch, looks: Any):
    scene = Scene(monkeypatch)
    monkeypatch.setattr(onlookers, "of", lambda *_: looks)
    flows, left_out = scene.flows()
    assert scene.parties == []
    assert not any(is_known(flow, "bytes_per_s") for flow in flows)
    assert {name for name, _ in left_out} == {"RDMA from the GPUs of gpu01", "RDMA from the GPUs of gpu02"}


def test_where_nobody_is_seen_to_look_no_gpu_is_touched(monkeypatch: pytest.MonkeyPatch):
    scene = Scene(monkeypatch, blind="gpu02")
    flows, left_out = scene.flows()
    assert (scene.parties, [name for name, _ in left_out]) == ([], ["RDMA from the GPUs of gpu02"])
    assert {peek(flow, "bytes_per_s").why for flow in flows} == {f"gpu02: {perftest_gpus.BLIND}"}


def test_nodes_whose_perftest_cannot_take_gpus_are_told_together_and_those_without_gpus_are_not():
    nodes = {f"gpu{number:02}": gpu_node(number) for number in range(1, 9)}
    for name, system in (("gpu02", {"perftest_cuda": False}), ("gpu04", {"perftest_cuda": False}), ("gpu06", None)):
        nodes[name] = having(rdma_system=having(**system) if system else Missing("no answer"))(nodes[name])
    nodes["gpu08"] = having(gpus=())(nodes["gpu08"])
    pairs = [("gpu01", "gpu02"), ("gpu03", "gpu04"), ("gpu05", "gpu06"), ("gpu07", "gpu08"), ("gpu01", "gpu03")]
    assert perftest_gpus.able(pairs, nodes) == (
        [("gpu01", "gpu03")],
        [
            ("RDMA from the GPUs of gpu02, gpu04", "perftest was built without CUDA"),
            ("RDMA from the GPUs of gpu06", "what perftest can there is not known"),
        ],
    )


def test_a_gpu_that_is_in_use_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    scene = Scene(monkeypatch)
    flows, left_out = scene.flows(gpu01="busy: gpu:3 is in use (pid 9)")
    assert (scene.parties, len(left_out)) == ([], 1)
    assert {peek(flow, "bytes_per_s").why for flow in flows} == {"gpu01: busy: gpu:3 is in use (pid 9)"}


def changed(**fields: Any) -> Node:
    node = gpu_node(1)
    return msgspec.structs.replace(node, gpus=(*node.gpus[:-1], msgspec.structs.replace(node.gpus[-1], **fields)))


def test_in_use_shared_or_divided_speaks_against_a_node_also_where_load_is_permitted():
    assert why_not_on_gpus(gpu_node(1)) == ""
    for fields in (
        {"processes": (GpuProcess(pid=9),)},
        {"utilisation": 0.3},
        {"used_bytes": 40 << 30},
        {"utilisation": Missing("no answer")},
        {"mig": True},
        {"compute_mode": "exclusive_process"},
    ):
        assert why_not_on_gpus(changed(**fields))


def test_what_perftest_says_of_its_gpu_in_passing_is_no_failure_of_it():
    """It announces CUDA in every such run, also where something else went wrong."""
    said = "initializing CUDA\nCUDA device 0: PCIe address is 17:00\ncreating CUDA Ctx\n"
    for words, cause in (
        ("Couldn't connect to 10.0.0.2:20000", "firewall_blocks_ports"),
        ("Couldn't init GPU context: 1", ""),
        ("cuMemGetHandleForAddressRange error=801", "gdr_peermem_missing"),
        ("Couldn't allocate MR", "gdr_peermem_missing"),
    ):
        ends = (Ended(node="a", status=1, text=said + words), Ended(node="b", status=None, text=said))
        found = failure(WRITE, *ends, 17.0, ethernet=False, on_gpu=True)
        assert found is not None
        assert found.cause == cause, found


def test_many_gpus_are_taken_at_once(monkeypatch: pytest.MonkeyPatch):
    scene = Scene(monkeypatch)
    monkeypatch.setattr(perftest, "AT_ONCE", 64)
    began = time.monotonic()
    assert all(is_known(flow, "bytes_per_s") for flow in scene.flows()[0])
    assert time.monotonic() - began < 5
