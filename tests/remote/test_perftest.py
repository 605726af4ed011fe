"""Each run is two real agents of this machine; perftest is a stand-in that replays what was recorded of it."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diag.facts.links import Flow
from diag.facts.node import Node, Reach
from diag.facts.rdma import Gid, Hca, RdmaPort, RdmaSystem
from diag.facts.record import Missing, is_known, peek
from diag.probes.perftest import Trial
from diag.remote import perftest, perftest_run
from diag.remote.perftest import Pairs, measure
from tests.remote.agents import Workshop, until, workshop

__all__ = ["workshop"]
HERE = "127.0.0.1"
RECORDED = {
    run["name"]: run
    for run in json.loads((Path(__file__).parent.parent / "data" / "rdma" / "perftest.json").read_text())
}
WRITE, READ = (
    Trial(tool="ib_write_bw", size_bytes=65536, seconds=1),
    Trial(tool="ib_read_bw", size_bytes=65536, seconds=1),
)
LATENCY = Trial(tool="ib_send_lat", size_bytes=2)
Replay = Callable[..., tuple[Flow, ...]]


def node(name: str, *, state: str = "active", hcas: tuple[str, ...] = ("rxe0",), index: int = 1, **system: Any) -> Node:
    gid = Gid(index=index, gid="::ffff:127.0.0.1", kind="roce_v2", interface="lo", ipv4=HERE)
    port = RdmaPort(number=1, link_layer="Ethernet", state=state, physical_state="linkup", gids=(gid,))
    return Node(
        name=name,
        address=HERE,
        reach=Reach(outcome="answered"),
        hcas=tuple(Hca(name=hca, ports=(port,)) for hca in hcas),
        rdma_system=RdmaSystem(core_loaded=True, **{"perftest": "6.06", **system}),
    )


def end(name: str) -> dict[str, Any]:
    """A recorded end; one that only follows from the other's failure comes to no connection."""
    run = RECORDED[name]
    alone = "nodev" in name or "no_such" in name or "local_down" in name or "uverbs" in name or "outofrange" in name
    return {"meets": not alone, **{field: run[field] for field in ("status", "stdout", "stderr")}}


HANGS = {"meets": True, "status": "timeout", "stdout": "", "stderr": ""}


