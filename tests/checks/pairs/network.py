"""Changes that make the checks of checks/network.py fail."""

from __future__ import annotations

from diag.facts.container import Container
from diag.facts.network import Hostname, Resolution, Route
from diag.facts.node import Node
from diag.facts.snapshot import Snapshot
from tests.checks.changes import (
    having,
    item,
    more,
    named,
    of_cluster,
    on,
    without,
)
from tests.checks.pair import Pair, two


def named_twin(cluster: Snapshot) -> Node:
    """The third node once more, under the second one's name."""
    return having(name="gpu02")(cluster.node("gpu03"))


IN_BRIDGE = item(named("bond0"), having(addresses=("172.17.0.2/16",)))

PAIRS = (
    two(
        "hostname_is_not_loopback",
        on("gpu02", hostname=Hostname(name="gpu02", addresses=("127.0.1.1",))),
        "gpu02 resolves to 127.0.1.1 on gpu02",
    ),
    two("hostname_is_not_loopback", on("gpu02", hostname=Hostname(name="gpu02", addresses=())), "does not resolve"),
    two(
        "hostname_is_an_address_of_this_node",
        on("gpu02", hostname=Hostname(name="gpu02", addresses=("10.0.9.9",))),
        "10.0.9.9",
    ),
    two(
        "peers_resolve_its_hostname",
        of_cluster(
            resolutions=lambda old: (
                *without(named("gpu02"))(old),
                Resolution(name="gpu02", addresses=("10.0.0.12",), nodes=("gpu02", "gpu01")),
                Resolution(name="gpu02", addresses=(), nodes=("gpu03", "gpu04")),
            )
        ),
        "gpu02 does not resolve on gpu03, gpu04",
    ),
    two(
        "no_peer_resolves_its_hostname_elsewhere",
        of_cluster(resolutions=more(Resolution(name="gpu02", addresses=("127.0.1.1",), nodes=("gpu03",)))),
        "127.0.1.1 on gpu03",
    ),
    two(
        "address_is_unique",
        on("gpu02", agent=having(same_machine_as=("gpu07",))),
        "gpu02 and gpu07 are the same machine",
    ),
    Pair(
        check="address_is_unique",
        change=lambda cluster: of_cluster(nodes=item(named("gpu02"), named_twin(cluster)))(cluster),
        named=("gpu02", "gpu03"),
        found="10.0.0.13 is also the address of",
    ),
    Pair(
        check="no_other_node_holds_its_addresses",
        change=on("gpu02", interfaces=item(named("bond0"), having(addresses=("10.0.0.12/16", "10.0.0.13/16")))),
        named=("gpu02", "gpu03"),
        found="10.0.0.13 is also held by",
    ),
    Pair(
        check="host_identity_is_unique",
        change=lambda cluster: on("gpu02", hostname=having(name="gpu03"), system=cluster.node("gpu03").system)(cluster),
        named=("gpu02", "gpu03"),
        found="hostname gpu03 and boot id",
        also=frozenset({"no_peer_resolves_its_hostname_elsewhere"}),
    ),
    two(
        "named_interface_exists",
        on("gpu02", data_interface="bond1"),
        "no interface bond1",
        given=on("*", data_interface="bond0"),
    ),
    two("data_interface_is_up", on("gpu02", interfaces=item(named("bond0"), having(state="down"))), "bond0 is down"),
    two(
        "data_interface_is_no_virtual_bridge",
        on("gpu02", interfaces=item(named("bond0"), having(virtual_bridge=True))),
        "bond0",
    ),
    two(
        "data_mtu_is_the_same_on_all_nodes",
        on("gpu02", interfaces=item(named("bond0"), having(mtu_bytes=1500))),
        "MTU 1500",
    ),
    two(
        "data_link_speed_is_the_same_on_all_nodes",
        on("gpu02", interfaces=item(named("bond0"), having(speed_bits_per_s=10**11))),
        "100.0 Gbit/s",
    ),
    two(
        "data_interface_has_the_same_name_on_all_nodes",
        on("gpu02", data_interface="eno1"),
        "eno1",
        given=on("*", data_interface="bond0"),
        also=frozenset({"data_mtu_is_the_same_on_all_nodes", "data_link_speed_is_the_same_on_all_nodes"}),
    ),
    two(
        "default_route_leaves_by_the_data_interface",
        on("gpu02", routes=(Route(destination="default", interface="eno1", gateway="10.1.0.1"),)),
        "eno1",
    ),
    two(
        "container_holds_the_nodes_address",
        on("gpu02", interfaces=IN_BRIDGE),
        "172.17.0.2",
        given=on("*", container=Container(kind="docker")),
    ),
    two(
        "interface_with_an_address_is_up",
        on("gpu02", interfaces=item(named("eno1"), having(state="down"))),
        "eno1 is down",
    ),
    two(
        "no_two_interfaces_share_a_network",
        on("gpu02", interfaces=item(named("eno1"), having(addresses=("10.0.7.1/16",)))),
        "10.0.0.0/16",
    ),
)
