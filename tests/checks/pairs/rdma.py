"""Changes that make the checks of checks/rdma.py, rdma_ports.py and roce.py fail."""

from __future__ import annotations

from typing import Any

from diag.facts.rdma import Gid, Increase
from diag.facts.snapshot import Snapshot
from tests.checks.changes import Change, having, item, on, without
from tests.checks.healthy import gpu_cluster
from tests.checks.hgx_rdma import on_ethernet
from tests.checks.pair import two


def roce(cluster: Snapshot) -> Snapshot:
    """The same machines with their cards set to Ethernet."""
    for place, node in enumerate(cluster.nodes, start=1):
        hcas = tuple(having(ports=(on_ethernet(place, index),))(hca) for index, hca in enumerate(node.hcas))
        flow = tuple((f"rail{index}", "PFC on 3, trust dscp") for index in range(len(hcas)))
        cluster = on(node.name, hcas=hcas, rdma_system=having(pfc=flow))(cluster)
    return cluster


def hca(**fields: Any) -> Change:
    """Of the third HCA of the second node."""
    return on("gpu02", hcas=item(2, having(**fields)))


def port(**fields: Any) -> Change:
    return hca(ports=item(0, having(**fields)))


def every_port(**fields: Any) -> Change:
    return on("gpu02", hcas=item(lambda _: True, having(ports=item(0, having(**fields)))))


def system(**fields: Any) -> Change:
    return on("gpu02", rdma_system=having(**fields))


def rose(counter: str, by: int) -> Change:
    return on("gpu02", increases=(Increase(device="mlx5_2", port=1, counter=counter, by=by, during="links"),))


def nowhere(gids: tuple[Gid, ...]) -> tuple[Gid, ...]:
    return tuple(having(interface=None)(gid) for gid in gids)


def moved(gids: tuple[Gid, ...]) -> tuple[Gid, ...]:
    return tuple(having(index=gid.index + 4)(gid) for gid in gids)


DOWN = port(state="down", physical_state="polling")
ON_ROCE = {"given": roce}


def two_nodes() -> Snapshot:
    """Without a majority nobody knows whether the port should have a cable."""
    return gpu_cluster(2)


def mixed(cluster: Snapshot) -> Snapshot:
    """The second node's cards are set to the other kind."""
    hcas = next(node.hcas for node in roce(cluster).nodes if node.name == "gpu02")
    return on("gpu02", hcas=hcas)(cluster)


def swapped(cluster: Snapshot) -> Snapshot:
    """One card of the second node is of Ethernet, under the name of one of InfiniBand."""
    return on("gpu02", hcas=item(1, having(ports=(on_ethernet(2, 1),))))(cluster)


PAIRS = (
    two(
        "every_hca_is_an_rdma_device",
        on("gpu02", hcas=without(lambda one: one.name == "mlx5_2")),
        "no RDMA device of 0000:7a:00.0",
        also=frozenset({"ports_that_peers_use_have_a_link"}),
    ),
    two("rdma_devices_have_their_files", hca(device_file=None, permitted=None), "for mlx5_2"),
    two("rdma_devices_may_be_opened", hca(permitted=False), "mlx5_2 (/dev/infiniband/uverbs2): permission denied"),
    two("rdma_devices_are_the_same_on_all_nodes", hca(name="rocep7"), "rocep7",
        also=frozenset({"ports_that_peers_use_have_a_link"})),
    two("rdma_devices_are_the_same_on_all_nodes", swapped, "mlx5_1 (Ethernet)",
        also=frozenset({"link_layers_are_the_same_on_all_nodes"})),
    two("hca_firmware_is_the_same_on_all_nodes", hca(firmware="28.39.1002"), "28.39.1002"),
    two("rdma_software_is_the_same_on_all_nodes", system(ofed=None), "OFED none"),
    two("flow_control_is_the_same_on_all_nodes", system(pfc=(("rail0", "PFC on none, trust pcp"),)), "trust pcp",
        **ON_ROCE),
    two("hcas_have_their_full_pcie_link", hca(pcie_width=8), "mlx5_2: x8 of x16"),
    two("hcas_have_their_full_pcie_link", hca(pcie_speed_gt_per_s=16.0), "mlx5_2: 16 of 32 GT/s"),
    two("no_network_errors_rose", rose("symbol_error", 12), "mlx5_2/1: 12 symbol_error during links"),
    two("packets_were_answered", rose("local_ack_timeout_err", 31), "mlx5_2/1: 31 local_ack_timeout_err during links"),
    two("no_congestion_rose", rose("rx_prio3_pause", 900), "900 rx_prio3_pause"),
    two("ports_that_peers_use_have_a_link", DOWN, "no link at mlx5_2"),
    two("port_has_a_link", DOWN, "mlx5_2 is down (polling)", cluster=two_nodes),
    two("port_has_a_subnet_manager", port(state="init", lid=None, sm_lid=None), "mlx5_2 is init, LID none"),
    two("port_rates_are_the_same_on_all_nodes", port(rate_bits_per_s=200 * 10**9), "838 200.0 Gbit/s"),
    two("port_uses_several_lanes", port(width=1), "mlx5_2: 1 lane"),
    two("link_layers_are_the_same_on_all_nodes", mixed, "Ethernet"),
    two("rdma_mtu_is_the_same_on_all_nodes", every_port(mtu_active_bytes=2048), "RDMA MTU 2048"),
    two("roce_mtu_is_the_highest", port(mtu_active_bytes=1024), "mlx5_2: RDMA MTU 1024", **ON_ROCE,
        also=frozenset({"rdma_mtu_is_the_same_on_all_nodes"})),
    two("roce_port_has_an_interface_here", port(gids=nowhere), "none of 4 GIDs of mlx5_2", **ON_ROCE),
    two("roce_ports_that_peers_use_have_an_address", port(gids=lambda gids: gids[:2]), "an address at mlx5_2",
        **ON_ROCE),
    two("roce_port_has_a_gid_to_speak_with", port(gids=lambda gids: gids[:2]), "roce_v2 (link-local)", **ON_ROCE,
        cluster=two_nodes),
    two("gid_indexes_are_the_same_on_all_nodes", port(gids=moved), "mlx5_2: 7", **ON_ROCE),
    two("port_is_a_full_member_of_a_partition", port(pkeys=(0x7FFF,)), "partition keys 0x7fff"),
    two("partitions_are_the_same_on_all_nodes", every_port(pkeys=(0x8001,)), "partitions 0x0001"),
)  # fmt: skip
