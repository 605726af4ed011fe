"""Which nodes is a plan for: all of them, or all but those that would spoil it?

A node that is busy or has fewer GPUs than the others is left out only where the plan is better for it: where it fits
and did not, or where the others alone hold more.
"""

from __future__ import annotations

from collections.abc import Iterable

from diag.planner.case import Case
from diag.planner.search import Found, search
from diag.planner.trial import RANK
from diag.planner.unknown import NotKnown

MUCH_MORE = 1.1
"""Times the tokens that make it worth to leave nodes idle."""


def chosen(cases: Iterable[Case]) -> tuple[Case, Found]:
    """The first stands for all nodes. Raises NotKnown where of none anything is known."""
    whole, *fewer = cases
    best = whole, search(whole)
    for case in fewer:
        try:
            found = case, search(case)
        except NotKnown:
            continue
        if _better(found, best):
            best = found
    return best


def _better(one: tuple[Case, Found], than: tuple[Case, Found]) -> bool:
    (rank, length, tokens), (old_rank, old_length, old_tokens) = _worth(one), _worth(than)
    return (rank, length) > (old_rank, old_length) or (
        (rank, length) == (old_rank, old_length) and tokens > MUCH_MORE * old_tokens
    )


def _worth(searched: tuple[Case, Found]) -> tuple[int, int, int]:
    found = searched[1]
    if not found.trials:
        return (-1, 0, 0)
    best = found.trials[0]
    return RANK[best.verdict], best.way.max_model_len, best.tokens * best.replicas
