from __future__ import annotations

from pathlib import Path

from tests.node.asking import ask, interpreters
from tests.node.trees import plant

PORT = "sys/class/infiniband/mlx5_0/ports/1"
TREE = {
    f"{PORT}/counters/symbol_error": "7\n",
    f"{PORT}/counters/port_xmit_data": "9050441733\n",
    f"{PORT}/counters/port_xmit_wait": "N/A (no PMA)\n",
    f"{PORT}/hw_counters/rnr_nak_retry_err": "2\n",
    f"{PORT}/hw_counters/lifespan": "10\n",
    "sys/class/infiniband/efa_0/ports/1/hw_counters/rx_drops": "3\n",
    "sys/class/infiniband/efa_0/hw_counters/completed_cmds": "44\n",
    "sys/class/net/lo/statistics/rx_bytes": "1\n",
    "sys/class/net/eth0/device/": "",
    "sys/class/net/eth0/statistics/rx_bytes": "100\n",
    "sys/class/net/eth0/statistics/rx_missed_errors": "4\n",
    "sys/class/net/eth0/statistics/multicast": "5\n",
    "sys/class/net/cali7/brport/": "",
    "sys/class/net/cali7/statistics/rx_bytes": "8\n",
    "sys/class/net/eth1/statistics/tx_dropped": "0\n",
}


def test_counters_of_nics_and_ports_are_read_as_they_stand(tmp_path: Path):
    found = ask("nic_counters:read", root=plant(tmp_path, TREE))
    assert found["nics"] == {"eth0": {"rx_bytes": 100, "rx_missed_errors": 4}, "eth1": {"tx_dropped": 0}}
    assert found["hcas"] == {
        "efa_0/1": {"rx_drops": 3, "completed_cmds": 44},
        "mlx5_0/1": {"symbol_error": 7, "port_xmit_data": 9050441733, "rnr_nak_retry_err": 2},
    }
    assert found["at_s"] > 0


def test_only_the_interfaces_that_are_named_are_read(tmp_path: Path):
    found = ask("nic_counters:read", root=plant(tmp_path, TREE), interfaces=["eth1", "absent"])
    assert list(found["nics"]) == ["eth1"]


def test_a_node_without_either_has_no_counters(tmp_path: Path):
    assert ask("nic_counters:read", root=plant(tmp_path, {"sys/": ""}))["hcas"] == {}


def test_every_python_reads_this_machines_own():
    for python in interpreters():
        assert set(ask("nic_counters:read", python=python)) == {"nics", "hcas", "at_s"}


def test_a_driver_without_counters_of_its_own_has_none():
    assert ask("nic_counters:drivers_own", interface="lo") == {}


def test_every_vendors_pauses_and_discards_are_read_of_a_drivers_own():
    """mlx5, bnxt_en, ice. Those of single queues are the same again."""
    names = [
        "rx_prio3_pause", "rx_discards_phy", "rx_pfc_ena_frames_pri3", "tx_pfc_ena_frames_pri3",
        "rx_total_discard_pkts", "rx_priority_3_xoff.nic", "tx_priority_3_xon.nic", "link_xoff_rx.nic",
        "rx_dropped.nic",
    ]  # fmt: skip
    assert ask("nic_counters:of_interest", names=[*names, "rx_ucast_frames", "rx_queue_3_drops"]) == names
