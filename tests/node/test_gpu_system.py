from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.node.asking import ask
from tests.node.trees import CONNECTX7, H200, NVSWITCH, VIRTIO_NET, pci_device, plant

GPU, HCA = "0000:18:00.0", "0000:19:00.0"
BUS = "sys/bus/pci/devices"


def tree(**more: str) -> dict[str, str]:
    """A GPU and an HCA below one switch, and an NVSwitch."""
    files = {
        **pci_device("0000:05:00.0", NVSWITCH), "proc/1/comm": "systemd\n", "proc/modules": "",
        "dev/nvidia0": "", "dev/nvidiactl": "", "dev/nvidia-uvm": "",
    }  # fmt: skip
    for address, modalias, port in ((GPU, H200, "17:00.0"), (HCA, CONNECTX7, "17:01.0")):
        place = f"sys/devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:{port}/{address}"
        files |= {f"{place}/modalias": f"{modalias}\n", f"{BUS}/{address}": f"-> ../../../../{place}"}
    return {**files, **more}


def system(root: Path, **more: str) -> Any:
    return ask("gpu_system:system", root=plant(root, tree(**more)))


def test_without_an_accelerator_nothing_is_looked_at(tmp_path: Path):
    root = plant(tmp_path, {**pci_device("0000:00:01.0", VIRTIO_NET), "dev/null": ""})
    assert ask("gpu_system:system", root=root) == {"absent": True}


def test_modules_and_the_driver_s_version_are_read(tmp_path: Path):
    more = {
        "proc/modules": "nvidia_uvm 4 0 - Live 0x0\nnvidia 9 1 nvidia_uvm, Live 0x0\nxfs 1 0 - Live 0x0\n",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.158.01\nGCC 11\n",
        "sys/module/nvidia/version": "570.158.01\n",
    }
    found = system(tmp_path, **more)
    assert (found["modules"], found["driver"]) == (["nvidia", "nvidia_uvm"], "570.158.01")
    assert "Open Kernel Module" in found["driver_text"]
    assert found["nvswitches"] == 1


def test_the_library_s_version_is_that_of_its_file(tmp_path: Path):
    folder = "usr/lib/x86_64-linux-gnu"
    more = {
        f"{folder}/libnvidia-ml.so.570.158.01": "",
        f"{folder}/libnvidia-ml.so.1": "-> libnvidia-ml.so.570.158.01",
    }
    assert system(tmp_path, **more)["library"] == "570.158.01"


def test_bridges_are_those_between_devices_and_their_root_port(tmp_path: Path):
    rows = system(tmp_path)["bridges"]
    assert [address for address, _ in rows] == ["0000:16:00.0", "0000:17:00.0", "0000:17:01.0"]


def with_acs(control: int) -> bytes:
    """Configuration space with two extended capabilities: errors (1) at 0x100, ACS (0xd) at 0x148."""
    space = bytearray(4096)
    space[0x100:0x104] = (1 | 1 << 16 | 0x148 << 20).to_bytes(4, "little")
    space[0x148:0x14C] = (0x0D | 1 << 16).to_bytes(4, "little")
    space[0x14E:0x150] = control.to_bytes(2, "little")
    return bytes(space)


@pytest.mark.parametrize(
    ("space", "acs"),
    [
        (with_acs(0x1D), True),  # source validation, request and completion redirect, upstream forwarding
        (with_acs(0x01), False),
        (with_acs(0x00), False),
        (bytes(4096), None),
        (with_acs(0x1D)[:64], "needs root"),
        (with_acs(0x1D)[:256], "needs root"),
    ],
)
def test_acs_is_read_from_configuration_space_where_it_is_open(tmp_path: Path, space: bytes, acs: bool | str | None):
    root = plant(tmp_path, tree())
    for address in ("0000:16:00.0", "0000:17:00.0", "0000:17:01.0"):
        folder = tmp_path / BUS / address
        folder.mkdir()
        (folder / "config").write_bytes(space)
    assert {row[1] for row in ask("gpu_system:system", root=root)["bridges"]} == {acs}


def test_the_iommu_s_group_of_each_device_is_read(tmp_path: Path):
    place = f"sys/devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0/{GPU}"
    more = {
        "sys/kernel/iommu_groups/7/type": "DMA\n",
        f"{place}/iommu_group": f"-> {tmp_path}/sys/kernel/iommu_groups/7",
    }
    assert system(tmp_path, **more)["iommu"] == [[GPU, "DMA"], [HCA, None]]


def test_daemons_are_told_by_their_names(tmp_path: Path):
    more = {f"proc/{pid}/comm": f"{name}\n" for pid, name in enumerate(("nv-fabricmanage", "nvidia-cuda-mps"), 70)}
    found = system(tmp_path, **more)
    assert (found["daemons"], found["hidden"], found["mps_pipe"]) == (["fabric_manager", "mps"], "", False)


def test_where_other_users_processes_are_hidden_that_is_said(tmp_path: Path):
    root = Path(plant(tmp_path, tree()))
    (root / "proc/1/comm").unlink()
    assert ask("gpu_system:system", root=str(root))["hidden"] == "other users' processes are hidden"


def test_device_files_that_are_not_there_or_closed_are_named(tmp_path: Path):
    root = Path(plant(tmp_path, tree()))
    assert ask("gpu_system:closed_files", root=str(root)) == []
    (root / "dev/nvidia-uvm").unlink()
    (root / "dev/nvidia0").chmod(0o440)
    found = ask("gpu_system:closed_files", root=str(root), unprivileged=True)
    assert found == [
        f"/dev/nvidia0: not readable and writable for uid {os.getuid()} (mode 440)",
        "/dev/nvidia-uvm: there is no such file",
    ]
