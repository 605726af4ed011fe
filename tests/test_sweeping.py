"""Does the sweep keep what is known, whatever becomes of a node on the way? Nodes here answer by the book."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from diag import sweeping
from diag.errors import NodeError
from diag.facts.device import GpuProcess
from diag.facts.links import Flow, Links
from diag.probes.verbs import Answer, Request
from tests.checks.changes import having, item, named
from tests.checks.machines import cpu_node, gpu_node

SILENT = NodeError("node2", "agent_silent", "no answer within 7.5 s")
REFUSED = {"failed": {"step": "connect", "error": "ETIMEDOUT", "why": "timed out"}}


class Node:
    """``instead``: function -> what it answers, or the error that it raises."""

    def __init__(self, instead: Mapping[str, Any]) -> None:
        self.instead = instead

    def ask(self, requests: Sequence[Request], _deadline_s: float) -> tuple[Answer, ...]:
        return tuple(Answer(name=request.name, value=self._said(request)) for request in requests)

    def _said(self, request: Request) -> Any:
        function, arguments = request.verb.function, request.verb.arguments  # type: ignore[union-attr] - they only ask
        said = self.instead.get(function, _HEALTHY.get(function))
        if isinstance(said, NodeError):
            raise said
        return said(arguments) if callable(said) else said


_HEALTHY: Mapping[str, Any] = {
    "nic_counters:read": lambda _: {
        "nics": {name: {"rx_bytes": 0} for name in ("eth0", "bond0")},
        "hcas": {f"mlx5_{number}/1": {"port_xmit_data": 0, "port_rcv_data": 0} for number in range(8)},
        "at_s": time.monotonic(),
    },
    "knocks:free": lambda asked: asked["ports"],
    "knocks:knock": {"tried": 1, "untried": 0, "failed": []},
    "dials:free_port": 20000,
    "streams:pair": {"rate": 1e8, "windows": [1e8] * 8, "latency_s": 1e-4, "path_mtu": 1500, "retransmits": 0},
}


@pytest.fixture(autouse=True)
def no_background_and_no_gpus(monkeypatch):
    monkeypatch.setattr(sweeping, "BACKGROUND_S", 0.0)
    monkeypatch.setattr(sweeping.perftest_gpus, "measure", lambda *_: ((), ()))


def swept(
    count: int, instead: Mapping[str, Mapping[str, Any]], node: Callable[[int], Any] = cpu_node, **order: Any
) -> tuple[Links, dict[str, NodeError]]:
    """And who was lost."""
    nodes = [node(number) for number in range(1, count + 1)]
    sessions: Any = {node.name: Node(instead.get(node.name, {})) for node in nodes}
    wanted = sweeping.Order(**{"mode": "ring", "level": "quick", "limit_s": 60, **order})
    lost: dict[str, NodeError] = {}
    return sweeping.Sweep(sessions, nodes, wanted).measure(lose=lost.__setitem__), lost


@pytest.mark.parametrize(
    "step", ["nic_counters:read", "knocks:free", "knocks:knock", "dials:free_port", "streams:pair"]
)
def test_a_node_that_falls_silent_in_any_step_is_lost_and_the_others_are_measured(step):
    links, lost = swept(4, {"node2": {step: SILENT}})
    assert links.nodes == ("node1", "node3", "node4")
    assert dict(links.excluded) == {"node2": "no answer within 7.5 s"}
    assert lost == {"node2": SILENT}
    assert {"node1", "node4"} in [set(flow.pair) for flow in links.flows]


def test_suspects_are_no_reason_to_measure_more_pairs_than_permitted():
    links, _ = swept(6, {"node2": {"streams:pair": REFUSED}}, mode="all", max_pairs=3)
    assert {flow.pair for flow in links.flows} <= {("node1", "node6"), ("node2", "node5"), ("node3", "node4")}
    assert len({pair for pair, why in links.left_out if why == "--max-pairs 3"}) == 2


def test_repeats_for_noise_are_no_confirmation_and_suspects_meet_others():
    dice = random.Random(5)

    def told(share: float) -> Callable[[Any], Mapping[str, Any]]:
        return lambda _: {**_HEALTHY["streams:pair"], "rate": share * 1e8 * math.exp(dice.gauss(0, 0.06))}

    shares = {f"node{number}": 0.5 if number == 3 else 1.0 for number in range(1, 9)}
    links, _ = swept(8, {name: {"streams:pair": told(share)} for name, share in shares.items()})
    reasons = [row.why for row in links.rounds]
    assert [row.number for row in links.rounds if "once more" in row.why] == [1, 2, 1, 2]
    assert reasons[6] == "suspects against proven-good ones"
    met = {flow.pair for flow in links.flows if flow.round == 3 and "node3" in flow.pair}
    assert met
    assert not met & {("node2", "node3"), ("node3", "node4")}


@pytest.mark.parametrize(
    ("share", "level", "further"), [(0.3, "quick", True), (1.0, "quick", False), (0.3, "normal", False)]
)
def test_rails_left_out_are_measured_of_the_confirmed_only(monkeypatch, share, level, further):
    asked: list[tuple[tuple[tuple[str, str], ...], frozenset[str]]] = []

    def measure(wanted: Any, *_: Any) -> tuple[()]:
        asked.append((tuple(wanted.pairs), frozenset(wanted.only)))
        return ()

    monkeypatch.setattr(sweeping.perftest, "measure", measure)

    nodes = {"gpu03": {"streams:pair": {**_HEALTHY["streams:pair"], "rate": share * 1e8}}}
    links, _ = swept(8, nodes, gpu_node, level=level)
    rails = [(pairs, only) for pairs, only in asked if not only & asked[0][1]]
    assert bool(rails) is further
    assert [row.why for row in links.rounds].count(sweeping.RAIL_BY_RAIL) == int(further)
    for pairs, _only in rails:
        assert [pair[0] for pair in pairs] == ["gpu03"]


def test_rdma_of_one_round_takes_no_more_than_its_share_of_the_time(monkeypatch):
    deadlines: list[float] = []

    def measure(*arguments: Any) -> tuple[()]:
        deadlines.append(arguments[4])
        return ()

    monkeypatch.setattr(sweeping.perftest, "measure", measure)
    links, _ = swept(4, {}, gpu_node)
    assert [each.why for each in links.rounds][:2] == ["ring 1/2", "ring 2/2"]
    assert deadlines[0] < 60 / 3 < deadlines[1] < 60 / 2


GBIT_S = 1e9 / 8


def counting(nic: str = "bond0", gbit_s: Mapping[str, float] = {}, **own: int) -> Callable[[Any], Any]:
    """An agent whose HCAs count words for so long as it lives; ``own``: what its NIC counts more at each reading."""
    began, read = time.monotonic(), [0]

    def told(_: Any) -> Any:
        read[0] += 1
        now = time.monotonic()
        words = {name: int((now - began) * rate * GBIT_S / 4) for name, rate in gbit_s.items()}
        hcas = {f"mlx5_{place}/1": {"port_xmit_data": 0, "port_rcv_data": 0} for place in range(8)}
        hcas |= {f"{name}/1": {"port_xmit_data": count, "port_rcv_data": count // 2} for name, count in words.items()}
        rising = {name: step * read[0] for name, step in own.items()}
        return {"nics": {nic: {"rx_bytes": 0, "tx_bytes": 0, **rising}}, "hcas": hcas, "at_s": now}

    return told


@pytest.fixture
def by_rdma(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What perftest was asked for."""
    asked: list[Any] = []
    monkeypatch.setattr(sweeping.perftest, "measure", lambda wanted, *_: asked.append(wanted) or ())
    monkeypatch.setattr(sweeping, "BACKGROUND_S", 0.1)
    return asked