@pytest.fixture
def replay(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Replay:
    folder = tmp_path_factory.mktemp("bin")
    script = f"#!{sys.executable}\n" + Path(__file__).with_name("fake_perftest.py").read_text()
    for tool in ("ib_write_bw", "ib_read_bw", "ib_send_lat"):
        (folder / tool).write_text(script)
        (folder / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(perftest_run, "FOLLOW_S", 0.5)
    monkeypatch.setattr(perftest_run, "LISTEN_S", 2.0)

    def run(server: dict[str, Any], client: dict[str, Any], test: Trial = WRITE, **more: Any) -> tuple[Flow, ...]:
        (folder / "ends.json").write_text(json.dumps({"server": server, "client": client}))
        sessions = {name: workshop.session() for name in ("a", "b")}
        nodes = {"a": more.pop("a", node("a")), "b": more.pop("b", node("b"))}
        wanted = Pairs(**{"pairs": (("a", "b"),), "number": 3, "addresses": {"a": HERE, "b": HERE}, **more})
        flows = measure(wanted, test, sessions, nodes, 60)
        assert until(lambda: not [pid for pid in workshop.processes() if _is_perftest(pid)], 2)
        return flows

    run.folder = folder  # type: ignore[attr-defined]
    return run


def _is_perftest(pid: int) -> bool:
    try:
        return b"/ib_" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def calls(replay: Any) -> list[list[str]]:
    return [json.loads(line) for line in (replay.folder / "calls").read_text().splitlines()]


def test_both_directions_of_a_rail_are_measured_one_after_the_other(replay: Replay):
    flows = replay(end("ib_write_bw_gbits.server"), end("ib_write_bw_gbits.client"))
    assert [(flow.source, flow.target, flow.round, flow.method, flow.rail) for flow in flows] == [
        ("a", "b", 3, "ib_write_bw", "rxe0"),
        ("b", "a", 3, "ib_write_bw", "rxe0"),
    ]
    assert [flow.bytes_per_s for flow in flows] == [0.23e9 / 8] * 2
    assert [call[0] for call in calls(replay)] == ["server", "client"] * 2


def test_each_end_is_told_its_own_gid_index_and_address_and_both_the_same_port(replay: Replay):
    nodes = {"a": node("a", index=3, perftest_source_option="--source_ip"), "b": node("b", index=1)}
    replay(end("ib_write_bw_gbits.server"), end("ib_write_bw_gbits.client"), **nodes)
    server, client = (call[2:] for call in calls(replay)[:2])
    assert server[server.index("-x") + 1] == "1"
    assert client[client.index("-x") + 1] == "3"
    assert f"--source_ip={HERE}" in client
    assert not [word for word in server if word.startswith("--source_ip")]
    assert server[server.index("-p") + 1] == client[client.index("-p") + 1]
    assert client[-1] == HERE


def test_a_read_pulls_so_the_bytes_come_from_its_server(replay: Replay):
    flows = replay(end("ib_read_bw.server"), end("ib_read_bw.client"), READ)
    assert [(flow.source, flow.target) for flow in flows] == [("a", "b"), ("b", "a")]
    assert flows[0].bytes_per_s == pytest.approx(0.15e9 / 8)


def test_a_latency_is_measured_once_for_both_directions(replay: Replay):
    (flow,) = replay(end("ib_send_lat.server"), end("ib_send_lat.client"), LATENCY)
    assert flow.latency_s == pytest.approx(1100.43e-6)
    assert not is_known(flow, "bytes_per_s")


FAILURES = {
    "memlock64_client": ("memlock_limit", "a may not lock"),
    "memlock64_server": ("memlock_limit", "b may not lock"),
    "gid_idx_mismatch_s0_c1": ("roce_gid_index", "of different kinds"),
    "gid_idx_unset_client15": ("roce_gid_index", "of different kinds"),
    "msgsize_mismatch": ("", "refused access"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_recorded_failure_is_named(replay: Replay, name: str):
    flow = replay(end(f"{name}.server"), end(f"{name}.client"))[0]
    cause, why = FAILURES[name]
    assert (flow.cause, why in peek(flow, "bytes_per_s").why) == (cause, True), peek(flow, "bytes_per_s")


def test_a_server_that_waits_for_ever_is_ended_when_its_client_failed(replay: Replay):
    began = time.monotonic()
    flow = replay(HANGS | {"meets": False}, end("nodev_write_bw"))[0]
    assert isinstance(peek(flow, "bytes_per_s"), Missing)
    assert time.monotonic() - began < 45


def test_a_client_that_refuses_its_gid_index_is_heard_although_the_server_waits(replay: Replay):
    flow = replay(HANGS, end("gid_idx_outofrange_client5000.client"))[0]
    assert (flow.cause, "no such GID index" in peek(flow, "bytes_per_s").why) == ("roce_gid_index", True)


def test_a_server_that_fails_before_it_listens_needs_no_client(replay: Replay):
    flow = replay(end("linkdown_write_bw_local_down"), HANGS)[0]
    assert (flow.cause, peek(flow, "bytes_per_s").why) == ("rdma_bad_hca_selected", "port 1 is Down on b")
    assert flow.at == "b"
    assert {call[0] for call in calls(replay)} == {"server"}


def test_both_ends_that_hang_are_ended_at_the_deadline(replay: Replay, monkeypatch: pytest.MonkeyPatch):
    """As it was with UDP 4791 filtered, a dead link, and another tool at the other end."""
    monkeypatch.setattr(perftest, "RUN_S", 1.0)
    flows = replay(HANGS, HANGS)
    assert [flow.cause for flow in flows] == ["firewall_blocks_ports"] * 2
    assert "UDP port 4791" in peek(flows[0], "bytes_per_s").why


def test_a_run_to_its_end_of_which_nothing_came_is_a_filter_on_roce(replay: Replay):
    """With a fixed time both ends exit with 0 where UDP 4791 is filtered."""
    flow = replay(end("udp4791_blocked_D2_write_bw.server"), end("udp4791_blocked_D2_write_bw.client"))[0]
    assert (flow.cause, "UDP port 4791" in peek(flow, "bytes_per_s").why) == ("firewall_blocks_ports", True)


def test_an_end_that_failed_unheard_makes_no_result_of_the_others_table(replay: Replay):
    flow = replay(end("limit_bw_not_met.server") | {"status": 1}, end("ib_write_bw_gbits.client"))[0]
    assert not is_known(flow, "bytes_per_s")


def test_a_table_of_another_size_is_no_result(replay: Replay):
    other = msgspec.structs.replace(WRITE, size_bytes=4096)
    flow = replay(end("ib_write_bw_gbits.server"), end("ib_write_bw_gbits.client"), other)[0]
    assert "expected one of 4096 bytes" in peek(flow, "bytes_per_s").why


def test_both_ends_are_told_to_meet_over_ipv6(replay: Replay):
    nodes = {name: node(name, perftest_ipv6=True) for name in ("a", "b")}
    addresses = {"a": "::1", "b": "::1"}
    flows = replay(end("ib_write_bw_gbits.server"), end("ib_write_bw_gbits.client"), addresses=addresses, **nodes)
    assert all(is_known(flow, "bytes_per_s") for flow in flows), flows
    assert all("--ipv6-addr" in call for call in calls(replay))
    assert calls(replay)[1][-1] == "::1"


def test_an_agent_that_is_gone_is_told_and_the_flow_keeps_its_place(workshop: Workshop):
    sessions = {name: workshop.session() for name in ("a", "n1")}  # n1: what its host is called
    sessions["n1"].abort()
    lost: list[str] = []
    wanted = Pairs(pairs=(("a", "n1"),), number=1, addresses={"a": HERE, "n1": HERE})
    nodes = {name: node(name) for name in sessions}
    flows = measure(wanted, WRITE, sessions, nodes, 30, lambda name, _: lost.append(name))
    assert lost == ["n1"]
    assert [(flow.rail, is_known(flow, "bytes_per_s")) for flow in flows] == [("rxe0", False)] * 2


@pytest.mark.parametrize("later_s", [0.0, 1.0])
def test_what_is_needed_by_others_meanwhile_at_the_clients_node_ends_the_run(
    replay: Replay, monkeypatch: pytest.MonkeyPatch, later_s: float
):
    """While the server begins to listen, when there is no job yet that could be stopped; or later."""
    ended: dict[str, str] = {}
    listens = perftest_run._listens

    def slowly(*words: Any) -> bool:
        found = listens(*words)
        threading.Timer(later_s, ended.setdefault, ("a", "another process began to use a GPU (pid 7)")).start()
        time.sleep(0.0 if later_s else 0.2)
        return found

    monkeypatch.setattr(perftest_run, "_listens", slowly)
    began = time.monotonic()
    flows = replay(HANGS, HANGS, ended=ended)
    assert {peek(flow, "bytes_per_s").why for flow in flows} == {"a: another process began to use a GPU (pid 7)"}
    assert [call[0] for call in calls(replay)] == ["server", "client"][: 2 if later_s else 1]
    assert time.monotonic() - began < 10


def test_the_real_perftest_without_a_device_is_named(workshop: Workshop):
    """Where it is installed; else that it is not."""
    sessions = {name: workshop.session() for name in ("a", "b")}
    wanted = Pairs(pairs=(("a", "b"),), number=1, addresses={"a": HERE, "b": HERE})
    flow = measure(wanted, WRITE, sessions, {"a": node("a"), "b": node("b")}, 60)[0]
    words = (
        "perftest finds no such RDMA device on b",
        "perftest is not installed on b",
        "b may not open its RDMA device",
    )
    assert peek(flow, "bytes_per_s").why.startswith(words)
