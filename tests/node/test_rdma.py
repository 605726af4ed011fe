from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.node.asking import ask, interpreters
from tests.node.rdma_trees import INFINIBAND, OTHERS, ROCE, V4, VIRTUAL, gid_files, recorded_rxe
from tests.node.trees import plant


def devices(root: str, **more: Any) -> dict[str, dict[str, Any]]:
    return {device["name"]: device for device in ask("rdma:devices", root=root, **more)["devices"]}


def test_soft_roce_is_read_as_it_was_recorded(tmp_path: Path):
    rxe = devices(plant(tmp_path, recorded_rxe()))["rxe0"]
    (port,) = rxe["ports"]
    assert (rxe["address"], rxe["firmware"], rxe["parent"], rxe["file"]) == (
        None,
        None,
        "eth1",
        "/dev/infiniband/uverbs0",
    )
    assert (port["state"], port["phys_state"], port["rate"]) == ("4: ACTIVE", "5: LinkUp", "2.5 Gb/sec (1X SDR)")
    assert [(row["index"], row["gid"], row["type"], row["interface"]) for row in port["gids"]] == [
        (0, "fe80:0000:0000:0000:5054:00ff:fe00:0101", "RoCE v2", "eth1"),
        (1, "0000:0000:0000:0000:0000:ffff:c0a8:4d01", "RoCE v2", "eth1"),
        (2, "fd77:0000:0000:0000:0000:0000:0000:0001", "RoCE v2", "eth1"),
    ]
    assert port["pkeys"] == [0xFFFF]
    assert port["counters"]["completer_retry_err"] == 281
    assert "lifespan" not in port["counters"]


def test_a_card_says_where_it_hangs_and_what_its_link_is(tmp_path: Path):
    card = devices(plant(tmp_path, INFINIBAND))["mlx5_0"]
    assert (card["address"], card["driver"], card["vendor"], card["numa_node"]) == (
        "0000:1a:00.0", "mlx5_core", "mellanox", 1,
    )  # fmt: skip
    assert (card["firmware"], card["board"]) == ("28.43.2026", "MT_0000000838")
    assert card["link"] == ["32.0 GT/s PCIe", "16", "32.0 GT/s PCIe", "16"]
    (port,) = card["ports"]
    assert (port["interfaces"], port["pkeys"], port["mtus"]) == (["ibp26s0"], [0xFFFF, 0x8001], ["2044"])


def test_a_bond_is_named_and_the_interface_of_another_namespace_is_not(tmp_path: Path):
    (port,) = devices(plant(tmp_path, ROCE))["mlx5_bond_0"]["ports"]
    assert (port["bond"], port["interfaces"]) == ("bond0", ["bond0"])
    assert [(row["index"], row["interface"]) for row in port["gids"]] == [
        (0, "bond0"), (1, "bond0"), (2, "bond0"), (3, "bond0"), (40, None),
    ]  # fmt: skip


def test_a_device_finds_its_file_by_name_and_not_by_number(tmp_path: Path):
    assert devices(plant(tmp_path, ROCE))["mlx5_bond_0"]["file"] == "/dev/infiniband/uverbs3"


def test_without_its_file_a_device_is_not_there_for_us(tmp_path: Path):
    tree = {name: text for name, text in INFINIBAND.items() if not name.startswith("dev/")}
    device = devices(plant(tmp_path, tree))["mlx5_0"]
    assert (device["file"], device["permitted"]) == (None, None)


def test_a_file_that_is_closed_to_us_is_not_permitted(tmp_path: Path):
    root = plant(tmp_path, INFINIBAND)
    assert devices(root, unprivileged=True)["mlx5_0"]["permitted"] is True
    (tmp_path / "dev/infiniband/uverbs0").chmod(0o000)
    assert devices(root, unprivileged=True)["mlx5_0"]["permitted"] is False


@pytest.mark.parametrize(
    ("name", "vendor", "driver"),
    [("bnxt_re0", "broadcom", "bnxt_en"), ("irdma0", "intel", "ice"), ("rdmap0s6", "amazon", "efa")],
)
def test_other_vendors_devices_are_read_the_same(tmp_path: Path, name: str, vendor: str, driver: str):
    device = devices(plant(tmp_path, OTHERS))[name]
    assert (device["vendor"], device["driver"], len(device["ports"])) == (vendor, driver, 1)


def test_a_virtual_function_is_known_as_one(tmp_path: Path):
    assert devices(plant(tmp_path, {**INFINIBAND, **VIRTUAL}))["mlx5_7"]["virtual_function"]
    assert not devices(plant(tmp_path / "other", INFINIBAND))["mlx5_0"]["virtual_function"]


def test_a_table_is_not_read_past_a_long_run_of_empty_slots(tmp_path: Path):
    port = "sys/class/infiniband/mlx5_0/ports/1"
    rows = {0: (V4, "RoCE v2", "eth0"), 50: (V4, "RoCE v2", "eth0"), 200: (V4, "RoCE v2", "eth0")}
    (found,) = devices(plant(tmp_path, {f"{port}/state": "4: ACTIVE\n", **gid_files(port, rows)}))["mlx5_0"]["ports"]
    assert [row["index"] for row in found["gids"]] == [0, 50]


def test_a_node_without_the_rdma_core_has_no_device(tmp_path: Path):
    assert ask("rdma:devices", root=plant(tmp_path, {"sys/": ""})) == {"loaded": False, "devices": []}


def test_every_python_reads_the_recorded_tree(tmp_path: Path):
    root = plant(tmp_path, recorded_rxe())
    for python in interpreters():
        assert devices(root, python=python)["rxe0"]["parent"] == "eth1"
