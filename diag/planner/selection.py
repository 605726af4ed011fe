"""Which nodes is a plan for: all of them, or all but those that would spoil it?

A node that is busy, has fewer GPUs or slower links than the others is left out only where the plan is better for it:
where it fits and did not, where the others alone hold more, or where as many replicas no longer go over slow links.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diag.planner.case import Case
from diag.planner.network.rates import SLOW
from diag.planner.search import Found, search
from diag.planner.unknown import NotKnown

MUCH_MORE = 1.1
"""Times the tokens that make it worth to leave nodes idle."""


def chosen(cases: Iterable[Case], quicker: Iterable[Case] = ()) -> tuple[Case, Found]:
    """The first stands for all nodes; ``quicker``: without slow links. Raises NotKnown where of none anything is."""
    whole, *fewer = cases
    best = whole, search(whole)
    for found in _searched(fewer):
        if _better(found, best):
            best = found
    for found in _searched(quicker):
        if _faster(found, best):
            best = found
    return best


def _searched(cases: Iterable[Case]) -> Iterator[tuple[Case, Found]]:
    for case in cases:
        try:
            yield case, search(case)
        except NotKnown:
            continue


def _better(one: tuple[Case, Found], than: tuple[Case, Found]) -> bool:
    (rank, length, tokens), (old_rank, old_length, old_tokens) = _worth(one), _worth(than)
    return (rank, length) > (old_rank, old_length) or (
        (rank, length) == (old_rank, old_length) and tokens > MUCH_MORE * old_tokens
    )


def _faster(one: tuple[Case, Found], than: tuple[Case, Found]) -> bool:
    """As many replicas that fit as well, over links that carry far more."""
    if not one[1].trials or not than[1].trials or _worth(one)[:2] < _worth(than)[:2]:
        return False
    best, old = one[1].trials[0], than[1].trials[0]
    carried = than[0].domains.way(old.deployment)[1]
    if old.deployment.nodes == 1 or best.replicas < old.replicas or carried is None:
        return False
    carries = one[0].domains.way(best.deployment)[1]
    return best.deployment.nodes == 1 or (carries is not None and carried < SLOW * carries)


def _worth(searched: tuple[Case, Found]) -> tuple[int, int, int]:
    found = searched[1]
    if not found.trials:
        return (-1, 0, 0)
    best = found.trials[0]
    return best.rank, best.way.max_model_len, best.tokens * best.replicas
