"""Is what others published asked only of GPUs that are joined as those were on which it was measured?"""

from __future__ import annotations

import pytest

from diag.facts.device import Between
from diag.facts.node import Node
from diag.facts.rates import published
from diag.facts.record import NotMeasured, unknown
from diag.facts.speed import NodeCollectives
from tests.checks.changes import having
from tests.checks.machines import gpu_node


def joined(name: str, ranks: int, links: int) -> tuple[Node, NodeCollectives]:
    """The last ``ranks`` GPUs of a node of eight, with so many links between each two; the others have none."""
    gpus = tuple(range(8 - ranks, 8))
    rows = tuple(
        Between(a=f"gpu:{a}", b=f"gpu:{b}", path="link", links=links if a >= gpus[0] else 0)
        for b in range(8)
        for a in range(b)
    )
    node = having(gpus=lambda old: tuple(having(name=name)(gpu) for gpu in old), between=rows)(gpu_node(1))
    return node, NodeCollectives(backend="nccl", world_size=ranks, gpus=gpus)


@pytest.mark.parametrize(("name", "ranks", "links"), [("NVIDIA H200", 4, 18), ("NVIDIA H100 NVL", 2, 12)])
def test_of_part_of_a_board_as_much_is_asked_only_where_as_many_links_join_it(name, ranks, links):
    assert published(*joined(name, ranks, links), nvls=False) is not None
    assert published(*joined(name, ranks, links // 3), nvls=False) is None
    node, together = joined(name, ranks, links)
    with pytest.raises(NotMeasured, match="how many links"):
        published(having(between=())(node), together, nvls=False)


def test_of_a_whole_board_of_eight_no_links_are_counted():
    node, together = joined("NVIDIA H200", 8, 18)
    assert published(having(between=unknown("not asked"))(node), together, nvls=False) is not None
