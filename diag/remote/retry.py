"""Without whom is an all-reduce run once more? Those at fault, as the first one named them; pure."""

from __future__ import annotations

from collections.abc import Sequence

from diag.facts.collective import Collective, Rank
from diag.units import size

TOGETHER = 2
"""Nodes that a collective over nodes needs; one alone crosses no link."""


def at_fault(collective: Collective) -> dict[str, str]:
    """Node -> why: its rank did not come through by itself, or its sums alone were wrong. Empty: nobody is named."""
    found: dict[str, list[Rank]] = {}
    for rank in collective.guilty:
        found.setdefault(rank.node, []).append(rank)
    return {node: _ended(ranks) for node, ranks in found.items()} or _wrong(collective)


def _ended(ranks: Sequence[Rank]) -> str:
    how = ranks[0].outcome.removeprefix("rank_").replace("_", " ")
    return f"at fault before: {'rank' if len(ranks) == 1 else 'ranks'} {', '.join(str(r.rank) for r in ranks)} {how}"


def _wrong(collective: Collective) -> dict[str, str]:
    """A sum that is wrong on few nodes only was spoilt there, or on the last way to them."""
    wrong: dict[str, set[int]] = {}
    for rank in collective.ranks:
        if rank.wrong_bytes:
            wrong.setdefault(rank.node, set()).update(rank.wrong_bytes)
    if len(wrong) * 2 >= len(collective.nodes):
        return {}
    return {node: f"its sums were wrong at {', '.join(map(size, sorted(sizes)))}" for node, sizes in wrong.items()}


def why_not(collective: Collective) -> str | None:
    """Why there is nothing to repeat; None: there was no need. Asked where nobody is at fault."""
    if collective.stopped:
        return f"not repeated: {collective.stopped}"
    if any(rank.wrong_bytes for rank in collective.ranks):
        return "sums were wrong on too many nodes to leave out any"
    return None if collective.finished or not collective.nodes else f"nobody to leave out: {collective.summary}"
