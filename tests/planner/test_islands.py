"""Do measured links decide where a parallel group fits, before what is known of a device by its name?"""

from __future__ import annotations

from itertools import combinations

import pytest

from diag.engines import plan_launch
from diag.facts.device import Between
from diag.facts.node import Node, Reach
from diag.planner import islands
from diag.planner.accelerators import accelerators
from diag.planner.domains import domains
from diag.units import GIB, MIB
from tests.planner.clusters import all_reduce, eight_h100, eight_mxc500, snapshot, write_model
from tests.probes.recorded import read
from tests.probes.vendors.printed import eight_metax


def joined(*groups: tuple[int, ...]) -> tuple[Between, ...]:
    """All pairs of eight GPUs: a link inside each group, the CPUs' way between them."""
    return tuple(
        Between(a=f"gpu:{a}", b=f"gpu:{b}", path="link" if any({a, b} <= {*group} for group in groups) else "SYS")
        for a, b in combinations(range(8), 2)
    )


def parsed(name: str) -> Node:
    """A node as the readers make it of mx-smi's output: 8 GPUs of 64 GiB in two islands."""
    topics = {topic: read(topic, **eight_metax()) for topic in ("devices", "gpus", "between")}
    return Node(name=name, address=f"10.0.0.{name[-1]}", reach=Reach(outcome="answered"), **topics)


def size_of(*nodes: Node) -> tuple[int, str]:
    cluster = snapshot(*nodes)
    found = accelerators(cluster)
    assert found is not None
    measured = domains(cluster, found)
    return measured.island, measured.island_why


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        (((0, 1, 2, 3, 4, 5, 6, 7),), 8),
        (((0, 1, 2, 3), (4, 5, 6, 7)), 4),
        (((0, 1), (2, 3), (4, 5), (6, 7)), 2),
        (((0, 2, 4, 6), (1, 3, 5, 7)), 1),
        (((0, 1, 2), (3, 4, 5), (6, 7)), 1),
    ],
)
def test_an_island_is_as_large_as_neighbours_in_number_are_joined(groups: tuple[tuple[int, ...], ...], size: int):
    found = accelerators(snapshot(eight_mxc500(between=joined(*groups))))
    assert found is not None
    measured = islands.measured(found)
    assert measured is not None
    assert measured[0] == size


def test_the_node_with_the_smallest_islands_decides_and_is_named():
    well, ill = eight_mxc500("mx01", between=joined((0, 1, 2, 3), (4, 5, 6, 7))), eight_mxc500("mx02")
    worse = eight_mxc500("mx03", between=joined((0, 1), (2, 3), (4, 5), (6, 7)))
    assert size_of(well, ill, worse) == (2, "measured on mx03: links join 2")


def test_what_was_measured_goes_before_what_the_name_says():
    assert size_of(eight_mxc500())[1] == "MetaX MXC500: MetaXLink joins 4"
    assert size_of(eight_mxc500(between=joined(tuple(range(8))))) == (8, "")
    assert size_of(eight_h100(between=joined((0, 1, 2, 3), (4, 5, 6, 7)))) == (4, "measured on gpu01: links join 4")


def test_a_node_without_any_link_says_nothing_of_islands():
    assert size_of(eight_mxc500(between=joined()))[1] == "MetaX MXC500: MetaXLink joins 4"


def test_two_nodes_of_eight_metax_are_planned_from_what_their_tool_printed(tmp_path):
    cluster = snapshot(parsed("mx01"), parsed("mx02"), collective=all_reduce(("mx01", "mx02"), 10e9))
    plan = plan_launch(cluster, write_model(tmp_path, "llama-70b"))
    assert plan.verdict in ("FITS", "RISKY")
    assert plan.parameters.tensor_parallel_size == 4
    assert size_of(*cluster.nodes) == (4, "measured on mx01: links join 4")
    found = accelerators(cluster)
    assert found is not None
    assert len(found.devices) == 16
    assert found.tightest.free_bytes == (65536 - 847) * MIB
    assert found.tightest.total_bytes == 64 * GIB
