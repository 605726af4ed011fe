from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.asking import Refused, ask
from tests.node.trees import (
    CONNECTX6_ETHERNET,
    CONNECTX7,
    H200,
    MI300X,
    NVSWITCH,
    RAPHAEL,
    VIRTIO_NET,
    pci_device,
    plant,
)


def test_gpus_and_hcas_are_found_and_bridges_and_virtual_cards_are_not(tmp_path: Path):
    tree = {
        **pci_device("0000:18:00.0", H200, driver="-> ../../../bus/pci/drivers/nvidia", numa_node="0\n"),
        **pci_device("0000:19:00.0", CONNECTX7, driver="-> ../../drivers/mlx5_core", numa_node="1\n", physfn="-> ../x"),
        **pci_device("0000:1a:00.0", CONNECTX6_ETHERNET, numa_node="-1\n"),
        **pci_device("0000:1b:00.0", NVSWITCH),
        **pci_device("0000:1c:00.0", VIRTIO_NET),
        **pci_device("0000:1d:00.0", MI300X),
        "dev/nvidia0": "",
        "dev/nvidiactl": "",
        "dev/null": "",
    }
    found = ask("pci:devices", root=plant(tmp_path, tree))
    assert [(row["address"], row["kind"], row["vendor"], row["driver"]) for row in found["devices"]] == [
        ("0000:18:00.0", "accelerator", "nvidia", "nvidia"),
        ("0000:19:00.0", "hca", "mellanox", "mlx5_core"),
        ("0000:1a:00.0", "hca", "mellanox", None),
        ("0000:1d:00.0", "accelerator", "amd", None),
    ]
    gpu, port, ethernet, _ = found["devices"]
    assert (gpu["vendor_id"], gpu["device_id"], gpu["numa_node"]) == ("10de", "2335", 0)
    assert port["virtual_function"]
    assert not gpu["virtual_function"]
    assert ethernet["numa_node"] is None
    assert found["files"] == ["/dev/nvidia0"]


def test_graphics_of_a_processor_are_no_accelerator_and_neither_is_their_device_file(tmp_path: Path):
    tree = {**pci_device("0000:c5:00.0", RAPHAEL, driver="-> ../../drivers/amdgpu"), "dev/kfd": "", "dev/null": ""}
    root = plant(tmp_path, tree)
    assert ask("pci:devices", root=root) == {"devices": [], "files": [], "nvswitches": 0}
    assert ask("accelerators:tools", root=root, vendors={}, seconds=5) == {"absent": True}
    assert ask("gpu_system:system", root=root) == {"absent": True}


def test_beside_graphics_of_a_processor_an_accelerator_keeps_its_device_file(tmp_path: Path):
    tree = {**pci_device("0000:c5:00.0", RAPHAEL), **pci_device("0000:1d:00.0", MI300X), "dev/kfd": ""}
    found = ask("pci:devices", root=plant(tmp_path, tree))
    assert [row["address"] for row in found["devices"]] == ["0000:1d:00.0"]
    assert found["files"] == ["/dev/kfd"]


def test_an_ethernet_card_is_an_hca_once_an_rdma_driver_has_registered_it(tmp_path: Path):
    intel = "pci:v00008086d00001592sv00008086sd00000002bc02sc00i00"
    tree = {
        **pci_device("0000:01:00.0", intel, driver="-> ../../drivers/ice"),
        **pci_device("0000:02:00.0", intel, driver="-> ../../drivers/ice", **{"infiniband/irdma0/": ""}),
    }
    found = ask("pci:devices", root=plant(tmp_path, tree))["devices"]
    assert [(row["address"], row["vendor"]) for row in found] == [("0000:02:00.0", "intel")]


@pytest.mark.parametrize("device", ["8086d00001592", "14E4d00001760", "15B3d0000101D"])
def test_a_card_that_could_do_rdma_and_has_no_driver_is_an_hca(tmp_path: Path, device: str):
    tree = pci_device("0000:01:00.0", f"pci:v0000{device}sv00000000sd00000000bc02sc00i00")
    (found,) = ask("pci:devices", root=plant(tmp_path, tree))["devices"]
    assert (found["kind"], found["driver"]) == ("hca", None)


def test_an_empty_bus_and_a_kernel_without_one_prove_absence(tmp_path: Path):
    assert ask("pci:devices", root=plant(tmp_path / "empty", {"sys/bus/pci/devices/": ""}))["devices"] == []
    assert ask("pci:devices", root=plant(tmp_path / "none", {"sys/bus/cpu/": ""}))["devices"] == []


def test_a_bus_that_cannot_be_read_proves_nothing(tmp_path: Path):
    with pytest.raises(Refused, match="FileNotFoundError"):
        ask("pci:devices", root=plant(tmp_path, {"sys/": ""}))


def test_the_bus_of_this_machine_can_be_read():
    assert isinstance(ask("pci:devices")["devices"], list)
