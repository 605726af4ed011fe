"""Is a GID named for NCCL only after its own choice was proven wrong, and in the weakest way that helps?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diag.engines import plan_launch
from diag.facts.collective import Collective
from diag.facts.node import Node
from diag.facts.software import Software
from diag.facts.speed import NcclLog, NodeCollectives, Speed
from diag.planner.network.environment import environment
from tests.planner.clusters import write_model
from tests.planner.networks import (
    TCP_RATE,
    cluster,
    failed,
    flows,
    gid,
    gid_table,
    interface,
    interfaces,
    links,
    node,
    only_network_differs,
    roce,
    set_on,
    told,
)

TWO = ("gpu01", "gpu02")


@pytest.fixture
def planned(tmp_path):
    """756 GiB: over two nodes of eight H100, as a pipeline of two."""
    large = write_model(tmp_path, "llama-405b")
    return lambda found: plan_launch(found, large)


def on_roce(number: int, *networks: str, **facts: Any) -> Node:
    """``networks`` as ``10.5.0``: an address in each, in the table and on an interface."""
    addresses = [f"{network}.{number}" for network in networks]
    own = interfaces(number, *(interface(f"docker{n}", f"{a}/24") for n, a in enumerate(addresses, 1)))
    return node(number, own=own, hcas=(roce("mlx5_0", *gid_table(*addresses)),), **facts)


def logged(*gids: int) -> Speed:
    log = NcclLog(network="IB", gids=gids)
    return Speed(level="normal", seconds=1.0, collectives=NodeCollectives(backend="nccl", world_size=8, log=log))


def test_what_nccl_used_between_nodes_proves_a_gid_wrong_whatever_it_used_inside(planned):
    found = cluster(on_roce(1, "10.5.0", speed=logged(3)), on_roce(2, "10.5.0"))
    between = Collective(
        backend="nccl", nodes=TWO, world_size=16, finished=True, seconds=9.0,
        logs=(("gpu01", NcclLog(network="IB", gids=(1,))),),
    )  # fmt: skip
    plan = planned(msgspec.structs.replace(found, collective=between))
    assert plan.recipe.env["NCCL_IB_ADDR_RANGE"] == "10.5.0.0/24"
    assert plan.sources["NCCL_IB_ADDR_RANGE"].startswith("NCCL's log on gpu01 shows GID 1")


def test_a_gid_is_named_only_after_nccls_own_choice_was_proven_wrong(planned):
    # on gpu02 an address that gpu01 has no network for stands first
    nodes = on_roce(1, "10.5.0"), on_roce(2, "10.6.0", "10.5.0")
    assert planned(cluster(*nodes)).recipe.env == {}
    wrong = failed("gpu01", "gpu02", "transport retry counter exceeded", "roce_gid_index", rail="mlx5_0")
    found = cluster(*nodes, links=links((wrong,), flows(TWO, TCP_RATE)))
    plan = planned(found)
    assert plan.recipe.env == {"NCCL_IB_ADDR_RANGE": "10.5.0.0/24"}
    assert "transport retry counter exceeded" in plan.sources["NCCL_IB_ADDR_RANGE"]
    assert "the one of RoCE v2 is 5 (10.5.0.2 on mlx5_0)" in plan.sources["NCCL_IB_ADDR_RANGE"]
    assert "NCCL_IB_ADDR_RANGE" in told(plan)


def test_a_failure_with_a_node_that_is_not_in_the_launch_proves_no_gid_wrong():
    nodes = on_roce(1, "10.6.0", "10.5.0"), on_roce(2, "10.5.0"), on_roce(3, "10.5.0")
    wrong = failed("gpu01", "gpu03", "transport retry counter exceeded", "roce_gid_index", rail="mlx5_0")
    found = cluster(*nodes, links=links((wrong,), flows(TWO, TCP_RATE)))
    assert [one.name for one in environment(nodes, found, "nvidia").variables] == ["NCCL_IB_ADDR_RANGE"]
    assert environment(nodes[:2], found, "nvidia").variables == ()


def test_nccls_log_proves_a_gid_wrong(planned):
    right = planned(cluster(on_roce(1, "10.5.0", speed=logged(3)), on_roce(2, "10.5.0")))
    wrong = planned(cluster(on_roce(1, "10.5.0", speed=logged(1)), on_roce(2, "10.5.0")))
    assert only_network_differs(right, wrong)
    assert right.recipe.env == {}
    assert wrong.recipe.env == {"NCCL_IB_ADDR_RANGE": "10.5.0.0/24"}
    assert wrong.sources["NCCL_IB_ADDR_RANGE"].startswith("NCCL's log on gpu01 shows GID 1")


def test_before_2_21_the_index_is_given_by_node(planned):
    old = Software(packages=(), nccl="2.20.5")
    alike = planned(cluster(*(on_roce(number, "10.5.0", software=old) for number in (1, 2))))
    assert alike.recipe.env == {"NCCL_IB_GID_INDEX": "3"}
    differ = planned(cluster(on_roce(1, "10.5.0", software=old), on_roce(2, "10.6.0", "10.5.0", software=old)))
    assert differ.recipe.env == {"NCCL_IB_GID_INDEX": "3"}
    assert differ.recipe.env_of_nodes == {"gpu02": {"NCCL_IB_GID_INDEX": "5"}}
    assert "NCCL 2.20 takes index 0" in differ.sources["NCCL_IB_GID_INDEX"]
    assert "3 on gpu01, 5 on gpu02" in differ.sources["NCCL_IB_GID_INDEX"]


def test_an_index_that_somebody_set_and_that_is_not_roce_v2_is_given_back_to_nccl(planned):
    one = planned(cluster(on_roce(1, "10.5.0"), on_roce(2, "10.5.0", settings=set_on("NCCL_IB_GID_INDEX", "3"))))
    other = planned(cluster(on_roce(1, "10.5.0"), on_roce(2, "10.5.0", settings=set_on("NCCL_IB_GID_INDEX", "2"))))
    assert one.recipe.env == {}
    assert other.recipe.env == {"NCCL_IB_GID_INDEX": "-1"}
    assert "NCCL_IB_GID_INDEX=2 is set on gpu02, and GID 2 of mlx5_0 is roce_v1" in other.sources["NCCL_IB_GID_INDEX"]


def test_where_nothing_is_of_ipv4_the_family_is_named(planned):
    def six(number: int):
        table = (
            gid(0, "roce_v1"),
            gid(1, "roce_v2"),
            msgspec.structs.replace(gid(2, "roce_v2"), gid=f"fd00::{number}"),
        )
        return node(number, hcas=(roce("mlx5_0", *table),))

    wrong = failed("gpu01", "gpu02", "no route", "roce_gid_index", rail="mlx5_0")
    plan = planned(cluster(six(1), six(2), links=links((wrong,), flows(TWO, TCP_RATE))))
    assert plan.recipe.env == {"NCCL_IB_ADDR_FAMILY": "AF_INET6"}


OLD = Software(packages=(), nccl="2.20.5")


def set_for(*nodes: Node) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """What steers RDMA on each node, and the notes."""
    found = environment(nodes, cluster(*nodes), "nvidia")
    return {one.name: dict(one.values) for one in found.variables if "_IB_" in one.name}, found.notes


def of_ipv6(number: int, **facts: Any) -> Node:
    own = msgspec.structs.replace(gid(2, "roce_v2"), gid=f"fd00:0000:0000:0000:0000:0000:0000:000{number}")
    return node(number, hcas=(roce("mlx5_0", gid(0, "roce_v1"), gid(1, "roce_v2"), own),), **facts)


def test_a_log_that_shows_a_link_local_gid_where_all_is_ipv6_names_the_family():
    assert set_for(of_ipv6(1, speed=logged(0)), of_ipv6(2))[0] == {
        "NCCL_IB_ADDR_FAMILY": {"gpu01": "AF_INET6", "gpu02": "AF_INET6"}
    }


def test_before_2_21_the_index_of_ipv6_is_given():
    assert set_for(of_ipv6(1, software=OLD), of_ipv6(2, software=OLD))[0] == {
        "NCCL_IB_GID_INDEX": {"gpu01": "2", "gpu02": "2"}
    }


def on_two_ports(number: int) -> Node:
    """Whose ports have their address at 3 and at 5."""
    one, other = f"10.5.0.{number}", f"10.6.0.{number}"
    own = interfaces(number, interface("r0", f"{one}/24"), interface("r1", f"{other}/24"))
    hcas = roce("mlx5_0", *gid_table(one)), roce("mlx5_1", *gid_table(f"10.99.0.{number}", other))
    return node(number, own=own, hcas=hcas, software=OLD)


def test_where_ports_of_a_node_need_several_indexes_that_is_said():
    variables, (note,) = set_for(on_two_ports(1), on_two_ports(2))
    assert variables == {}
    assert "gpu01 needs another GID index on each port (mlx5_0 3, mlx5_1 5)" in note
    assert "upgrade NCCL to 2.21" in note


def routed(number: int, **facts: Any) -> Node:
    """In a network of its own, as on a fabric of layer 3."""
    address = f"10.{number}.0.1"
    own = interfaces(number, interface("r0", f"{address}/31"))
    return node(number, own=own, hcas=(roce("mlx5_0", *gid_table(address)),), **facts)


def test_on_a_routed_fabric_no_network_has_to_be_shared():
    assert set_for(routed(1, software=OLD), routed(2, software=OLD))[0] == {
        "NCCL_IB_GID_INDEX": {"gpu01": "3", "gpu02": "3"}
    }
    assert set_for(routed(1, speed=logged(1)), routed(2))[0] == {
        "NCCL_IB_ADDR_RANGE": {"gpu01": "10.0.0.0/14", "gpu02": "10.0.0.0/14"}
    }
