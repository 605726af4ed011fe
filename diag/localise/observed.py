"""How far is each flow below what a sound one carries? What cannot be compared is kept apart.

A deficit is the natural logarithm of sound over measured: 0.1 is 10 % slow, halves and tenths add up. Sound is what the
better half of the nodes reach through their best pair: where each slow node spoils its neighbours' pairs, half of all
*flows* may be slow while most *nodes* are not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median, median_high, median_low, pstdev, stdev

import msgspec

from diag.facts.links import Flow
from diag.facts.record import is_known

LEAST = 0.02
"""Nothing, and what failed, counts as this share of a sound flow."""
REACHES = 0.8
"""A flow below this share of what is expected of the line is slow."""
FEW = 8
"""Fewer flows of a rail or tier are compared with those of all."""
UNSTEADY = 0.25
"""The least weight of a flow whose parts differ much more than those of others."""
WINDOWS = 4
DISAGREE = 3.0
"""Repeats of a direction that differ so many times more than is usual here count less: one of them was a stall."""

Key = tuple[str, str, str]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One flow as evidence."""

    flow: Flow
    deficit: float
    weight: float = 1.0
    failed: bool = False
    stratum: Key = ("", "", "")
    """Those that should be alike: method, rail and tier."""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """Flows that can be compared. ``sound_bytes_per_s``: of each stratum. ``referee``: who says what sound is."""

    seen: tuple[Seen, ...]
    sound_bytes_per_s: Mapping[Key, float]
    referee: str = "peers"
    all_slow: bool = False
    """Even the sound ones are slow for the line."""


def failed(flow: Flow) -> bool:
    """It was tried and nothing came through. Without a cause it was not tried: that is no evidence."""
    return not is_known(flow, "bytes_per_s") and bool(flow.cause)


def layers(flows: Sequence[Flow]) -> list[list[Flow]]:
    """What is never compared with each other: other methods, and a rail with what several rails carry together."""
    found: dict[tuple[str, bool], list[Flow]] = defaultdict(list)
    for flow in dict.fromkeys(flows):
        if failed(flow) or is_known(flow, "bytes_per_s"):
            found[flow.method, flow.rail is not None].append(flow)
    return list(found.values())


def look(flows: Sequence[Flow], expected_bytes_per_s: float | None, groups: Mapping[str, str] | None = None) -> Sight:
    """Of one layer. Empty where every flow failed and nothing is expected: then only ``failed`` counts."""
    strata = _strata(flows, groups or {})
    rates = {flow: flow.bytes_per_s for flow in flows if not failed(flow)}
    sound, referee, all_slow = {}, "peers", False
    for key in set(strata.values()):
        members = [flow for flow in flows if strata[flow] == key]
        sound[key], judged, slow = _sound(members, rates, expected_bytes_per_s)
        referee = judged if judged != "peers" else referee
        all_slow |= slow
    steadiness = _steadiness(rates)
    seen = tuple(
        Seen(
            flow=flow,
            deficit=_deficit(rates.get(flow, 0.0), sound[strata[flow]]),
            weight=steadiness(flow),
            failed=flow not in rates,
            stratum=strata[flow],
        )
        for flow in flows
    )
    return Sight(seen=seen, sound_bytes_per_s=sound, referee=referee, all_slow=all_slow)


def _deficit(rate: float, sound: float) -> float:
    return -math.log(max(rate / sound, LEAST)) if sound > 0 else -math.log(LEAST)


