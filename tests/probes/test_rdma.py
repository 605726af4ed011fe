from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from diag.facts.rdma import Hca, RdmaPort, RdmaSystem
from diag.facts.record import Missing, NotMeasured, is_known, peek
from diag.probes import rdma_systems
from diag.probes.verbs import Answer
from tests.node.asking import ask
from tests.node.rdma_trees import DATA, INFINIBAND, OTHERS, ROCE, VIRTUAL, recorded_rxe
from tests.node.trees import plant
from tests.probes.recorded import read, silent
from tests.probes.vendors.printed import REAL, real

SYSTEM: dict[str, Any] = {"loaded": True}


def hcas(tmp_path: Path, tree: dict[str, str], **system: Any) -> dict[str, Hca]:
    found = ask("rdma:devices", root=plant(tmp_path, tree))
    return {hca.name: hca for hca in read("hcas", hcas=found, rdma_system={**SYSTEM, **system})}


def devinfo(name: str) -> dict[str, Any]:
    return {"devinfo": {"status": 0, "stdout": (DATA / name).read_text(), "stderr": ""}}


def test_soft_roce_as_it_was_recorded(tmp_path: Path):
    rxe = hcas(tmp_path, recorded_rxe(), **devinfo("rxe-ibv_devinfo.txt"))["rxe0"]
    (port,) = rxe.ports
    assert (rxe.driver, rxe.vendor, rxe.pci_address, rxe.pcie_width) == ("rdma_rxe", None, None, None)
    assert (port.state, port.physical_state, port.link_layer, port.rate_bits_per_s, port.width) == (
        "active", "linkup", "Ethernet", 2_500_000_000, 1,
    )  # fmt: skip
    assert [(gid.index, gid.kind, gid.ipv4, gid.link_local, gid.interface) for gid in port.gids] == [
        (0, "roce_v2", None, True, "eth1"), (1, "roce_v2", "192.168.77.1", False, "eth1"),
        (2, "roce_v2", None, False, "eth1"),
    ]  # fmt: skip
    assert (port.mtu_active_bytes, port.mtu_max_bytes, port.mtu_told_by) == (1024, 4096, "ibv_devinfo")
    assert dict(port.counters) == {
        "completer_retry_err": 281, "duplicate_request": 6471, "link_downed": 1, "out_of_seq_request": 0,
        "rcvd_rnr_err": 0, "rcvd_seq_err": 0, "retry_exceeded_err": 0, "retry_rnr_exceeded_err": 0,
        "send_rnr_err": 1381,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("mtu", "active"), [("1500", 1024), ("4200", 4096), ("9000", 4096), ("1280", 1024), ("600", 256)]
)
def test_without_ibv_devinfo_roces_mtu_follows_from_the_interface(tmp_path: Path, mtu: str, active: int):
    """1,024 at 1,500 and 4,096 at 4,200 were recorded."""
    tree = {**recorded_rxe(), "sys/class/net/eth1/mtu": f"{mtu}\n"}
    (port,) = hcas(tmp_path, tree)["rxe0"].ports
    assert (port.mtu_active_bytes, port.mtu_told_by) == (active, "eth1")
    assert not is_known(port, "mtu_max_bytes")


def test_infiniband_has_lids_partition_keys_and_no_mtu_of_its_own(tmp_path: Path):
    card = hcas(tmp_path, INFINIBAND)["mlx5_0"]
    (port,) = card.ports
    assert (port.lid, port.sm_lid, port.pkeys, port.rate_bits_per_s, port.width) == (
        57,
        1,
        (0xFFFF, 0x8001),
        400 * 10**9,
        4,
    )
    assert [gid.kind for gid in port.gids] == ["ib"]
    assert peek(port, "mtu_active_bytes") == Missing(
        "ibv_devinfo is not installed (ibverbs-utils), and sysfs has no MTU"
    )
    assert (card.pcie_speed_gt_per_s, card.pcie_width, card.pcie_max_width, card.numa_node) == (32.0, 16, 16, 1)
    assert dict(port.counters) == {"symbol_error": 0, "port_xmit_data": 9050441733, "out_of_sequence": 12}


def test_the_tool_tells_the_mtu_of_each_port(tmp_path: Path):
    (port,) = hcas(tmp_path, INFINIBAND, **devinfo("mlx5-ibv_devinfo.txt"))["mlx5_0"].ports
    assert (port.mtu_active_bytes, port.mtu_max_bytes) == (4096, 4096)


def test_a_tool_that_may_not_open_the_device_says_so(tmp_path: Path):
    failed = {"devinfo": {"status": 1, "stdout": "", "stderr": "Failed to open device\n"}}
    (port,) = hcas(tmp_path, INFINIBAND, **failed)["mlx5_0"].ports
    assert peek(port, "mtu_active_bytes") == Missing("ibv_devinfo: Failed to open device")


def test_roces_gids_have_kinds_and_addresses(tmp_path: Path):
    hca = hcas(tmp_path, ROCE)["mlx5_bond_0"]
    assert hca.bond == "bond0"
    assert [(gid.index, gid.kind, gid.ipv4, gid.interface) for gid in hca.ports[0].gids] == [
        (0, "roce_v1", None, "bond0"), (1, "roce_v2", None, "bond0"), (2, "roce_v1", "10.77.0.2", "bond0"),
        (3, "roce_v2", "10.77.0.2", "bond0"), (40, "roce_v2", None, None),
    ]  # fmt: skip
    assert (hca.ports[0].lid, hca.ports[0].sm_lid) == (None, None)


