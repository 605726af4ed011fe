"""Are the RDMA facts of real machines right, healthy and with each fault, and is the node with the fault named?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lab.running import Run
from tests.rdma import faults
from tests.rdma.guests import USER, Guests

pytestmark = pytest.mark.rdma
PASSIVE = ("--python", "/usr/bin/python3", "--interface", "eth1", "--level", "passive")


def run(guests: Guests, out: Path, *options: str) -> Run:
    return Run(guests, out, *PASSIVE, *options).wait()


def hca(run: Run, number: int) -> dict[str, Any]:
    (only,) = run.snapshot()["nodes"][number - 1]["hcas"]
    return only


def port(run: Run, number: int) -> dict[str, Any]:
    (only,) = hca(run, number)["ports"]
    return only


def test_two_healthy_machines_pass_and_their_devices_are_told(guests, tmp_path, leaves_nothing):
    with leaves_nothing():
        healthy = run(guests, tmp_path)
    assert healthy.status == 0, healthy.stdout + healthy.stderr
    assert not healthy.failed()
    assert not healthy.verdicts["culprits"]
    for check in ("port_has_a_link", "roce_port_has_a_gid_to_speak_with", "rdma_devices_may_be_opened"):
        assert healthy.outcomes(check) == dict.fromkeys(guests.names, "passed")
    for guest in guests.both:
        device, at = hca(healthy, guest.number), port(healthy, guest.number)
        assert (device["name"], device["driver"], device["permitted"]) == ("rxe0", "rdma_rxe", True)
        assert (at["state"], at["physical_state"], at["link_layer"]) == ("active", "linkup", "Ethernet")
        assert (at["mtu_active_bytes"], at["rate_bits_per_s"], at["interfaces"]) == (1024, 2_500_000_000, ["eth1"])
        assert {(gid["kind"], gid["interface"]) for gid in at["gids"]} == {("roce_v2", "eth1")}
        assert [gid["ipv4"] for gid in at["gids"] if gid.get("ipv4")] == [guest.address]
        assert dict(at["counters"])["link_downed"] >= 0
        system = healthy.snapshot()["nodes"][guest.number - 1]["rdma_system"]
        assert (system["core_loaded"], system["network_namespaces"]) == (True, "shared")
        assert system["rdma_core"].split(".")[0].isdigit()
        assert system["perftest"]


def test_a_link_that_is_down_is_told_and_its_node_named(guests, tmp_path):
    faults.plant(guests.both[1], "link_down")
    seen = run(guests, tmp_path)
    assert [port(seen, number)["state"] for number in (1, 2)] == ["active", "down"]
    assert seen.status == 1
    assert set(seen.culprits().values()) == {("node2",)}, seen.verdicts["culprits"]


def test_ports_of_different_mtu_are_told(guests, tmp_path):
    faults.plant(guests.both[1], "large_mtu")
    seen = run(guests, tmp_path)
    assert [port(seen, number)["mtu_active_bytes"] for number in (1, 2)] == [1024, 4096]
    assert seen.culprits() == {"mtu_mismatch": ("node1", "node2")}, "of two nobody is the majority"


def test_a_healthy_plain_user_may_use_rdma(guests, tmp_path, leaves_nothing):
    with leaves_nothing():
        seen = run(guests, tmp_path, "--user", USER)
    assert seen.status == 0, seen.stdout + seen.stderr
    assert not seen.verdicts["culprits"]
    assert [hca(seen, number)["permitted"] for number in (1, 2)] == [True, True]


def test_what_a_plain_user_may_not_is_told(guests, tmp_path):
    faults.plant(guests.both[0], "no_permission")
    faults.plant(guests.both[1], "plain_memlock")
    seen = run(guests, tmp_path, "--user", USER)
    assert [hca(seen, number)["permitted"] for number in (1, 2)] == [False, True]
    limits = [node["limits"]["memlock_hard_bytes"] for node in seen.snapshot()["nodes"]]
    assert limits == [None, faults.LOW_MEMLOCK_KIB << 10]
    named = {"rdma_device_not_in_container": ("node1",), "memlock_limit": ("node2",)}
    assert seen.culprits() == named, seen.verdicts["culprits"]
