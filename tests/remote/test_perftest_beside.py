"""Several rails of a pair at once: which go together, what ends alone, and where does each program run?"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diag.errors import NodeError
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known, peek
from diag.probes.perftest import Trial
from diag.probes.perftest_failures import Ended
from diag.probes.verbs import Answer
from diag.remote import perftest, perftest_run
from diag.remote.perftest import Pairs, measure
from tests.node.asking import ask
from tests.node.trees import plant
from tests.remote.agents import Workshop, until, workshop
from tests.remote.test_perftest import HERE, WRITE, node

__all__ = ["workshop"]


def cards(*addresses: str | None, gbit_s: int = 400) -> Node:
    """A node with an HCA at each PCI address."""
    plain = node("x", hcas=tuple(f"mlx5_{place}" for place in range(len(addresses))))
    hcas = []
    for hca, address in zip(plain.hcas, addresses, strict=True):
        port = msgspec.structs.replace(hca.ports[0], rate_bits_per_s=gbit_s * 10**9, mtu_active_bytes=4096)
        hcas.append(msgspec.structs.replace(hca, pci_address=address, vendor="mellanox", ports=(port,)))
    return msgspec.structs.replace(plain, hcas=tuple(hcas))


EIGHT = tuple(f"0000:{bus:02x}:00.0" for bus in range(8))


class Runs:
    """perftest without agents: who ran beside whom, and what it said. ``slow``: devices, beside others and alone.

    ``silent``: at that device the agent of b answers no more; ``stuck``: that one takes so long.
    """

    silent, stuck = "", ("", 0.0)

    def __init__(self, beside: dict[str, float], alone: dict[str, float], seconds: float = 0.1) -> None:
        self.beside, self.alone, self.seconds = beside, alone, seconds
        self.open: list[str] = []
        self.most: list[int] = []

    def run(self, test: Trial, client: Any, server: Any, _seconds: float) -> tuple[Ended, Ended]:
        device = client.side.device
        if device == self.stuck[0]:
            time.sleep(self.stuck[1])
        self.open.append(device)
        time.sleep(self.seconds)
        many = len(self.open)
        self.most.append(many)
        time.sleep(self.seconds)
        self.open.remove(device)
        if device == self.silent:
            raise NodeError("b", "agent_silent", "no answer within 6 s")
        rate = (self.beside if many > 1 else self.alone).get(device, 390.0)
        text = (
            f" #bytes #iterations BW peak[Gb/sec] BW average[Gb/sec] MsgRate[Mpps]\n {test.size_bytes} 9 9 {rate} 9\n"
        )
        return Ended(node=client.node, status=0, text=text), Ended(node=server.node, status=0, text="")


def beside(
    monkeypatch: pytest.MonkeyPatch,
    runs: Runs,
    one: Node,
    deadline_s: float = 60,
    lose: Callable[[str, NodeError], None] = lambda _node, _error: None,
    **wanted: Any,
) -> Any:
    monkeypatch.setattr(perftest, "run", runs.run)
    nodes = {name: msgspec.structs.replace(one, name=name) for name in ("a", "b")}
    sessions: Any = dict.fromkeys(nodes)
    pairs = Pairs(**{"pairs": (("a", "b"),), "number": 1, "addresses": {"a": HERE, "b": HERE}, **wanted})
    return measure(pairs, WRITE, sessions, nodes, deadline_s, lose)


def test_rails_of_eight_cards_are_measured_at_once_and_take_as_long_as_one(monkeypatch: pytest.MonkeyPatch):
    runs = Runs({}, {})
    began = time.monotonic()
    flows = beside(monkeypatch, runs, cards(*EIGHT))
    assert len(flows) == len({(flow.source, flow.rail) for flow in flows}) == 16
    assert all(flow.bytes_per_s == pytest.approx(390e9 / 8) for flow in flows)
    assert max(runs.most) == 8
    assert time.monotonic() - began < 8 * 2 * runs.seconds


@pytest.mark.parametrize("addresses", [("0000:17:00.0", "0000:17:00.1"), (None, None)])
def test_ports_of_one_card_and_devices_of_no_bus_take_turns(monkeypatch: pytest.MonkeyPatch, addresses):
    runs = Runs({}, {})
    assert len(beside(monkeypatch, runs, cards(*addresses))) == 4
    assert max(runs.most) == 1


def test_a_rail_that_is_slow_beside_others_is_measured_alone(monkeypatch: pytest.MonkeyPatch):
    """Two cards may share a link to their host's memory; a bad one is slow by itself, too."""
    runs = Runs({"mlx5_1": 250.0, "mlx5_2": 100.0}, {"mlx5_2": 101.0})
    flows = beside(monkeypatch, runs, cards(*EIGHT))
    rates = {(flow.source, flow.rail): round(flow.bytes_per_s * 8 / 1e9) for flow in flows}
    assert (rates["a", "mlx5_1"], rates["a", "mlx5_2"], rates["a", "mlx5_3"]) == (390, 101, 390)
    assert runs.most.count(1) == 4


