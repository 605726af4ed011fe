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
    assert "of RoCE v2 in the network that all share is 5 (10.5.0.2 on mlx5_0)" in plan.sources["NCCL_IB_ADDR_RANGE"]
    assert "NCCL_IB_ADDR_RANGE" in told(plan)


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
