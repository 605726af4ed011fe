from __future__ import annotations

from typing import Any

import pytest

from diag import probes
from diag.facts.network import EphemeralPorts, Resolution, Route
from diag.facts.record import Missing, peek
from diag.probes.verbs import Answer
from tests.probes.recorded import answers, read, silent


def link(name: str, **more: Any) -> dict[str, Any]:
    row = {
        "name": name, "link": "", "hardware": 1, "loopback": False, "device": False, "state": "up", "mtu": 1500,
        "mac": None, "addresses": [],
    }  # fmt: skip
    return {**row, **more}


@pytest.mark.parametrize(
    ("row", "kind", "virtual_bridge"),
    [
        (link("lo", loopback=True, hardware=772), "loopback", False),
        (link("eth0", device=True), "physical", False),
        (link("ib0", device=True, hardware=32), "infiniband", False),
        (link("ib0.8001", link="ipoib", hardware=32), "infiniband", False),
        (link("bond0", link="bond"), "bond", False),
        (link("bond0.100", link="vlan"), "vlan", False),
        (link("eth0", link="veth"), "veth", False),
        (link("br0", link="bridge"), "bridge", False),
        (link("docker0", link="bridge"), "bridge", True),
        (link("virbr0", link="bridge"), "bridge", True),
        (link("cni0", link="bridge"), "bridge", True),
        (link("br-3f2a91c0de77", link="bridge"), "bridge", True),
        (link("br-storage", link="bridge"), "bridge", False),
        (link("flannel.1", link="vxlan"), "tunnel", False),
        (link("tailscale0", link="tun", hardware=65534), "tunnel", False),
        (link("ppp0", hardware=512), "tunnel", False),
        (link("macvlan0", link="macvlan"), "virtual", False),
        (link("dummy0", link="dummy"), "virtual", False),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_the_kind_of_an_interface(row: dict[str, Any], kind: str, virtual_bridge: bool):
    (interface,) = read("interfaces", interfaces=[row])
    assert (interface.kind, interface.virtual_bridge) == (kind, virtual_bridge)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"device": True, "speed": "400000"}, 400 * 10**9),
        ({"device": True, "speed": "-1"}, None),
        ({"device": True, "speed": "4294967295"}, None),
        ({"link": "veth"}, None),
        ({"device": True, "speed": None, "state": "down"}, Missing("e0 is down: no speed is agreed")),
        ({"link": "bond", "speed": "200000"}, 200 * 10**9),
    ],
)
def test_the_speed_of_an_interface(more: dict[str, Any], expected: object):
    (interface,) = read("interfaces", interfaces=[link("e0", **more)])
    assert peek(interface, "speed_bits_per_s") == expected


def test_ipv4_addresses_come_first():
    (interface,) = read("interfaces", interfaces=[link("e0", addresses=["fe80::1/64", "10.0.0.1/24"])])
    assert interface.addresses == ("10.0.0.1/24", "fe80::1/64")


def test_recorded_routes_are_read():
    assert read("routes")[0] == Route(destination="default", interface="eth0", gateway="192.0.2.1")


def test_a_name_that_does_not_resolve_has_no_addresses_and_a_silent_resolver_none_known():
    assert read("hostname", hostname={"name": "gpu01", "addresses": []}).addresses == ()
    hostname = read("hostname", hostname=silent("hostname", "no answer within 6 s"))
    assert hostname == Missing("no answer within 6 s")


def test_ports_are_sorted_and_an_invisible_process_is_none():
    rows = [
        {"port": 8000, "address": "::", "pid": None, "process": None},
        {"port": 6379, "address": "10.0.0.1", "pid": 7, "process": "gcs_server"},
    ]
    assert [(row.port, row.process) for row in read("listeners", listeners=rows)] == [
        (6379, "gcs_server"),
        (8000, None),
    ]


def test_the_ephemeral_range_and_what_is_reserved_in_it():
    assert read("ephemeral_ports") == EphemeralPorts(low=32768, high=60999)
    text = {
        "/proc/sys/net/ipv4/ip_local_port_range": "1024\t65535\n",
        "/proc/sys/net/ipv4/ip_local_reserved_ports": "8000-8100,29500\n",
    }
    assert read("ephemeral_ports", port_range=text) == EphemeralPorts(
        low=1024, high=65535, reserved=("8000-8100", "29500")
    )


def test_a_range_that_is_no_range_is_quoted():
    found = read("ephemeral_ports", port_range={"/proc/sys/net/ipv4/ip_local_port_range": "some ports\n"})
    assert "found 'some ports\\n', expected two ports" in found.why


def test_who_resolves_what_is_folded_over_nodes():
    def told(value: object) -> tuple[Answer, ...]:
        return tuple(answers(names=value).values())

    good = {"gpu01": ["10.0.0.1"], "gpu02": ["10.0.0.2"]}
    folded = probes.fold_resolutions({
        "gpu01": told(good),
        "gpu02": told({"gpu01": ["10.0.0.1"], "gpu02": ["127.0.1.1"]}),
        "gpu03": told({"gpu01": None, "gpu02": []}),
        "gpu04": (silent("names"),),
    })  # fmt: skip
    no_server, silent_node = Missing("no name server answered within 6 s"), Missing("no answer within 8 s")
    assert folded == (
        Resolution(name="gpu01", addresses=("10.0.0.1",), nodes=("gpu01", "gpu02")),
        Resolution(name="gpu01", addresses=silent_node, nodes=("gpu04",)),
        Resolution(name="gpu01", addresses=no_server, nodes=("gpu03",)),
        Resolution(name="gpu02", addresses=(), nodes=("gpu03",)),
        Resolution(name="gpu02", addresses=("10.0.0.2",), nodes=("gpu01",)),
        Resolution(name="gpu02", addresses=("127.0.1.1",), nodes=("gpu02",)),
        Resolution(name="gpu02", addresses=silent_node, nodes=("gpu04",)),
    )


def test_when_no_node_could_resolve_the_reason_of_one_is_kept():
    assert probes.fold_resolutions({"gpu04": (silent("names"),)}) == Missing("gpu04: no answer within 8 s")
    assert probes.fold_resolutions({}) == Missing("no node was asked")
