"""What did the links between nodes carry, in two or three lines? Also how much of it was not looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

from diag import localise
from diag.facts.links import TCP, Flow, Links
from diag.facts.record import is_known, peek
from diag.facts.snapshot import Snapshot
from diag.units import gbit_per_s, seconds

NEAR = 0.9
"""A direction that carries less than this share of the median is named."""
SHOWN = 2


def link_texts(snapshot: Snapshot) -> Iterable[str]:
    links = peek(snapshot, "links")
    if not isinstance(links, Links):
        return
    of_method: dict[str, list[Flow]] = defaultdict(list)
    for flow in links.flows:
        of_method[flow.method].append(flow)
    for method, flows in of_method.items():
        yield f"{_name(method)}: {_carried(flows)}"
    unmeasured = localise.unmeasured(links.nodes, links.flows)
    if unmeasured and links.flows:
        every = len(links.nodes) * (len(links.nodes) - 1) // 2
        yield f"{unmeasured} of {every} pairs of nodes were not measured: --pairs all measures them"
    yield from _ports(links)
    for what, why in links.left_out:
        yield f"not measured: {what}: {why}"


def _name(method: str) -> str:
    return "links over TCP" if method == TCP else f"links by {method}"


def _carried(flows: list[Flow]) -> str:
    """``32 directions, 0.19 Gbit/s; the slowest n003 > n004 57.3 Mbit/s; half a round trip 24 µs``"""
    rates = {flow: flow.bytes_per_s for flow in flows if is_known(flow, "bytes_per_s")}
    trips = [flow.latency_s for flow in flows if is_known(flow, "latency_s")]
    texts = []
    if rates:
        middle = median(rates.values())
        slowest = min(rates, key=lambda flow: rates[flow])
        rail = f" ({slowest.rail})" if slowest.rail else ""
        texts.append(f"{len(rates)} directions, {gbit_per_s(middle)} (median)")
        if rates[slowest] < NEAR * middle:
            texts.append(f"the slowest {slowest.source} > {slowest.target}{rail} {gbit_per_s(rates[slowest])}")
    if trips:
        texts.append(f"half a round trip {seconds(median(trips))}")
    lost = _lost(flows) if rates or not trips else {}  # a test of latency has no rates
    texts += [f"{count} carried nothing: {why}" for why, count in list(lost.items())[:SHOWN]]
    return "; ".join(texts) or "nothing was measured"


def _lost(flows: list[Flow]) -> dict[str, int]:
    """Why -> how many directions."""
    reasons: dict[str, int] = defaultdict(int)
    for flow in flows:
        if not is_known(flow, "bytes_per_s"):
            reasons[peek(flow, "bytes_per_s").why] += 1
    return dict(sorted(reasons.items(), key=lambda row: -row[1]))


def _ports(links: Links) -> Iterable[str]:
    if is_known(links, "ports"):
        closed = sum(len(row.sources) * len(row.targets) * len(row.ports) for row in links.ports.closed)
        tried = f"{links.ports.tried:,} connections to {len(links.ports.ports)} ports"
        yield f"{tried}: {f'{closed:,} failed' if closed else 'all open'}"
