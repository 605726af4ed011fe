from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diag.facts.record import NotMeasured
from diag.probes.perftest import Side, Trial, argv, bare, result, results
from diag.probes.perftest_failures import Ended, failure

RECORDED = {
    run["name"]: run
    for run in json.loads((Path(__file__).parent.parent / "data" / "rdma" / "perftest.json").read_text())
}
WRITE = Trial(tool="ib_write_bw", size_bytes=65536)
SIDE = Side(device="mlx5_1", port=1, gid_index=3, exchange_port=20123)


def text(name: str) -> str:
    return str(RECORDED[name]["stdout"] + RECORDED[name]["stderr"])


def test_what_the_tools_are_told():
    assert argv(WRITE, SIDE) == (
        "ib_write_bw", "-F", "-d", "mlx5_1", "-i", "1", "-p", "20123", "-s", "65536", "-D", "2", "-q", "1",
        "--report_gbits", "-x", "3",
    )  # fmt: skip
    gpu = Side(device="mlx5_1", port=1, gid_index=None, exchange_port=1, source=("--bind_source_ip", "10.0.0.2"), gpu=4)
    assert argv(WRITE, gpu, "10.0.0.1")[-3:] == ("--bind_source_ip=10.0.0.2", "--use_cuda=4", "10.0.0.1")
    assert "-x" not in argv(WRITE, gpu)
    latency = argv(Trial(tool="ib_send_lat", size_bytes=2), SIDE)
    assert "-n" in latency
    assert "--report_gbits" not in latency


def test_an_index_that_perftest_refuses_is_left_to_its_own_choice():
    assert "-x" not in argv(WRITE, Side(device="mlx5_1", port=1, gid_index=65, exchange_port=1))