def addressed(*addresses: str) -> list[dict[str, Any]]:
    return [{
        "name": "bond0", "link": "bond", "hardware": 1, "loopback": False, "device": False, "state": "up", "mtu": 9000,
        "addresses": addresses,
    }]  # fmt: skip


@pytest.mark.parametrize(("address", "here"), [("10.77.0.2/24", "bond0"), ("172.17.0.5/16", None)])
def test_a_gids_interface_is_the_one_that_holds_its_address(tmp_path: Path, address: str, here: str | None):
    """In a container bond0 may be its own, and the GID that of the host's."""
    found = ask("rdma:devices", root=plant(tmp_path, ROCE))
    (hca,) = read("hcas", hcas=found, rdma_system=SYSTEM, interfaces=addressed(address))
    assert [gid.interface for gid in hca.ports[0].gids if gid.ipv4] == [here, here]
    assert [gid.interface for gid in hca.ports[0].gids if not gid.ipv4] == ["bond0", "bond0", None]


def test_a_virtual_function_has_no_pcie_link_and_a_card_whose_link_is_not_said_has_an_unknown_one(tmp_path: Path):
    found = hcas(tmp_path, {**INFINIBAND, **VIRTUAL, **OTHERS})
    assert (found["mlx5_7"].pcie_width, found["mlx5_7"].ports[0].lid) == (None, None)
    assert not is_known(found["rdmap0s6"], "pcie_width")
    assert not is_known(found["bnxt_re0"].ports[0], "gids")


def test_a_node_without_rdma_has_no_device_and_no_system():
    assert read("hcas") == ()
    assert read("rdma_system") is None


def test_a_silent_node_is_not_one_without_devices():
    assert isinstance(read("hcas", hcas=silent("hcas")), Missing)
    assert isinstance(read("rdma_system", rdma_system=silent("rdma system")), Missing)


def system(**found: Any) -> RdmaSystem:
    answer: RdmaSystem = read("rdma_system", rdma_system={**SYSTEM, **found})
    return answer


def test_versions_and_what_perftest_was_built_with():
    found = system(
        ofed="24.10-1.1.4", verbs="libibverbs.so.1.14.44.0", namespaces="shared",
        perftest={"status": 1, "stdout": "Version: 6.06\n", "stderr": ""},
        perftest_help={"status": 1, "stdout": "--ipv6-addr --report_gbits --source_ip --use_cuda", "stderr": ""},
    )  # fmt: skip
    assert (found.ofed, found.rdma_core, found.perftest, found.perftest_cuda) == ("24.10-1.1.4", "44.0", "6.06", True)
    assert (found.perftest_source_option, found.network_namespaces) == ("--source_ip", "shared")
    assert found.perftest_ipv6
    assert not system(perftest_help={"status": 1, "stdout": "--ipv6 --raw_ipv6", "stderr": ""}).perftest_ipv6


def test_what_is_not_installed_is_none_and_what_is_not_said_is_missing():
    found = system()
    assert (found.rdma_core, found.perftest, found.perftest_cuda, found.perftest_source_option) == (
        None,
        None,
        False,
        None,
    )
    assert not is_known(found, "network_namespaces")
    assert not is_known(found, "pfc")


def test_flow_control_is_told_in_words_and_its_absence_with_the_kernels():
    told = {"ens1f0np0": {"pfc": [3], "trust": "dscp", "ecn": {"roce_np": [3], "roce_rp": []}}}
    assert system(flow_control=told).pfc == (
        ("ens1f0np0", "PFC on 3, trust dscp, ECN roce_np on 3, ECN roce_rp on none"),
    )
    silent_ = system(flow_control={"eth1": {"ecn": None, "why": "[Errno 95] Operation not supported"}})
    assert "Operation not supported" in peek(silent_, "pfc").why


def test_a_text_of_another_tool_has_no_mtus():
    assert rdma_systems.devinfo("No IB devices found\n") == {}
    with pytest.raises(NotMeasured, match="No IB devices found"):
        rdma_systems.mtus(_answers({"status": 255, "stdout": "No IB devices found\n", "stderr": ""}))


def _answers(tool: dict[str, Any]) -> Any:
    return {"rdma system": Answer(name="rdma system", value={"loaded": True, "devinfo": tool})}


def test_a_port_reads_as_the_record_it_is(tmp_path: Path):
    assert isinstance(hcas(tmp_path, INFINIBAND)["mlx5_0"].ports[0], RdmaPort)


@pytest.mark.shared
def test_the_ports_of_a_real_h100_machine_are_read(tmp_path: Path):
    """Another project's recording of sysfs, where it lies beside this one."""
    recorded = REAL / "sysfs" / "sys-class-infiniband-h100.0"
    if not recorded.exists():
        pytest.skip("real outputs of others are not here")
    (tmp_path / "sys/class").mkdir(parents=True)
    (tmp_path / "sys/class/infiniband").symlink_to(recorded)
    found = read("hcas", hcas=ask("rdma:devices", root=str(tmp_path)), rdma_system=SYSTEM)
    ports = [hca.ports[0] for hca in found]
    assert {port.link_layer for port in ports} == {"InfiniBand", "Ethernet"}
    assert {(port.state, port.physical_state) for port in ports} == {("active", "linkup")}
    assert 400 * 10**9 in {port.rate_bits_per_s for port in ports}
    assert all(dict(port.counters)["symbol_error"] >= 0 for port in ports)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["ibv_devinfo_cx7_ib.txt", "ibv_devinfo_cx7_roce.txt"])
def test_mtus_of_real_cards_are_read(name: str):
    assert {mtu.active_bytes for mtu in rdma_systems.devinfo(real(f"ib/{name}")).values()} == {4096}
