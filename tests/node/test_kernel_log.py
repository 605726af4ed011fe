from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.node.asking import Refused, ask
from tests.node.trees import H200, VIRTIO_NET, pci_device, plant

SHOWN = 64


def log(root: Path, *records: str) -> list[list[object]]:
    """What is found in a log of these records; a file ends where the kernel's would block."""
    tree = {**pci_device("0000:3b:00.0", H200), "dev/kmsg": "\n".join(records) + "\n"}
    found: list[list[object]] = ask("kernel_log:xids", root=plant(root, tree), seconds=5)
    return found


def xid(at_us: int, code: int, address: str = "0000:3b:00", said: str = "GPU has fallen off the bus.") -> str:
    return f"3,900,{at_us},-;NVRM: Xid (PCI:{address}): {code}, pid=812, {said}"


def test_the_last_of_each_error_of_each_device_is_kept_with_its_time(tmp_path: Path):
    found = log(
        tmp_path, "6,1,10,-;nvidia: loading out-of-tree module", xid(5_000_000, 31), xid(7_500_000, 79),
        xid(8_000_000, 31, said="again"), xid(9_000_000, 31, "0000:4b:00"),
    )  # fmt: skip
    assert [(at_s, line.split(",")[0]) for at_s, line in found] == [
        (7.5, "Xid (PCI:0000:3b:00): 79"),
        (8.0, "Xid (PCI:0000:3b:00): 31"),
        (9.0, "Xid (PCI:0000:4b:00): 31"),
    ]
    assert "again" in str(found[1])


def test_an_error_of_an_nvswitch_keeps_its_s(tmp_path: Path):
    (row,) = log(tmp_path, "3,7,9000000,-;nvidia-nvswitch3: SXid (PCI:0000:86:00.0): 24007, Non-fatal, Link 46")
    assert row == [9.0, "SXid (PCI:0000:86:00.0): 24007, Non-fatal, Link 46"]


def test_a_flood_of_errors_stays_short(tmp_path: Path):
    found = log(tmp_path, *(xid(code, code, said="x" * 500) for code in range(300)))
    assert len(found) == SHOWN
    assert max(len(str(row[1])) for row in found) <= 160
    assert str(found[-1][1]).startswith("Xid (PCI:0000:3b:00): 299")


def test_a_quiet_log_and_a_node_without_a_gpu_have_none(tmp_path: Path):
    assert log(tmp_path / "quiet", "6,1,10,-;all is well") == []
    bare = plant(tmp_path / "bare", {**pci_device("0000:00:01.0", VIRTIO_NET), "dev/null": ""})
    assert ask("kernel_log:xids", root=bare, seconds=1) == []


def test_a_log_that_is_closed_needs_root(tmp_path: Path):
    root = Path(plant(tmp_path, {**pci_device("0000:3b:00.0", H200), "dev/kmsg": ""}))
    (root / "dev/kmsg").chmod(0)
    with pytest.raises(Refused, match="PermissionError: the kernel log needs root"):
        ask("kernel_log:xids", root=str(root), seconds=1, unprivileged=True)


def dmesg(folder: Path, script: str) -> dict[str, str]:
    folder.mkdir()
    (folder / "dmesg").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "dmesg").chmod(0o755)
    return {"PATH": f"{folder}:{os.defpath}"}


def test_where_there_is_no_such_file_the_tool_is_asked(tmp_path: Path):
    root = plant(tmp_path / "root", {**pci_device("0000:3b:00.0", H200), "dev/null": ""})
    env = dmesg(tmp_path / "well", 'echo "[   12.500000] NVRM: Xid (PCI:0000:3b:00): 79, pid=812"')
    assert ask("kernel_log:xids", env=env, root=root, seconds=5) == [[12.5, "Xid (PCI:0000:3b:00): 79, pid=812"]]
    env = dmesg(tmp_path / "closed", 'echo "dmesg: read kernel buffer failed: Operation not permitted" >&2; exit 1')
    with pytest.raises(Refused, match=r"needs root \(dmesg: read kernel buffer failed"):
        ask("kernel_log:xids", env=env, root=root, seconds=5)
