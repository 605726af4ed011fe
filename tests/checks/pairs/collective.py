"""Changes that make the checks of checks/collective.py fail."""

from __future__ import annotations

from collections.abc import Callable

from diag.facts.collective import Blocked, Collective
from tests.checks.changes import (
    Change,
    having,
    item,
    of_cluster,
)
from tests.checks.healthy import cpu_cluster
from tests.checks.pair import Pair, two


def rank_of(node: str, **fields: object) -> Change:
    """The collective in which the ranks of one node ended so, and so did not finish."""
    lost = item(lambda rank: rank.node == node, having(**fields))
    return of_cluster(collective=having(ranks=lost, finished=False, steps=(), summary="ended at the deadline"))


def blocked(source: str, target: str) -> Blocked:
    why = "connected, but full packets do not come through (ETIMEDOUT)"
    return Blocked(
        source=source, target=target, address="10.0.0.12:4001", step="receive", cause="mtu_mismatch", why=why
    )


def cut_off(name: str) -> Change:
    """A node that exchanges no data with the first one, and so was left out."""
    return of_cluster(
        collective=having(
            nodes=lambda names: tuple(each for each in names if each != name),
            ranks=lambda ranks: tuple(rank for rank in ranks if rank.node != name),
            excluded=((name, f"gpu01 cannot reach {name}"),),
            blocked=(blocked("gpu01", name), blocked(name, "gpu01")),
        )
    )


def step(**fields: object) -> Callable[[Collective], Collective]:
    return having(steps=item(2, having(**fields)))


PAIRS = (
    Pair(
        check="link_carries_data",
        change=cut_off("gpu02"),
        named=("gpu01", "gpu02"),
        found="full packets do not come through",
    ),
    two("every_rank_comes_through", rank_of("gpu02", outcome="rank_died", said="Killed"), "rank 8 died after done"),
    Pair(
        check="gloo_works_beside_nccl",
        change=of_cluster(gloo=having(finished=False, summary="n1: rank 8 died")),
        named=(None,),
        found="rank 8 died",
    ),
    Pair(
        check="collective_finishes",
        change=of_cluster(collective=having(finished=False, summary="ended at 64 MiB")),
        named=(None,),
        found="ended at",
    ),
    Pair(
        check="sums_are_right",
        change=of_cluster(collective=step(verified=False)),
        named=(None,),
        found="wrong sums at 64.0 MiB",
    ),
    Pair(
        check="busbw_is_near_line_rate",
        cluster=cpu_cluster,
        change=of_cluster(collective=step(busbw_bytes_per_s=1.2e7)),
        named=(None,),
        found="busbw 96.0 Mbit/s at 64.0 MiB",
    ),
)