def test_a_node_whose_rails_others_use_by_rdma_is_not_loaded(by_rdma):
    rates = {hca.name: 380.0 for hca in gpu_node(2).hcas}
    links, _ = swept(4, {"gpu02": {"nic_counters:read": counting(gbit_s=rates)}}, gpu_node, level="normal")
    (name, why), *others = links.excluded
    assert (name, others) == ("gpu02", [])
    assert why.startswith("all its rails are in use: others use mlx5_0: 38")
    assert not [wanted for wanted in by_rdma if any("gpu02" in pair for pair in wanted.pairs)]
    assert {row.interface for row in links.background if row.node == "gpu02"} == {"bond0", *rates}


def test_one_rail_that_others_use_is_spared_and_its_node_is_not(by_rdma):
    instead = {"gpu02": {"nic_counters:read": counting(gbit_s={"mlx5_1": 40.0})}}
    links, _ = swept(4, instead, gpu_node, level="normal")
    assert links.excluded == ()
    ((what, why),) = links.left_out
    assert what == "RDMA over mlx5_1 of gpu02"
    assert why.startswith("others use mlx5_1: ")
    assert by_rdma
    assert all(list(wanted.spared) == ["gpu02"] and list(wanted.spared["gpu02"]) == ["mlx5_1"] for wanted in by_rdma)


