"""Do measured links decide where a parallel group fits, before what is known of a device by its name?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, permutations

import msgspec
import pytest

from diag.engines import plan_launch
from diag.facts.device import Between
from diag.facts.islands import order
from diag.facts.node import Node, Reach
from diag.facts.plan import Parameters
from diag.facts.speed import Lost, P2p, Speed
from diag.inventory.gpusets import parts
from diag.planner import islands
from diag.planner.accelerators import accelerators
from diag.planner.domains import domains
from diag.planner.exclusion import without
from diag.planner.islands import Islands
from diag.planner.wanted import Wanted
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


EVEN_AND_ODD = joined((0, 2, 4, 6), (1, 3, 5, 7))
INTERLEAVED = "0,2,4,6,1,3,5,7"


def tp(ranks: int) -> Wanted:
    return Wanted(pinned=Parameters(tensor_parallel_size=ranks))


def islands_of(*nodes: Node) -> Islands | None:
    found = accelerators(snapshot(*nodes))
    assert found is not None
    return islands.measured(found)


@pytest.mark.parametrize(
    ("groups", "size", "order"),
    [
        (((0, 1, 2, 3, 4, 5, 6, 7),), 8, tuple(range(8))),
        (((0, 1, 2, 3), (4, 5, 6, 7)), 4, tuple(range(8))),
        (((0, 1), (2, 3), (4, 5), (6, 7)), 2, tuple(range(8))),
        (((0, 2, 4, 6), (1, 3, 5, 7)), 4, (0, 2, 4, 6, 1, 3, 5, 7)),
        (((0, 7), (1, 6), (2, 5), (3, 4)), 2, (0, 7, 1, 6, 2, 5, 3, 4)),
        (((0, 1, 2), (3, 4, 5), (6, 7)), 1, tuple(range(8))),
        (((0, 5, 1), (2, 3, 4), (6, 7), (5, 4), (2, 0)), 2, (0, 1, 2, 3, 4, 5, 6, 7)),
    ],
)
def test_islands_are_what_links_join_in_whatever_order(groups, size, order):
    measured = islands_of(eight_mxc500(between=joined(*groups)))
    assert measured is not None
    assert (measured.size, measured.orders["mx01"]) == (size, order)


def test_ranks_are_told_the_order_that_keeps_them_on_links(tmp_path):
    model = write_model(tmp_path, "llama-70b")
    plan = plan_launch(snapshot(eight_mxc500(between=EVEN_AND_ODD)), model)
    assert plan.parameters.tensor_parallel_size == 4
    assert plan.recipe.env["MACA_VISIBLE_DEVICES"] == plan.recipe.env["CUDA_VISIBLE_DEVICES"] == INTERLEAVED
    assert "joined by links" in plan.sources["MACA_VISIBLE_DEVICES"]
    well, ill = (
        eight_h100("gpu01", between=joined((0, 1, 2, 3), (4, 5, 6, 7))),
        eight_h100("gpu02", between=EVEN_AND_ODD),
    )
    plan = plan_launch(snapshot(well, ill), model)
    assert plan.recipe.env_of_nodes == {
        "gpu02": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": INTERLEAVED}
    }


def test_who_stays_on_links_anyway_or_crosses_anyway_is_told_no_order(tmp_path):
    pairs = joined((0, 1, 4, 5), (2, 3, 6, 7))
    of_two = plan_launch(snapshot(eight_mxc500(between=pairs)), write_model(tmp_path, "llama-70b"), wanted=tp(2))
    assert "MACA_VISIBLE_DEVICES" not in of_two.recipe.env
    of_four = plan_launch(snapshot(eight_mxc500(between=pairs)), write_model(tmp_path, "llama-70b"), wanted=tp(4))
    assert of_four.recipe.env["MACA_VISIBLE_DEVICES"] == "0,1,4,5,2,3,6,7"
    of_eight = plan_launch(snapshot(eight_mxc500(between=pairs)), write_model(tmp_path, "llama-70b"), wanted=tp(8))
    assert "MACA_VISIBLE_DEVICES" not in of_eight.recipe.env


def test_an_order_leaves_out_what_is_excluded(tmp_path):
    cluster = without(snapshot(eight_mxc500(between=EVEN_AND_ODD)), parts("mx01:[0-1,6-7]", "--exclude"))
    plan = plan_launch(cluster, write_model(tmp_path, "qwen3-32b"), wanted=tp(2))
    assert plan.recipe.env["MACA_VISIBLE_DEVICES"] == "2,4,3,5"


def test_where_no_order_can_be_told_the_usual_one_decides():
    others = tuple(msgspec.structs.replace(gpu, vendor="ascend") for gpu in eight_mxc500().gpus)
    measured = islands_of(eight_mxc500(gpus=others, between=EVEN_AND_ODD))
    assert measured is not None
    assert measured.size == 1
    assert measured.why == "on mx01 links join 4, 1 of them neighbours in number: its ranks cannot be told an order"


def test_links_of_which_none_carries_what_it_should_join_nobody():
    """Two GPUs whose only pair delivers wrong data; beside a sound node they are no island either."""
    bad = eight_mxc500("mx02", between=joined(tuple(range(8))), speed=p2p(lambda _: 0.0))
    measured = islands_of(eight_mxc500(between=joined(tuple(range(8)))), bad)
    assert measured is not None
    assert measured.size == 1
    assert measured.why.startswith("on mx02")


def p2p(rate_of: Callable[[set[int]], float | None]) -> Speed:
    """All pairs in both directions, in GB/s; None: killed."""
    rows, lost = [], []
    for a, b in permutations(range(8), 2):
        rate = rate_of({a, b})
        if rate is None:
            lost.append(Lost(topic="p2p", gpus=(a, b), how="killed", why="no end"))
        else:
            rows.append(
                P2p(source=a, target=b, direct=True, size_bytes=10**9, times_s=(1 / (rate or 1),), verified=rate > 0)
            )
    return Speed(level="normal", seconds=1.0, p2p=tuple(rows), lost=tuple(lost))


@pytest.mark.parametrize("found", [0.0, None, 9.0])
def test_a_pair_that_was_measured_bad_is_not_joined_whatever_the_tool_says(found):
    speed = p2p(lambda pair: found if pair == {1, 2} else 50.0)
    measured = islands_of(eight_mxc500(between=joined(tuple(range(8))), speed=speed))
    assert measured is not None
    assert (measured.size, measured.orders["mx01"]) == (4, (0, 1, 3, 4, 2, 5, 6, 7))


def test_measured_pairs_tell_islands_where_no_tool_does():
    interleaved = p2p(lambda pair: 50.0 if sum(pair) % 2 == 0 else 12.0)
    measured = islands_of(eight_mxc500(speed=interleaved))
    assert measured is not None
    assert (measured.size, measured.orders["mx01"]) == (4, (0, 2, 4, 6, 1, 3, 5, 7))
    assert islands_of(eight_mxc500(speed=p2p(lambda _: 12.0))) is None, "alike all of them: nobody is nearer"


def test_a_search_without_end_is_given_up():
    """Each of 40 is joined with all but those of its own third: no group has 4."""
    gpus = tuple(range(40))
    pairs = frozenset(frozenset(pair) for pair in combinations(gpus, 2) if pair[0] % 3 != pair[1] % 3)
    assert order(gpus, pairs, 4) is None


def test_the_node_with_the_smallest_islands_decides_and_is_named():
    well, ill = eight_mxc500("mx01", between=joined((0, 1, 2, 3), (4, 5, 6, 7))), eight_mxc500("mx02")
    worse = eight_mxc500("mx03", between=joined((0, 1), (2, 3), (4, 5), (6, 7)))
    assert size_of(well, ill, worse) == (2, "on mx03 links join 2")


def test_what_was_measured_goes_before_what_the_name_says():
    assert size_of(eight_mxc500())[1] == "MetaX MXC500: MetaXLink joins 4"
    assert size_of(eight_mxc500(between=joined(tuple(range(8))))) == (8, "")
    assert size_of(eight_h100(between=joined((0, 1, 2, 3), (4, 5, 6, 7)))) == (4, "on gpu01 links join 4")


def test_a_node_without_any_link_says_nothing_of_islands():
    assert size_of(eight_mxc500(between=joined()))[1] == "MetaX MXC500: MetaXLink joins 4"


def test_two_nodes_of_eight_metax_are_planned_from_what_their_tool_printed(tmp_path):
    cluster = snapshot(parsed("mx01"), parsed("mx02"), collective=all_reduce(("mx01", "mx02"), 10e9))
    plan = plan_launch(cluster, write_model(tmp_path, "llama-70b"))
    assert plan.verdict in ("FITS", "RISKY")
    assert plan.parameters.tensor_parallel_size == 4
    assert size_of(*cluster.nodes) == (4, "on mx01 links join 4")
    found = accelerators(cluster)
    assert found is not None
    assert len(found.devices) == 16
    assert found.tightest.free_bytes == (65536 - 847) * MIB
    assert found.tightest.total_bytes == 64 * GIB
