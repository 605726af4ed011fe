"""Do links and nodes that are slow change which nodes form a replica, where that is better, and nothing else?"""

from __future__ import annotations

from typing import Any

import pytest

from diag.engines import plan_launch
from diag.facts.plan import Plan
from diag.facts.snapshot import Snapshot
from tests.planner.clusters import write_model
from tests.planner.networks import TCP_RATE, cluster, flows, links, node, only_network_differs, pair

THREE, FOUR = (tuple(f"gpu0{number}" for number in range(1, most + 1)) for most in (3, 4))


@pytest.fixture
def planned(tmp_path):
    """756 GiB: over two nodes of eight H100, as a pipeline of two."""
    large = write_model(tmp_path, "llama-405b")
    return lambda found: plan_launch(found, large)


def over(names: tuple[str, ...], **slow: Any) -> Snapshot:
    nodes = (node(number) for number in range(1, len(names) + 1))
    return cluster(*nodes, busbw=None, links=links(flows(names, TCP_RATE, **slow)))


def groups(plan: Plan) -> list[str]:
    return [note for note in plan.notes if note.startswith("replicas over")]


def test_a_slow_link_is_kept_out_of_every_replica(planned):
    one, other = planned(over(FOUR)), planned(over(FOUR, slow={pair(1, 2): 0.2e9}))
    assert one.parameters == other.parameters
    assert groups(one) == []
    assert groups(other) == [
        "replicas over gpu01, gpu03 and gpu02, gpu04: tcp 1.60 Gbit/s between gpu01 and gpu02, usual 88.0 Gbit/s"
    ]
    assert "gpu03: --node-rank 1" in other.sources["--node-rank"]
    way = "tcp 88.0 Gbit/s between gpu01 and gpu03 at least (around tcp 1.60 Gbit/s between gpu01 and gpu02)"
    assert way in other.sources["--pipeline-parallel-size"]
    assert one.recipe == other.recipe
    changed_sources = {name for name in other.sources if other.sources[name] != one.sources.get(name)}
    assert changed_sources == {"nodes", "--nnodes", "--node-rank", "--pipeline-parallel-size", "groups"}
    assert other.sources["groups"] == "gpu01, gpu03; gpu02, gpu04"


def test_a_slow_link_between_neighbours_of_one_pipeline_is_gone_around(planned):
    plan = planned(over(THREE, slow={pair(1, 2): 0.2e9}))
    assert plan.parameters.pipeline_parallel_size == 3
    assert plan.sources["--nnodes"] == "a replica spans gpu01, gpu03, gpu02"


def test_a_slow_node_is_left_out_where_as_many_replicas_run_without_it(planned):
    one, other = planned(over(THREE)), planned(over(THREE, slow={"gpu02": 0.2e9}))
    assert "1 replica on 3 nodes" in one.reason
    assert (other.parameters.pipeline_parallel_size, other.verdict) == (2, "FITS")
    assert "left out: gpu02: tcp 1.60 Gbit/s at most to any other node, usual 88.0 Gbit/s" in other.notes
    assert other.sources["--nnodes"] == "a replica spans gpu01, gpu03"
    assert other.sources["nodes"].startswith("tcp 88.0 Gbit/s between gpu01 and gpu03")


def test_a_slow_node_stays_where_a_replica_would_go_with_it(planned):
    plan = planned(over(FOUR, slow={"gpu02": 0.2e9}))
    assert "2 replicas on 4 nodes" in plan.reason
    assert "no grouping goes around 1 slow link" in groups(plan)[0]


def test_inside_a_node_the_network_changes_no_flag(tmp_path):
    model = write_model(tmp_path, "qwen3-32b")
    one = plan_launch(over(FOUR), model)
    other = plan_launch(over(FOUR, slow={"gpu02": 0.2e9, pair(1, 3): 0.1e9}), model)
    assert one.recipe == other.recipe
    assert only_network_differs(one, other)
    assert "tcp 0.80 Gbit/s between gpu01 and gpu03, the slowest of 6 pairs" in other.sources["nodes"]
