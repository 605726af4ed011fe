"""What is a node called, and to what do names resolve on which nodes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from diag.facts.network import Hostname, Resolution
from diag.facts.record import Missing, NotMeasured
from diag.probes.probe import Answers, Probe, always, gap, told
from diag.probes.verbs import Answer, Ask, Request

RESOLVED = "names"
DEADLINE_S = 8.0
RESOLVE_S = 6.0
"""A dead first name server costs five (resolv.conf(5)), then the second answers."""
NO_ANSWER = Missing(f"no name server answered within {RESOLVE_S:g} s")
Resolved = tuple[str, ...] | Missing


class _Hostname(msgspec.Struct, frozen=True):
    name: str
    addresses: tuple[str, ...] | None
    why: str = ""


def read(answers: Answers) -> Hostname:
    own = told(answers, "hostname", _Hostname)
    return Hostname(name=own.name, addresses=gap(own.why) if own.addresses is None else own.addresses)


def names_request(names: Sequence[str]) -> Request:
    """What each of ``names`` resolves to on the node."""
    asked = {"names": list(names), "seconds": RESOLVE_S}
    return Request(name=RESOLVED, verb=Ask("hosts:resolve", asked), deadline_s=DEADLINE_S)


def fold(answers: Mapping[str, Sequence[Answer]]) -> tuple[Resolution, ...]:
    """Node -> its answers, folded to who resolves what to which addresses, and who could not ask."""
    told_by, silent = _sorted_out(answers)
    if not told_by:
        nobody: tuple[Resolution, ...] = gap(
            next((f"{node}: {why}" for node, why in silent.items()), "no node was asked")
        )
        return nobody
    rows: dict[tuple[str, Resolved], list[str]] = {}
    for node, resolved in told_by.items():
        for name, addresses in resolved.items():
            rows.setdefault((name, NO_ANSWER if addresses is None else addresses), []).append(node)
    names = dict.fromkeys(name for resolved in told_by.values() for name in resolved)
    for node, why in silent.items():
        for name in names:
            rows.setdefault((name, Missing(why)), []).append(node)
    return tuple(_row(name, to, tuple(nodes)) for (name, to), nodes in sorted(rows.items(), key=_order))


def _sorted_out(
    answers: Mapping[str, Sequence[Answer]],
) -> tuple[dict[str, dict[str, tuple[str, ...] | None]], dict[str, str]]:
    """Node -> name -> addresses, and node -> why it told nothing."""
    told_by, silent = {}, {}
    for node, given in answers.items():
        try:
            named = {answer.name: answer for answer in given}
            told_by[node] = told(named, RESOLVED, dict[str, tuple[str, ...] | None])
        except NotMeasured as why:
            silent[node] = str(why)
    return told_by, silent


def _row(name: str, to: Resolved, nodes: tuple[str, ...]) -> Resolution:
    return Resolution(name=name, addresses=gap(to.why) if isinstance(to, Missing) else to, nodes=nodes)


def _order(row: tuple[tuple[str, Resolved], list[str]]) -> tuple[str, bool, tuple[str, ...]]:
    """By name, then by addresses; what is not known last."""
    (name, to), _ = row
    return (name, True, (to.why,)) if isinstance(to, Missing) else (name, False, to)


PROBE = Probe(
    topic="hostname",
    requests=always(Request(name="hostname", verb=Ask("hosts:hostname"), deadline_s=DEADLINE_S)),
    read=read,
)
