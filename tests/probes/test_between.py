from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from diag.facts.device import Between
from diag.facts.record import Missing
from tests.probes.recorded import read

SAMPLES = Path(__file__).parent.parent.parent.parent / "shared" / "samples" / "nvidia"


def device(kind: str, address: str, path: str, numa: int | None = 0, rdma: tuple[str, ...] = ()) -> dict[str, Any]:
    """``path``: what is above it, the host bridge first, ports as numbers: ``15/1/16/17``."""
    root, *ports = path.split("/")
    return {
        "kind": kind, "vendor": "nvidia" if kind == "accelerator" else "mellanox", "address": address,
        "vendor_id": "10de", "device_id": "2335", "driver": "nvidia", "numa_node": numa, "virtual_function": False,
        "path": [f"pci0000:{root}", *(f"0000:{port}:00.0" for port in ports)], "rdma": list(rdma),
    }  # fmt: skip


def gpu_row(index: int, address: str, **more: Any) -> dict[str, Any]:
    return {"index": index, "why": {}, "name": "H200", "pci_address": f"0000{address.upper()}", **more}


def between(devices: list[dict[str, Any]], **rows: dict[str, Any]) -> Any:
    """GPUs are numbered as they stand; ``rows``: by ``gpu0``, what NVML says besides."""
    cards = [each["address"] for each in devices if each["kind"] == "accelerator"]
    gpus = [gpu_row(index, address, **rows.get(f"gpu{index}", {})) for index, address in enumerate(cards)]
    return read("between", gpus={"why": {}, "gpus": gpus}, pci={"devices": devices, "files": []})


def way(gpu: str, hca: str, numa: int | None = 0, of_hca: int | None = 0) -> str:
    card = device("accelerator", "0000:18:00.0", gpu, numa)
    port = device("hca", "0000:19:00.0", hca, of_hca, ("mlx5_0",))
    (found,) = between([card, port])
    assert (found.a, found.b) == ("gpu:0", "mlx5_0")
    return str(found.path)


@pytest.mark.parametrize(
    ("gpu", "hca", "path"),
    [
        ("15/1/16/17", "15/1/16/18", "PIX"),  # two ports of one switch
        ("15/1", "15/1", "PIX"),  # two functions below one port
        ("15/1/16/17/20/21", "15/1/16/18/30/31", "PXB"),  # switches below a switch
        ("15/1/16/17", "15/1/26/27", "PXB"),
        ("15/1/16/17", "15/2/16/17", "PHB"),
        ("00", "00", "PHB"),  # as virtual machines show them
        ("15/1/16/17", "37/1/38/39", "NODE"),
    ],
)
def test_the_path_between_a_gpu_and_an_hca_is_named_as_nvidia_smi_does(gpu: str, hca: str, path: str):
    assert way(gpu, hca) == path


def test_two_host_bridges_of_two_numa_nodes_are_further_apart():
    assert way("15/1", "97/1", 0, 1) == "SYS"
    assert way("15/1", "97/1", None, None) == "NODE"


def test_an_hca_without_rdma_devices_goes_by_its_address():
    port = device("hca", "0000:19:00.0", "15/1/16/18")
    (found,) = between([device("accelerator", "0000:18:00.0", "15/1/16/17"), port])
    assert found.b == "0000:19:00.0"


TWO = [device("accelerator", "0000:18:00.0", "15/1"), device("accelerator", "0000:28:00.0", "25/1")]


def test_two_gpus_are_as_far_apart_as_the_driver_says_and_may_read_as_the_worse_direction():
    assert between(TWO, gpu0={"pairs": [[1, 20, 0, 4]]}) == (
        Between(a="gpu:0", b="gpu:1", path="PXB", p2p="disabled by registry key"),
    )


def test_a_driver_that_says_nothing_of_a_pair_leaves_it_to_the_bus():
    assert between(TWO, gpu0={"pairs": [[1, None, None, None]]}) == (Between(a="gpu:0", b="gpu:1", path="NODE"),)


def link(index: int, *, active: bool = True, remote: str | None = None, kind: int = 2) -> list[Any]:
    return [index, active, 6, remote, kind, 0, 0, 0]


def test_links_to_switches_join_as_many_as_both_have():
    rows = {
        "gpu0": {"links": [link(0), link(1), link(2)], "pairs": [[1, 50, 0, 0]]},
        "gpu1": {"links": [link(0), link(1, active=False), link(2)]},
    }
    assert between(TWO, **rows) == (Between(a="gpu:0", b="gpu:1", path="link", links=2, p2p="ok"),)


def test_links_of_a_bridge_join_whom_they_lead_to():
    third = device("accelerator", "0000:38:00.0", "35/1")
    there = [link(index, remote="00000000:28:00.0", kind=0) for index in range(4)]
    back = [link(index, remote="00000000:18:00.0", kind=0) for index in range(4)]
    found = between([*TWO, third], gpu0={"links": there}, gpu1={"links": back}, gpu2={"links": []})
    assert [(pair.a, pair.b, pair.path, pair.links) for pair in found] == [
        ("gpu:0", "gpu:1", "link", 4),
        ("gpu:0", "gpu:2", "NODE", 0),
        ("gpu:1", "gpu:2", "NODE", 0),
    ]


def test_gpus_of_which_nothing_is_known_are_not_said_to_be_apart():
    found = read("between", gpus={"why": {}, "gpus": [{"index": 0, "why": {}, "lost": "GPU is lost"}] * 2}, pci={
        "devices": [], "files": []})  # fmt: skip
    assert found == Missing("no two GPUs say what joins them")


@pytest.mark.shared
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="real outputs of others are not here")
def test_a_real_matrix_of_eight_gpus_and_eight_hcas_is_what_such_a_bus_gives():
    """GPU n and HCA n share a switch, each pair below a host bridge of its own, four to a NUMA node."""
    lines = (SAMPLES / "topo_-m_8xH100_8NIC.txt").read_text().splitlines()
    rows = [line.split() for line in lines if line.startswith("GPU") and "NV18" in line]
    tree = []
    for index in range(8):
        root = f"{0x10 * index + 5:02x}"
        tree.append(device("accelerator", f"0000:{0x10 * index + 8:02x}:00.0", f"{root}/1/2/3", index // 4))
        tree.append(device("hca", f"0000:{0x10 * index + 9:02x}:00.0", f"{root}/1/2/4", index // 4, (f"mlx5_{index}",)))
    links = {f"gpu{index}": {"links": [link(at) for at in range(18)]} for index in range(8)}
    found = {(pair.a, pair.b): pair for pair in between(tree, **links)}
    assert len(rows) == 8
    for index, (_, *cells) in enumerate(rows):
        for other in range(index + 1, 8):
            assert cells[other] == f"NV{found[f'gpu:{index}', f'gpu:{other}'].links}"
        for hca in range(8):
            assert cells[8 + hca] == found[f"gpu:{index}", f"mlx5_{hca}"].path
