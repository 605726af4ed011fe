"""What did the links between nodes carry, in two or three lines? Also how much of it was not looked at."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from statistics import median

from diag import localise
from diag.facts.links import TCP, Flow, Links, usual
from diag.facts.record import is_known, peek
from diag.facts.snapshot import Snapshot
from diag.units import gbit_per_s, seconds

Way = tuple[str, str, str | None]
"""Source, target, rail."""

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
    rates = _rates(flows)
    trips = [flow.latency_s for flow in flows if is_known(flow, "latency_s")]
    texts = []
    if rates:
        middle = median(rates.values())
        slowest = min(rates, key=lambda way: rates[way])
        source, target, rail = slowest
        by_rail = f" ({rail})" if rail else ""
        texts.append(f"{len(rates)} directions, {gbit_per_s(middle)} (median)")
        if rates[slowest] < NEAR * middle:
            texts.append(f"the slowest {source} > {target}{by_rail} {gbit_per_s(rates[slowest])}")
    if trips:
        texts.append(f"half a round trip {seconds(median(trips))}")
    lost = _lost(flows) if rates or not trips else {}  # a test of latency has no rates
    texts += [f"{count} carried nothing: {why}" for why, count in list(lost.items())[:SHOWN]]
    return "; ".join(texts) or "nothing was measured"


def _rates(flows: list[Flow]) -> dict[Way, float]:
    """Each direction that carries something once, with the median of its repeats."""
    return {way: flow.bytes_per_s for way, flow in _usual(flows).items() if is_known(flow, "bytes_per_s")}


def _usual(flows: list[Flow]) -> dict[Way, Flow]:
    repeats: dict[Way, list[Flow]] = defaultdict(list)
    for flow in flows:
        repeats[flow.source, flow.target, flow.rail].append(flow)
    return {way: usual(each) for way, each in repeats.items()}


def _lost(flows: list[Flow]) -> dict[str, int]:
    """Why -> how many directions."""
    lost = [flow for flow in _usual(flows).values() if not is_known(flow, "bytes_per_s")]
    return dict(Counter(peek(flow, "bytes_per_s").why for flow in lost).most_common())


def _ports(links: Links) -> Iterable[str]:
    if is_known(links, "ports"):
        closed = sum(len(row.sources) * len(row.targets) * len(row.ports) for row in links.ports.closed)
        tried = f"{links.ports.tried:,} connections to {len(links.ports.ports)} ports"
        yield f"{tried}: {f'{closed:,} failed' if closed else 'all open'}"