def _strata(flows: Sequence[Flow], groups: Mapping[str, str]) -> dict[Flow, Key]:
    """Rails and tiers (within a group, across groups) apart, where each has enough flows to be company."""

    def key(flow: Flow) -> Key:
        ends = groups.get(flow.source), groups.get(flow.target)
        tier = "" if None in ends else "within" if ends[0] == ends[1] else "across"
        return flow.method, flow.rail or "", tier

    def joined(keys: Mapping[Flow, Key], shorten: Callable[[Key], Key]) -> dict[Flow, Key]:
        nodes: dict[Key, set[str]] = defaultdict(set)
        count: dict[Key, int] = defaultdict(int)
        for flow, name in keys.items():
            nodes[name] |= {flow.source, flow.target}
            count[name] += 1
        few = {name for name in count if count[name] < FEW or len(nodes[name]) < FEW // 2}
        return {flow: shorten(name) if name in few else name for flow, name in keys.items()}

    by_rail = joined({flow: key(flow) for flow in flows}, lambda name: (name[0], "", name[2]))
    return joined(by_rail, lambda name: (name[0], "", ""))


def _sound(flows: Sequence[Flow], rates: Mapping[Flow, float], expected: float | None) -> tuple[float, str, bool]:
    """What sound flows carry, who says so, and whether that is slow for the line."""
    best = _best_of_ports(flows, rates)
    peers = math.exp(median_high(best.values())) if any(flow in rates for flow in flows) else 0.0
    if expected is None:
        return peers, "peers", False
    if peers >= REACHES * expected:
        return peers, "line rate", False
    reaching = [rates[flow] for flow in flows if rates.get(flow, 0.0) >= REACHES * expected]
    if reaching:
        return median(reaching), "line rate", False
    return peers or expected, "peers" if peers else "line rate", True


def _best_of_ports(flows: Sequence[Flow], rates: Mapping[Flow, float]) -> dict[tuple[str, str | None], float]:
    """Port (node and rail) -> logarithm of what it carries with its best partner."""
    top = max(rates.values(), default=0.0)
    pairs: dict[tuple[str, str, str | None], list[float]] = defaultdict(list)
    for flow in flows:
        one, other = flow.pair
        pairs[one, other, flow.rail].append(math.log(max(rates.get(flow, 0.0), LEAST**2 * top, 1e-9)))
    best: dict[tuple[str, str | None], float] = {}
    for (one, other, rail), logs in pairs.items():
        for port in ((one, rail), (other, rail)):
            best[port] = max(best.get(port, -math.inf), fmean(logs))
    return best


def _steadiness(rates: Mapping[Flow, float]) -> Callable[[Flow], float]:
    """How much a flow counts: less where its parts, or its direction's repeats, differ much more than is usual here."""
    errors = {flow: _error(flow.windows_bytes_per_s) for flow in rates}
    usual = _usual(errors.values())
    spreads = _spreads(rates)
    steady = max(median_low(spreads.values()), 0.01) if spreads else 0.0  # a few: one of two may be the stall

    def weight(flow: Flow) -> float:
        error, spread = errors.get(flow), spreads.get(_direction(flow))
        by_parts = max(UNSTEADY, min(1.0, (2 * usual / error) ** 2)) if error else 1.0
        return by_parts * (min(1.0, (DISAGREE * steady / spread) ** 2) if spread else 1.0)

    return weight


def _usual(errors: Iterable[float | None]) -> float:
    known = [error for error in errors if error is not None]
    return max(median(known), 0.01) if known else 0.0


def _direction(flow: Flow) -> tuple[str, str, str, str | None]:
    return flow.method, flow.source, flow.target, flow.rail


def _spreads(rates: Mapping[Flow, float]) -> dict[tuple[str, str, str, str | None], float]:
    """Standard deviation of the logarithms of each direction that was measured more than once."""
    logs: dict[tuple[str, str, str, str | None], list[float]] = defaultdict(list)
    for flow, rate in rates.items():
        logs[_direction(flow)].append(math.log(max(rate, 1e-9)))
    return {key: stdev(values) for key, values in logs.items() if len(values) > 1}


def _error(windows: Sequence[float]) -> float | None:
    """Standard error of the mean, as a share; None: not known."""
    if len(windows) < WINDOWS or fmean(windows) <= 0:
        return None
    return pstdev(windows) / fmean(windows) / math.sqrt(len(windows))


def recentred(sight: Sight, uncovered: Iterable[Seen]) -> Sight:
    """With the median of ``uncovered`` (those that no culprit slows) as what is sound."""
    deficits: dict[Key, list[float]] = defaultdict(list)
    for each in uncovered:
        if not each.failed:
            deficits[each.stratum].append(each.deficit)
    shift = {key: median(values) for key, values in deficits.items()}
    seen = tuple(
        each if each.failed else msgspec.structs.replace(each, deficit=each.deficit - shift.get(each.stratum, 0.0))
        for each in sight.seen
    )
    sound = {key: rate * math.exp(-shift.get(key, 0.0)) for key, rate in sight.sound_bytes_per_s.items()}
    return msgspec.structs.replace(sight, seen=seen, sound_bytes_per_s=sound)
