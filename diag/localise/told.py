"""What is a suspect, and what is said of it: how fast, compared with what, and which flows speak for it?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

import msgspec

from diag.facts.links import Flow
from diag.localise.explain import Part
from diag.localise.observed import failed
from diag.units import gbit_per_s

SHOWN = 4


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """``kind``: ``node``, ``link``, ``direction`` (of a link, from the first node to the second), ``nic``, ``unclear``.

    ``unclear`` blames nobody: it lies among ``nodes``. ``cause``: that of the failed flows, else what is slow; empty
    where that is not clear.
    """

    kind: str
    nodes: tuple[str, ...]
    rail: str | None = None
    way: str = ""
    """``sending`` or ``receiving``: only that side of the node or NIC; empty: both."""
    cause: str = ""
    found_bytes_per_s: float | None
    """None: nothing came through."""
    expected_bytes_per_s: float | None
    referee: str
    """``peers`` or ``line rate``: who says what is expected; ``its own state``: what the node told of itself does."""
    confidence: float
    why: str
    evidence: tuple[str, ...] = ()
    """``source>target`` of the flows that speak for it."""


def unclear(nodes: Iterable[str], flows: Sequence[Flow], expected: float | None, referee: str, why: str) -> Suspect:
    return Suspect(
        kind="unclear",
        nodes=tuple(nodes),
        cause=cause_of(flows),
        found_bytes_per_s=rate_of(flows),
        expected_bytes_per_s=expected,
        referee=referee,
        confidence=0.0,
        why=why,
        evidence=evidence_of(flows),
    )


def why_of(part: Part, flows: Sequence[Flow], sound: float) -> str:
    usual = f"; sound flows carry {gbit_per_s(sound)}" if sound else ""
    against = f"{what(flows)}{usual}"
    if part.kind in ("link", "direction"):
        return f"{directions(flows)} is {against}; both ends are sound with others"
    others = len({flow.pair for flow in flows})
    side = f" {part.way}" if part.way else ""
    end = ": the NIC, its cable or its switch port" if part.kind == "nic" else ""
    if rate_of(flows) is None:
        return f"all of its {others} pairs are cut off{side} and their other ends are not{end}{usual}"
    return f"all of its {others} pairs are slow{side} and their other ends are not: {against}{end}"


def cause_of(flows: Sequence[Flow]) -> str:
    causes = Counter(flow.cause for flow in flows if failed(flow))
    return causes.most_common(1)[0][0] if causes else ""


def rate_of(flows: Sequence[Flow]) -> float | None:
    rates = [flow.bytes_per_s for flow in flows if not failed(flow)]
    return median(rates) if 2 * len(rates) >= len(flows) and rates else None


def what(flows: Sequence[Flow]) -> str:
    rate = rate_of(flows)
    return "cut off" if rate is None else f"at {gbit_per_s(rate)}"


def directions(flows: Sequence[Flow]) -> str:
    """``a > b`` for one direction, ``a - b`` for both; the first few pairs."""
    ways: dict[tuple[str, str], set[str]] = defaultdict(set)
    for flow in flows:
        ways[flow.pair].add(flow.source)
    texts = [f"{one} - {other}" if len(of) > 1 else " > ".join(sorted((one, other), key=lambda n: n not in of))
             for (one, other), of in ways.items()]  # fmt: skip
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return ", ".join(texts[:SHOWN]) + more


def evidence_of(flows: Sequence[Flow]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{flow.source}>{flow.target}" for flow in flows))
