"""Two Snapshots that differ in their network: do those flags and variables change that should, each with its reason?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diag.engines import plan_launch
from diag.facts.network import Hostname
from diag.facts.snapshot import Snapshot
from diag.facts.system import Limits, Memory
from diag.units import GIB
from tests.planner.clusters import all_reduce, write_model
from tests.planner.networks import (
    OTHER_SUBNET,
    RAIL_RATE,
    TCP_RATE,
    cluster,
    failed,
    flows,
    gid_table,
    hca,
    infiniband,
    interface,
    interfaces,
    links,
    node,
    only_network_differs,
    port,
    rails,
    roce,
    set_on,
    told,
)

RAILS = ("mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3")
TWO, THREE, FOUR = (tuple(f"gpu0{number}" for number in range(1, most + 1)) for most in (2, 3, 4))


@pytest.fixture
def large(tmp_path):
    """756 GiB: over two nodes of eight H100, as a pipeline of two."""
    return write_model(tmp_path, "llama-405b")


@pytest.fixture
def planned(large):
    return lambda found, **options: plan_launch(found, large, **options)


def healthy(most: int = 2, **facts: Any) -> Snapshot:
    return cluster(*(node(number, hcas=rails(), **facts) for number in range(1, most + 1)))


def changed(number: int, most: int = 2, **facts: Any) -> Snapshot:
    """One node differs."""
    return cluster(
        *(node(each, **({"hcas": rails()} | (facts if each == number else {}))) for each in range(1, most + 1))
    )


def test_a_healthy_cluster_needs_no_variable(planned):
    plan = planned(healthy())
    assert (plan.parameters.tensor_parallel_size, plan.parameters.pipeline_parallel_size) == (8, 2)
    assert plan.recipe.env == {}
    assert plan.recipe.env_of_nodes == {}
    assert not any("RDMA" in note or "_SOCKET_" in note for note in plan.notes)


def test_without_infiniband_nothing_is_exported_and_the_rate_is_that_of_sockets(planned):
    everything = flows(TWO, TCP_RATE), *(flows(TWO, RAIL_RATE, "ib_write_bw", rail) for rail in RAILS)
    with_ib = cluster(*(node(number, hcas=rails()) for number in (1, 2)), busbw=None, links=links(*everything))
    without = cluster(node(1), node(2), busbw=None, links=links(everything[0]))
    one, other = planned(with_ib), planned(without)
    assert only_network_differs(one, other)
    assert (one.recipe.env, other.recipe.env) == ({}, {})
    # four rails of 46 GB/s, each measured by itself, are 1,472 Gbit/s
    assert one.sources["nodes"] == "ib_write_bw 1472.0 Gbit/s between gpu01 and gpu02, the slowest of 1 pairs"
    assert other.sources["nodes"] == "tcp 88.0 Gbit/s between gpu01 and gpu02, the slowest of 1 pairs"
    assert "tcp 88.0 Gbit/s" in other.sources["--pipeline-parallel-size"]


def test_a_port_that_is_down_is_left_out_by_nccl_itself(planned):
    hcas = (*rails(*RAILS[:3]), infiniband("mlx5_3", state="down"))
    one, other = planned(healthy()), planned(changed(2, hcas=hcas))
    assert only_network_differs(one, other)
    assert other.recipe.env == {}
    (note,) = set(other.notes) - set(one.notes)
    assert note == "mlx5_3:1 is down on gpu02: NCCL leaves it out by itself, no variable is needed"


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"hcas": tuple(hca(n, *rails(n)[0].ports, device_file=None, permitted=None) for n in RAILS)},
         "no file under /dev/infiniband"),
        ({"hcas": tuple(hca(n, *rails(n)[0].ports, permitted=False) for n in RAILS)}, "may not be opened"),
        ({"hcas": tuple(infiniband(name, state="init") for name in RAILS)}, "no port is active: mlx5_0:1 is init"),
        ({"limits": Limits(memlock_soft_bytes=65536, ipc_lock=False),
          "memory": Memory(total_bytes=2000 * GIB, available_bytes=1900 * GIB)}, "only 64.0 KiB of memory may be"),
    ],
)  # fmt: skip
def test_rdma_that_cannot_be_used_is_named_and_not_hidden(planned, facts, why):
    one, other = planned(healthy()), planned(changed(2, **facts))
    assert only_network_differs(one, other)
    assert other.recipe.env == {}
    (note,) = set(other.notes) - set(one.notes)
    assert note.startswith("RDMA of gpu02 cannot be used: ")
    assert why in note
    assert why in told(other)


# -- interfaces


def test_a_docker_bridge_alike_on_every_node_changes_nothing_and_another_bridge_names_the_interface(planned):
    bridge = interface("br-1a2b", "172.18.0.1/16", kind="bridge", virtual_bridge=True)
    plain = cluster(*(node(number) for number in (1, 2)))
    bridged = cluster(*(node(number, own=interfaces(number, bridge)) for number in (1, 2)))
    one, other = planned(plain), planned(bridged)
    assert only_network_differs(one, other)
    assert one.recipe.env == {}
    assert other.recipe.env == {"NCCL_SOCKET_IFNAME": "=bond0"}
    said = "bond0 carried the measured collective between the nodes; "
    said += "without it bond0, br-1a2b would be taken on gpu[01-02]"
    assert other.sources["NCCL_SOCKET_IFNAME"] == said
    assert said in told(other)


def test_a_wrong_interface_that_is_set_on_a_node_is_overridden_and_named(planned):
    more = interface("eno1", "10.9.0.2/24")
    one = planned(changed(2, own=interfaces(2)))
    other = planned(changed(2, settings=set_on("NCCL_SOCKET_IFNAME", "docker")))
    assert only_network_differs(one, other)
    assert other.recipe.env == {"NCCL_SOCKET_IFNAME": "=bond0"}
    assert (
        "NCCL_SOCKET_IFNAME=docker, which is set there, takes docker0 on gpu02" in other.sources["NCCL_SOCKET_IFNAME"]
    )
    prefix = planned(changed(2, own=interfaces(2, more), settings=set_on("NCCL_SOCKET_IFNAME", "=bond0")))
    assert "without it bond0, eno1 would be taken on gpu02" in prefix.sources["NCCL_SOCKET_IFNAME"]


def test_a_hostname_that_resolves_to_the_loopback_names_the_interface_for_gloo_alone(planned):
    one = planned(healthy())
    other = planned(changed(2, hostname=Hostname(name="gpu02", addresses=("127.0.1.1",))))
    assert only_network_differs(one, other)
    assert other.recipe.env == {"GLOO_SOCKET_IFNAME": "bond0"}
    assert (
        "without it GLOO binds 127.0.1.1, to which its own name resolves, on gpu02"
        in other.sources["GLOO_SOCKET_IFNAME"]
    )


def test_names_that_differ_are_given_by_node(planned):
    collective = msgspec.structs.replace(
        all_reduce(TWO, 40e9), interface=None, interfaces=(("gpu01", "bond0"), ("gpu02", "eth7"))
    )
    own = interfaces(2, interface("eno1", "10.9.0.2/24"), data="eth7")
    found = cluster(node(1), node(2, own=own), collective=collective)
    plan = planned(found)
    assert plan.recipe.env == {"NCCL_SOCKET_IFNAME": "=bond0"}
    assert plan.recipe.env_of_nodes == {"gpu02": {"NCCL_SOCKET_IFNAME": "=eth7"}}
    assert "on gpu02 NCCL_SOCKET_IFNAME==eth7" in told(plan).replace("'", "")


# -- HCAs


def test_infiniband_of_another_subnet_is_left_out_on_all_nodes(planned):
    other_fabric = (*rails(*RAILS[:3]), infiniband("mlx5_3", subnet=OTHER_SUBNET))
    one, other = planned(healthy()), planned(changed(2, hcas=other_fabric))
    assert only_network_differs(one, other)
    assert other.recipe.env == {"NCCL_IB_HCA": "^=mlx5_3"}
    assert f"mlx5_3 is on subnet {OTHER_SUBNET}, on which gpu01 has no port" in other.sources["NCCL_IB_HCA"]


def test_ethernet_beside_infiniband_is_left_out_by_exact_names(planned):
    storage = roce("mlx5_10", *gid_table(), gbit=100)
    found = cluster(*(node(number, hcas=(infiniband("mlx5_1"), storage)) for number in (1, 2)))
    plan = planned(found)
    assert plan.recipe.env == {"NCCL_IB_HCA": "=mlx5_1"}
    assert "mlx5_10 is Ethernet without a GID of RoCE v2" in plan.sources["NCCL_IB_HCA"]


def test_one_port_of_two_is_named_with_its_number(planned):
    both = infiniband("mlx5_0", ports=2)
    ethernet = port(2, "Ethernet", gid_table("10.5.0.1"), state="active", gbit=25)
    found = cluster(
        *(node(number, hcas=(msgspec.structs.replace(both, ports=(both.ports[0], ethernet)),)) for number in (1, 2))
    )
    plan = planned(found)
    assert plan.recipe.env == {"NCCL_IB_HCA": "=mlx5_0:1"}
    assert "is not InfiniBand, as the ports that carry more are" in plan.sources["NCCL_IB_HCA"]


def test_a_rail_so_slow_that_the_others_alone_carry_more_is_left_out(planned):
    def measured(low: float) -> Snapshot:
        each = [flows(TWO, RAIL_RATE, "ib_write_bw", rail) for rail in RAILS[:3]]
        each.append(flows(TWO, low, "ib_write_bw", RAILS[3]))
        return cluster(*(node(number, hcas=rails()) for number in (1, 2)), links=links(*each))

    # four at 0.8 of the rate carry 3.2 rates, three alone 3: it stays; at 0.6 it would be 2.4
    one, slow, slower = (
        planned(measured(RAIL_RATE)),
        planned(measured(0.8 * RAIL_RATE)),
        planned(measured(0.6 * RAIL_RATE)),
    )
    assert one.recipe == slow.recipe
    assert only_network_differs(one, slower)
    assert slower.recipe.env == {"NCCL_IB_HCA": "^=mlx5_3"}
    assert (
        "mlx5_3 carried 220.8 Gbit/s between gpu01 and gpu02, its other ports 368.0 Gbit/s"
        in slower.sources["NCCL_IB_HCA"]
    )


def test_a_rail_whose_tests_all_failed_is_left_out(planned):
    each = [flows(TWO, RAIL_RATE, "ib_write_bw", rail) for rail in RAILS[:3]]
    lost = tuple(
        failed(a, b, "no completion within 10 s", "ib_link_flapping", rail="mlx5_3") for a, b in (TWO, TWO[::-1])
    )
    plan = planned(cluster(*(node(number, hcas=rails()) for number in (1, 2)), links=links(*each, lost)))
    assert plan.recipe.env == {"NCCL_IB_HCA": "^=mlx5_3"}
    assert "mlx5_3 failed: ib_write_bw from gpu01 to gpu02: no completion within 10 s" in plan.sources["NCCL_IB_HCA"]


def test_rdma_is_switched_off_only_where_it_was_proven_to_end_the_collective(planned):
    lost = tuple(
        failed(a, b, "no completion within 10 s", "ib_link_flapping", rail=rail)
        for a, b in (TWO, TWO[::-1])
        for rail in RAILS
    )
    hung = msgspec.structs.replace(all_reduce(TWO, 1e9), finished=False, steps=(), summary="stopped at 8 KiB")
    nodes = tuple(node(number, hcas=rails()) for number in (1, 2))
    through = planned(cluster(*nodes, links=links(flows(TWO, TCP_RATE), lost)))
    ended = planned(cluster(*nodes, links=links(flows(TWO, TCP_RATE), lost), collective=hung))
    assert only_network_differs(through, ended)
    assert through.recipe.env == {}
    assert ended.recipe.env == {"NCCL_IB_DISABLE": "1"}
    assert "every RDMA test of gpu01 failed (no completion within 10 s)" in ended.sources["NCCL_IB_DISABLE"]
    assert "stopped at 8 KiB" in ended.sources["NCCL_IB_DISABLE"]
    assert ended.sources["nodes"].startswith("tcp 88.0 Gbit/s")
