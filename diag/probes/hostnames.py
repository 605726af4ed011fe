"""What is a node called, and to what do names resolve on which nodes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from diag.facts.network import Hostname, Resolution
from diag.facts.record import NotMeasured
from diag.probes.probe import Answers, Probe, always, gap, told
from diag.probes.verbs import Answer, Ask, Request

RESOLVED = "names"
DEADLINE_S = 8.0
RESOLVE_S = 6.0
"""A dead first name server costs five (resolv.conf(5)), then the second answers."""


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
    """Node -> its answers, folded to who resolves what to which addresses; a silent node stands in no row."""
    rows: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    why = "no node was asked"
    for node, given in answers.items():
        try:
            resolved = told({answer.name: answer for answer in given}, RESOLVED, dict[str, tuple[str, ...] | None])
        except NotMeasured as reason:
            why = f"{node}: {reason}"
            continue
        for name, addresses in resolved.items():
            if addresses is not None:
                rows.setdefault((name, addresses), []).append(node)
    if not rows:
        nobody: tuple[Resolution, ...] = gap(why)
        return nobody
    return tuple(Resolution(name=name, addresses=to, nodes=tuple(nodes)) for (name, to), nodes in sorted(rows.items()))


PROBE = Probe(
    topic="hostname",
    requests=always(Request(name="hostname", verb=Ask("hosts:hostname"), deadline_s=DEADLINE_S)),
    read=read,
)