GOOD = {
    "ib_write_bw_gbits": 0.23e9 / 8, "ib_write_bw_x1_gbits": None, "ib_write_bw": 32.41 * (1 << 20),
    "ib_write_bw_D2": 0.19e9 / 8, "ib_read_bw": 0.15e9 / 8, "ib_send_bw": None, "ib_write_bw_bidir": 0.112807e9 / 8,
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("side", ["client", "server"])
def test_bandwidths_are_read_as_they_were_printed(name: str, side: str):
    found = result(WRITE, text(f"{name}.{side}"))
    assert found.mtu_bytes == 1024
    assert found.bytes_per_s is not None
    assert GOOD[name] is None or found.bytes_per_s == pytest.approx(GOOD[name])


@pytest.mark.parametrize(
    ("name", "latency_us"), [("ib_send_lat", 1100.43), ("ib_write_lat", 295.22), ("ib_send_lat_D2", 450.93)]
)
def test_latencies_are_the_typical_ones_or_the_mean_where_no_other_is_told(name: str, latency_us: float):
    found = result(Trial(tool="ib_send_lat", size_bytes=2), text(f"{name}.client"))
    assert found.latency_s == pytest.approx(latency_us / 1e6)


def test_all_sizes_are_rows_of_which_the_one_that_was_asked_for_counts():
    assert len(results(text("ib_write_bw_a.client"))) == 23
    assert result(WRITE, text("ib_write_bw_a.client")).bytes_per_s == pytest.approx(0.22e9 / 8)
    with pytest.raises(NotMeasured, match="printed 8388608, expected one of 65536 bytes"):
        result(WRITE, text("ib_write_bw_a.server"))


def test_one_bare_number_is_what_its_options_made_it():
    assert bare(WRITE, text("ib_write_bw_output_bandwidth.client")) == pytest.approx(0.288653e9 / 8)
    found = bare(Trial(tool="ib_send_lat", size_bytes=2), text("ib_send_lat_output_latency.client"))
    assert found == pytest.approx(448.313386e-6)
    with pytest.raises(NotMeasured, match="expected one number"):
        bare(WRITE, text("ib_write_bw.client"))


def test_a_header_without_a_row_a_number_of_nothing_and_a_strange_unit_are_no_result():
    with pytest.raises(NotMeasured, match="no row of its table"):
        result(WRITE, text("after_restore_write_bw.server"))
    with pytest.raises(NotMeasured, match="nothing came through"):
        result(WRITE, text("ib_write_bw_D2.client").replace("0.19", "0.00"))
    with pytest.raises(NotMeasured, match="expected one of Gb/sec"):
        result(WRITE, text("ib_write_bw_gbits.client").replace("Gb/sec", "furlongs"))


def ended(node: str, name: str | None) -> Ended:
    if name is None:
        return Ended(node=node, status=None, text="")
    run: dict[str, Any] = RECORDED[name]
    hung = isinstance(run["status"], str)
    status = None if hung else run["status"]
    return Ended(node=node, status=status, text=text(name), timed_out=run["status"] == "timeout")


CAUSES = {
    "memlock64_client": "memlock_limit", "memlock64_server": "memlock_limit",
    "gid_idx_mismatch_s0_c1": "roce_gid_index",
    "gid_idx_mismatch_s1_c0": "roce_gid_index", "gid_idx_outofrange_client5000": "roce_gid_index",
    "gid_idx_unset_client15": "roce_gid_index", "gid_idx_unset_server15": "roce_gid_index", "msgsize_mismatch": "",
    "linkdown_midrun_write_bw": "firewall_blocks_ports", "tool_mismatch_bw_vs_lat": "firewall_blocks_ports",
    "udp4791_blocked_write_bw": "firewall_blocks_ports", "udp4791_blocked_send_lat": "firewall_blocks_ports",
    "after_restore_write_bw": "", "send_lat_all_sizes_hang": "firewall_blocks_ports",
}  # fmt: skip


@pytest.mark.parametrize("name", CAUSES)
def test_every_recorded_failure_of_two_ends_has_a_line_and_its_cause(name: str):
    found = failure(WRITE, ended("a", f"{name}.client"), ended("b", f"{name}.server"), 17.0, ethernet=True)
    assert found is not None
    assert found.cause == CAUSES[name]
    assert found.why
    assert "\n" not in found.why


ALONE = {
    "server_not_running_write_bw": "firewall_blocks_ports", "server_not_running_rdma_cm": "firewall_blocks_ports",
    "host_unreachable_noarp": "firewall_blocks_ports", "no_such_device": "rdma_device_not_in_container",
    "nodev_write_bw": "rdma_device_not_in_container", "nomod_write_bw": "rdma_device_not_in_container",
    "uverbs_perm_write_bw": "rdma_device_not_in_container", "linkdown_write_bw_local_down": "rdma_bad_hca_selected",
    "no_such_port": "", "linkdown_write_bw_client": "firewall_blocks_ports",
}  # fmt: skip


@pytest.mark.parametrize("name", ALONE)
def test_every_recorded_failure_of_one_end_has_a_line_and_its_cause(name: str):
    found = failure(WRITE, ended("a", name), ended("b", None), 17.0, ethernet=True)
    assert found is not None
    assert found.cause == ALONE[name]
    assert found.why
    assert found.at == ("a" if found.cause.startswith("rdma_") else "")


@pytest.mark.parametrize(
    "name", ["final_ok", "mtu_4096_vs_1024_default", "loss1pct_write_bw", "gid_idx_linklocal_both0"]
)
def test_two_ends_that_ended_well_have_not_failed(name: str):
    """MTUs that differ are no failure either: both take the smaller, and say so in their tables."""
    assert failure(WRITE, ended("a", f"{name}.client"), ended("b", f"{name}.server"), 17.0, ethernet=True) is None
    assert result(WRITE, text(f"{name}.client")).mtu_bytes == 1024


def test_memory_of_a_gpu_that_cannot_be_registered_is_another_cause():
    ends = (ended("a", "memlock64_client.client"), ended("b", "memlock64_client.server"))
    found = failure(WRITE, *ends, 17.0, ethernet=True, on_gpu=True)
    assert found is not None
    assert found.cause == "gdr_peermem_missing"


def test_a_hang_on_infiniband_names_no_udp_port():
    found = failure(
        WRITE, *(Ended(node=name, status=None, text="", timed_out=True) for name in "ab"), 17.0, ethernet=False
    )
    assert found is not None
    assert "no end within 17 s" in found.why
    assert "UDP" not in found.why


def test_a_port_that_was_taken_meanwhile_says_nothing_of_the_link():
    taken = Ended(node="b", status=1, text="Couldn't listen to port 20123\n")
    found = failure(WRITE, Ended(node="a", status=None, text=""), taken, 17.0, ethernet=True)
    assert found is not None
    assert (found.cause, found.why) == ("", "port 20123 of b was taken a moment before")


def test_what_nobody_knows_is_told_in_its_own_words():
    strange = Ended(node="a", status=3, text="---\nOut of cheese\n")
    found = failure(WRITE, strange, Ended(node="b", status=0, text=""), 17.0, ethernet=True)
    assert found is not None
    assert found.why == "ib_write_bw ended on a (status 3): Out of cheese"
