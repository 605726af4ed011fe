"""What is no part's own rate: what a node's own state made fail, and what many links share.

A state that was read or said on the node needs no rate to tell it, and many links that are slow alike
single out none of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import msgspec

from diag.facts.links import Flow
from diag.facts.record import peek
from diag.facts.verdict import READ
from diag.localise.told import Suspect, evidence_of, unclear
from diag.units import gbit_per_s

TIER, ALIKE = 4, 0.25
"""So many links whose rates differ no more than this are no accident of so many cables."""
OF_PORTS = frozenset({"rdma_bad_hca_selected"})
"""Causes of one port, not of all that its node does by RDMA."""
OWN_STATE = "its own state"


def of_own_state(flows: Sequence[Flow], others: Sequence[Flow]) -> list[Suspect]:
    """Whose own state made flows fail: that was read or said on the node, and no rate has to tell it."""
    alike: dict[tuple[str, str, str | None], list[Flow]] = defaultdict(list)
    for flow in flows:
        alike[flow.at, flow.cause, flow.rail].append(flow)
    found = []
    for (node, cause, rail), of_one in alike.items():
        ends = {end for flow in (*flows, *others) if flow.rail == rail for end in flow.pair}
        down = {at for at, same, where in alike if (same, where) == (cause, rail)}
        why = peek(of_one[0], of_one[0].figure).why
        if cause in OF_PORTS and len(down) > 1 and 2 * len(down) >= len(ends):
            why = f"{why}, as on {len(down)} of {len(ends)} nodes: nobody knows who should use it"
            found.append(unclear([node], of_one, None, OWN_STATE, why))
        else:
            kind = "nic" if cause in OF_PORTS and rail is not None else "node"
            found.append(_by_itself(kind, node, of_one, why))
    return found


def _by_itself(kind: str, node: str, flows: Sequence[Flow], why: str) -> Suspect:
    return Suspect(
        kind=kind,
        nodes=(node,),
        rail=flows[0].rail,
        cause=flows[0].cause,
        found_bytes_per_s=None,
        expected_bytes_per_s=None,
        referee=OWN_STATE,
        confidence=READ,
        why=why,
        evidence=evidence_of(flows),
    )


def tiered(found: Sequence[Suspect]) -> list[Suspect]:
    """Where no leaf is known: many links that are slow alike are rather a way that they share than each of them."""
    links = [each for each in found if each.kind in ("link", "direction") and each.found_bytes_per_s]
    middle = median([each.found_bytes_per_s or 0.0 for each in links]) if links else 0.0
    alike = [each for each in links if abs((each.found_bytes_per_s or 0.0) - middle) <= ALIKE * middle]
    if len(alike) < TIER:
        return list(found)
    why = (
        f"{len(alike)} links between nodes that are sound with others carry {gbit_per_s(middle)} alike: "
        "what they share (the way between leaves; leaf= in the inventory tells it), or each of them"
    )
    shared = msgspec.structs.replace(
        alike[0],
        kind="unclear",
        nodes=tuple(sorted({node for each in alike for node in each.nodes})),
        cause="",
        found_bytes_per_s=middle,
        expected_bytes_per_s=None,
        confidence=0.0,
        why=why,
        evidence=tuple(way for each in alike for way in each.evidence),
    )
    return [*(each for each in found if each not in alike), shared]