def test_a_rail_at_which_an_agent_falls_silent_costs_those_beside_it_nothing(monkeypatch: pytest.MonkeyPatch):
    runs, lost = Runs({}, {}), []
    runs.silent = "mlx5_1"
    flows = beside(monkeypatch, runs, cards(*EIGHT), lose=lambda name, _: lost.append(name))
    known = {(flow.source, flow.rail) for flow in flows if is_known(flow, "bytes_per_s")}
    assert known == {("a", f"mlx5_{place}") for place in (0, *range(2, 8))}
    whys = [peek(flow, "bytes_per_s").why for flow in flows if not is_known(flow, "bytes_per_s")]
    assert (lost, whys) == (["b"], ["b: no answer within 6 s"] * 9)


def test_a_rail_that_does_not_end_in_time_costs_those_beside_it_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(perftest, "RUN_S", 1.0)
    runs = Runs({}, {})
    runs.stuck = ("mlx5_1", 4.0)
    flows = beside(monkeypatch, runs, cards(*EIGHT), 0.5)
    assert {flow.rail for flow in flows} == {f"mlx5_{place}" for place in range(8)}
    known = {(flow.source, flow.rail) for flow in flows if is_known(flow, "bytes_per_s")}
    assert known == {("a", f"mlx5_{place}") for place in (0, *range(2, 8))}


def test_where_time_is_short_other_rails_begin_in_the_next_round(monkeypatch: pytest.MonkeyPatch):
    one = cards(*("0000:17:00.0",) * 4)
    measured = []
    for number in (1, 2):
        runs = Runs({}, {})
        flows = beside(monkeypatch, runs, one, 2.5 * 2 * runs.seconds, number=number)
        left_out = [flow for flow in flows if not is_known(flow, "bytes_per_s")]
        assert {peek(flow, "bytes_per_s").why for flow in left_out} == {"no time was left for it"}
        assert len(flows) == 8
        measured.append({flow.rail for flow in flows if is_known(flow, "bytes_per_s")})
    assert measured == [{"mlx5_0", "mlx5_1"}, {"mlx5_2", "mlx5_3"}]


def test_an_end_that_is_stopped_leaves_the_job_beside_it_alone(workshop: Workshop):
    """As where one of eight rails hangs."""
    session = workshop.session()
    ends: dict[str, Any] = {}
    number: list[int] = []

    def job(name: str, seconds: str, **more: Any) -> threading.Thread:
        def work() -> None:
            ends[name] = session.job(("sleep", seconds), {}, 20, lambda _: None, **more)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    threads = [job("stopped", "15", on_start=number.append), job("left alone", "2")]
    assert until(lambda: bool(number), 2)
    session.stop_job(number[0])
    for thread in threads:
        thread.join(10)
    assert (ends["stopped"].status, ends["left alone"].status) == (None, 0)
    assert ends["stopped"].seconds < 2


def test_runs_beside_each_other_are_never_given_the_same_port(monkeypatch: pytest.MonkeyPatch):
    offered = iter([7001, 7001, 7001, 7002])
    monkeypatch.setattr(perftest_run, "_ask", lambda *_, **__: Answer(name="", value=next(offered)))
    party: Any = perftest_run.Party(node="a", session=None, address=HERE, side=None)  # type: ignore[arg-type] - unused
    with perftest_run._port(party) as first, perftest_run._port(party) as second:
        assert (first, second) == (7001, 7002)
        monkeypatch.setattr(perftest_run, "_ask", lambda *_, **__: Answer(name="", value=7001))
        with pytest.raises(NotMeasured), perftest_run._port(party):
            pass
        assert {port for _, port in perftest_run._TAKEN} == {7001, 7002}
    assert not perftest_run._TAKEN


def test_each_end_runs_on_the_cpus_of_its_device(tmp_path: Path):
    own = sorted(os.sched_getaffinity(0))
    tree = {
        "sys/class/infiniband/mlx5_0/device/local_cpulist": f"{own[0]},5000-5001\n",
        "sys/class/infiniband/mlx5_1/device/local_cpulist": "5000-5001\n",
    }
    root = plant(tmp_path, tree)
    devices = ("mlx5_0", "mlx5_1", "rxe0")
    assert [ask("near:stay_near", device=device, root=root) for device in devices] == [[own[0]], [], []]


def test_a_program_is_as_modest_as_all_of_ours_and_one_that_is_not_there_is_named(workshop: Workshop):
    session = workshop.session()

    def said(*words: str) -> Any:
        return session.job((*perftest_run.NEAR, "rxe0", *words), {}, 20, lambda _: None)

    assert said("nice").output.strip() == "10"
    gone = said("ib_write_gone")
    assert (gone.status, "cannot start ib_write_gone: " in gone.output) == (127, True)