def test_a_little_rdma_of_others_keeps_nobody_from_measuring(by_rdma):
    instead = {"gpu02": {"nic_counters:read": counting(gbit_s={"mlx5_1": 4.0})}}
    links, _ = swept(4, instead, gpu_node, level="normal")
    assert (links.excluded, links.left_out) == ((), ())
    assert all(not wanted.spared for wanted in by_rdma)


def test_others_may_be_disturbed_where_that_is_permitted(by_rdma):
    rates = {hca.name: 380.0 for hca in gpu_node(2).hcas}
    instead = {"gpu02": {"nic_counters:read": counting(gbit_s=rates)}}
    links, _ = swept(4, instead, gpu_node, level="normal", even_if_busy=True)
    assert links.excluded == ()
    assert all(not wanted.spared for wanted in by_rdma)


@pytest.mark.usefixtures("by_rdma")
def test_a_rail_that_counts_no_bytes_is_not_loaded():
    silent = lambda asked: {**counting()(asked), "hcas": {}}  # noqa: E731
    links, _ = swept(4, {"gpu02": {"nic_counters:read": silent}}, gpu_node, level="normal")
    assert [name for name, _ in links.left_out] == [
        f"RDMA over {', '.join(hca.name for hca in gpu_node(2).hcas)} of gpu02"
    ]
    assert "counts no bytes" in links.left_out[0][1]


@pytest.mark.usefixtures("by_rdma")
def test_of_a_rail_that_is_down_nobody_asks_whether_others_use_it():
    def one_down(number: int) -> Any:
        down = having(hcas=item(named("mlx5_1"), having(ports=item(0, having(state="down")))))
        return down(gpu_node(2)) if number == 2 else gpu_node(number)

    others = {f"mlx5_{place}/1": {"port_xmit_data": 0} for place in (0, *range(2, 8))}
    silent = lambda asked: {**counting()(asked), "hcas": others}  # noqa: E731
    links, _ = swept(4, {"gpu02": {"nic_counters:read": silent}}, one_down, level="normal")
    assert links.left_out == ()


@pytest.mark.usefixtures("by_rdma")
@pytest.mark.parametrize("mode", ["ring", "all", "sample"])
@pytest.mark.parametrize(
    "counter", ["rx_prio3_pause", "rx_pfc_ena_frames_pri3", "rx_priority_3_xoff.nic", "rx_total_discard_pkts"]
)
def test_pauses_that_rise_end_the_sweep_after_the_round_that_is_known_then(mode, counter):
    links, _ = swept(6, {"gpu02": {"nic_counters:read": counting(**{counter: 1000})}}, gpu_node, mode=mode)
    assert links.stopped.startswith(f"{counter} of bond0 on gpu02 rose by 1000 (")
    assert len(links.rounds) == 1
    assert links.flows
    assert links.stopped in {why for _, why in links.left_out}


