"""Which pairs of nodes are to be measured, in which rounds, and which are too many?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diag import localise
from diag.facts.links import Flow
from diag.localise import Pair

SAMPLE_OF, SEED = 4, 7
"""Rounds of mode ``sample``; the same pairs at every run, so that runs can be compared."""

Named = tuple[str, tuple[Pair, ...]]
"""A round, and what it is called."""


def planned(
    mode: str, names: tuple[str, ...], max_pairs: int | None, leaves: Mapping[str, str] | None
) -> tuple[list[Named], tuple[tuple[str, str], ...]]:
    """The rounds of a mode, and what is left out of them with why. ``leaves``: node -> its switch, if known."""
    rounds = {
        "ring": lambda: localise.ring_rounds(names),
        "all": lambda: localise.all_rounds(names, leaves),
        "sample": lambda: localise.sample_rounds(names, SAMPLE_OF * (len(names) // 2), SEED),
    }[mode]()
    every = sum(len(chosen) for chosen in rounds)
    left_out: tuple[tuple[str, str], ...] = ()
    if max_pairs is not None and every > max_pairs:
        rounds, beyond = localise.limited(rounds, max_pairs)
        left_out = ((f"{beyond} of {every} pairs", f"--max-pairs {max_pairs}"),)
    return [(f"{mode} {place}/{len(rounds)}", chosen) for place, chosen in enumerate(rounds, 1)], left_out


def beyond(chosen: Sequence[Pair], flows: Sequence[Flow], max_pairs: int | None) -> list[Pair]:
    """Of ``chosen`` those too many for ``--max-pairs``; a pair that was measured already is no further one."""
    if max_pairs is None:
        return []
    met = {flow.pair for flow in flows}
    further = [pair for pair in chosen if (min(pair), max(pair)) not in met]
    return further[max(0, max_pairs - len(met)) :]


def counted(some: Sequence[Pair]) -> str:
    return "1 pair" if len(some) == 1 else f"{len(some)} pairs"
