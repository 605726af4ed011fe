"""Which links between nodes are cut or closed, and is one of their ends known to have it?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from diag.facts.closed import at_fault, between, told
from diag.facts.collective import Blocked, Collective
from diag.facts.links import ClosedPorts
from diag.facts.record import is_known
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import CONCLUDED, SAID, SEEN, Culprit, Verdict

PORTS = "ports_are_open_between_nodes"


def by_port_matrix(verdicts: Sequence[Verdict], snapshot: Snapshot) -> tuple[list[Verdict], list[Verdict]]:
    """Those of closed ports of which nobody knows whose they are, and all others."""
    failed = {verdict.node for verdict in verdicts if verdict.check == PORTS and verdict.outcome == "failed"}
    unsure = failed - at_fault(snapshot.links) if failed else frozenset[str]()
    between_two: list[Verdict] = []
    others: list[Verdict] = []
    for verdict in verdicts:
        (between_two if verdict.check == PORTS and verdict.node in unsure else others).append(verdict)
    return between_two, others


def of_ports(verdicts: Sequence[Verdict], snapshot: Snapshot) -> Iterable[Culprit]:
    """Ports that are closed between two of which neither is known to have it: the link, not its ends."""
    failed = {verdict.node for verdict in verdicts}
    rows: dict[frozenset[str], list[ClosedPorts]] = defaultdict(list)
    for row in between(snapshot.links) if verdicts else ():
        ends = frozenset((*row.sources, *row.targets))
        rows[ends].extend([row] if ends & failed else [])
    for alike in filter(None, rows.values()):
        nodes = tuple(dict.fromkeys(name for row in alike for name in (*row.sources, *row.targets)))
        yield Culprit(
            kind="link",
            nodes=nodes,
            cause="firewall_blocks_ports",
            summary="; ".join(told(row) for row in alike[:SAID]),
            confidence=CONCLUDED,
            evidence=tuple(f"{PORTS}@{name}" for name in nodes if name in failed),
        )


def of_blocked(snapshot: Snapshot) -> Iterable[Culprit]:
    """Pairs that could not exchange data, by the end that was left out because of it and the cause."""
    if not is_known(snapshot, "collective"):
        return
    left_out = dict(snapshot.collective.excluded)
    cut_off: dict[tuple[str, str], list[Blocked]] = defaultdict(list)
    for pair in snapshot.collective.blocked:
        end = pair.source if pair.source in left_out and pair.target not in left_out else pair.target
        cut_off[end, pair.cause].append(pair)
    for (end, cause), pairs in cut_off.items():
        first = pairs[0]
        yield Culprit(
            kind="link",
            nodes=_cut_ends(end, pairs, snapshot.collective),
            cause=cause,
            summary=f"{first.source} cannot {first.step} with {first.target} at {first.address}: {first.why}",
            confidence=SEEN,
            evidence=tuple(f"link_carries_data@{pair.source}>{pair.target}" for pair in pairs),
        )


def _cut_ends(end: str, pairs: Sequence[Blocked], collective: Collective) -> tuple[str, ...]:
    """``end`` alone, unless its only partner met nobody else either: then it may be that one's as well."""
    partners = {name for pair in pairs for name in (pair.source, pair.target)} - {end}
    proven = len(partners) > 1 or (len(collective.nodes) > 1 and partners <= {*collective.nodes})
    return (end,) if proven else tuple(sorted((end, *partners)))