@pytest.mark.usefixtures("by_rdma")
def test_other_signs_of_congestion_end_no_sweep():
    links, _ = swept(4, {"gpu02": {"nic_counters:read": counting(rx_cnp_pkts=1000)}}, gpu_node)
    assert (links.stopped, len(links.rounds)) == ("", 2)


@pytest.mark.usefixtures("by_rdma")
def test_pauses_that_rise_in_a_repeat_end_the_others():
    dice = random.Random(5)
    uneven = lambda _: {**_HEALTHY["streams:pair"], "rate": 1e8 * math.exp(dice.gauss(0, 0.2))}  # noqa: E731
    instead: dict[str, Any] = {f"gpu0{number}": {"streams:pair": uneven} for number in range(1, 7)}
    late = counting()
    reads = [0]

    def paused(asked: Any) -> Any:
        reads[0] += 1  # two of the background, one before, one after each round
        found = late(asked)
        found["nics"]["bond0"]["rx_prio3_pause"] = 7 if reads[0] > 5 else 0
        return found

    instead["gpu02"]["nic_counters:read"] = paused
    links, _ = swept(6, instead, gpu_node)
    assert "rose by 7" in links.stopped
    assert [row.why.partition(":")[0] for row in links.rounds] == ["ring 1/2", "ring 2/2", "ring 1/2 once more"]


@pytest.mark.parametrize(("level", "permitted"), [("normal", True), ("normal", False), ("quick", False)])
def test_rails_are_measured_from_gpu_to_gpu_and_kept_apart_but_not_of_gpus_in_use(
    monkeypatch, by_rdma, level, permitted
):
    def used(number: int) -> Any:
        node = gpu_node(number)
        taken = msgspec.structs.replace(node.gpus[0], processes=(GpuProcess(pid=9),))
        return msgspec.structs.replace(node, gpus=(taken, *node.gpus[1:])) if number == 2 and permitted else node

    flow = Flow(source="gpu01", target="gpu02", round=3, method="ib_write_bw", rail="mlx5_0", bytes_per_s=45e9)
    asked: list[Any] = []
    monkeypatch.setattr(
        sweeping.perftest_gpus, "measure", lambda wanted, *_: asked.append(wanted) or ((flow,), (("GPUs", "why"),))
    )
    links, _ = swept(4, {}, used, level=level, even_if_busy=permitted)
    assert by_rdma
    assert len(asked) == (level != "quick")
    for wanted in asked:
        assert sorted(wanted.pairs) == [("gpu01", "gpu02"), ("gpu03", "gpu04")]
        assert wanted.ended == ({"gpu02": "busy: gpu:0 is in use (pid 9)"} if permitted else {})
        assert (links.on_gpus, flow in links.flows) == ((flow,), False)
        assert (links.rounds[-1].why, links.left_out[-1]) == (sweeping.FROM_GPUS, ("GPUs", "why"))


@pytest.mark.usefixtures("by_rdma")
@pytest.mark.parametrize(("level", "told"), [("quick", 0), ("normal", 1)])
def test_gpus_that_perftest_cannot_take_are_told(level, told):
    links, _ = swept(4, {}, lambda at: having(rdma_system=having(perftest_cuda=at != 2))(gpu_node(at)), level=level)
    assert links.left_out == (("RDMA from the GPUs of gpu02", "perftest was built without CUDA"),) * told


def test_where_no_time_is_left_no_gpu_is_touched_and_that_is_told(monkeypatch):
    monkeypatch.setattr(sweeping, "FROM_GPUS_S", 1e9)
    monkeypatch.setattr(sweeping.perftest, "measure", lambda *_: ())
    links, _ = swept(4, {}, gpu_node, level="normal")
    assert links.left_out == (("RDMA from GPU to GPU of 2 pairs", "the time for the links was over"),)
