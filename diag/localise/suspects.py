"""Who is slow or cut off: a node, one side of it, one of its rails, a link, one direction of one? Or can nobody tell?

Nobody is named whom the measurements do not single out: where another explanation comes near, or where no majority is
sound and no line rate is known, the answer is ``unclear`` with those among whom it lies. Of a NIC, its cable and its
switch port no timing knows which it is: all three carry the same flows. Their counters may.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from statistics import median

import msgspec

from diag.facts.links import Flow
from diag.localise.explain import Fit, Pairs, Part
from diag.localise.observed import REACHES, Seen, Sight, failed, layers, look, recentred
from diag.localise.schedule import ring_pairs
from diag.localise.shared import of_own_state, tiered
from diag.localise.told import Suspect, cause_of, directions, evidence_of, rate_of, unclear, what, why_of

CLEAR = 3.0
"""So many nats must the next explanation be worse: 19 of 20. Simulated (bench/localise.py), a higher bar leaves more
open and spares nobody: who is believed at all is settled before."""
GAPING, SPREAD = 0.25, 0.15
"""A pair this far below sound, at such a spread, calls for an answer, were it that nobody can tell."""
PASSES = 3
"""What is sound is found again without the culprits, so often."""
PAIR = 2


def suspects(
    nodes: Sequence[str],
    flows: Sequence[Flow],
    *,
    expected_bytes_per_s: float | None = None,
    groups: Mapping[str, str] | None = None,
) -> tuple[Suspect, ...]:
    """All of them, surest first. ``expected_bytes_per_s``: what a sound flow should carry, already without overhead.

    ``groups``: node -> leaf or rail group; flows within one and across are then not compared with each other.
    A flow that failed needs its ``cause``; without one it counts as not tried.
    """
    divided = tuple(groups.items()) if groups is not None else None
    return _suspects(tuple(nodes), tuple(flows), expected_bytes_per_s, divided)


@lru_cache(maxsize=2)
def _suspects(
    nodes: tuple[str, ...], flows: tuple[Flow, ...], expected: float | None, divided: tuple[tuple[str, str], ...] | None
) -> tuple[Suspect, ...]:
    """Asked by the checks and for the culprits: of a thousand nodes with eight rails it takes a second."""
    groups = dict(divided) if divided is not None else None
    among = set(nodes)
    own = [flow for flow in flows if flow.at in among and failed(flow)]
    known = [flow for flow in flows if {flow.source, flow.target} <= among and flow.source != flow.target]
    known = [flow for flow in known if not (flow.at and failed(flow))]
    found = list[Suspect]()
    for layer in layers(known):
        if all(map(failed, layer)):
            why = "nothing came through anywhere: it is what they share, or each of them"
            found.append(unclear(nodes, layer, expected, "peers", why))
        elif len(among) <= PAIR:
            found += _of_two(nodes, layer, expected)
        else:
            one = _of_layer(nodes, look(layer, expected, groups), expected)
            found += one if groups else tiered(one)
    found = [*of_own_state(own, known), *_by_rail(found)]
    return tuple(sorted(found, key=lambda each: (each.kind == "unclear", -each.confidence, each.nodes)))


def _of_two(nodes: Sequence[str], flows: Sequence[Flow], expected: float | None) -> list[Suspect]:
    """Two have no peers: only the line rate can say that they are slow, and nobody which of them."""
    bad = [flow for flow in flows if failed(flow) or (expected and flow.bytes_per_s < REACHES * expected)]
    if not bad:
        return []
    why = f"only two nodes: {directions(bad)} is {what(bad)}, the fault is in either or between them"
    return [unclear(nodes, bad, expected, "line rate", why)]


def _of_layer(nodes: Sequence[str], sight: Sight, expected: float | None) -> list[Suspect]:
    fit, sight = _fitted(sight, ring_pairs(nodes))
    named, vague = _named(fit)
    flows = {part: fit.explained(part) for part in fit.levels}
    if sight.referee == "peers" and _outnumbered(nodes, fit):
        slow = [each.flow for part in fit.levels for each in flows[part]]
        why = "as many are slow as are not: without a line rate nobody knows who is sound"
        found = [unclear(_ends(fit.levels), slow, None, "peers", why)]
    else:
        found = [
            _suspect(part, _of_part(part, flows), sight, confidence) for part, confidence in _joined(named).items()
        ]
        found += [_between(group, fit, sight) for group in _together(vague)]
    gaping = [] if fit.levels else _gaping(fit)
    if gaping and not sight.all_slow:
        why = "rates differ so much that no majority of the nodes is sound: nobody can be told apart"
        ends = sorted({node for flow in gaping for node in flow.pair})
        found.append(unclear(ends, gaping, expected, sight.referee, why))
    if sight.all_slow:
        why = "all are slow alike: it is what they share (a switch, a setting), or each of them"
        found.append(unclear(nodes, [each.flow for each in sight.seen], expected, "line rate", why))
    return found


def _gaping(fit: Fit) -> list[Flow]:
    links = [part for part in fit.covers if part.kind == "link" and fit.mean(part) > GAPING and fit.noise > SPREAD]
    return list(dict.fromkeys(fit.seen[flow].flow for part in links for flow in fit.covers[part]))


def _fitted(sight: Sight, ring: Pairs) -> tuple[Fit, Sight]:
    fit = None
    for _ in range(PASSES):
        fit = Fit(sight.seen, ring, fit)
        fit.grow()
        fit.settle(list(fit.levels))
        last, sight = sight, recentred(sight, fit.uncovered())
    assert fit is not None
    return fit, last


def _named(fit: Fit) -> tuple[dict[Part, float], list[set[Part]]]:
    """Culprits with confidence, and groups of parts among which it lies."""
    named, vague = dict[Part, float](), list[set[Part]]()
    for part in list(fit.levels):
        margin, instead = fit.rival(part)
        margin += 0 if instead else CLEAR
        if margin >= CLEAR and not _only_once(part, fit):
            named[part] = 1 / (1 + math.exp(-min(margin, 50)))
        else:
            vague.append({part, *instead})
    return named, vague


def _only_once(part: Part, fit: Fit) -> bool:
    """One flow that was slow, and no other to say that it was no moment's stall."""
    flows = fit.covers[part]
    return len(flows) == 1 and not fit.seen[flows[0]].failed


def _outnumbered(nodes: Sequence[str], fit: Fit) -> bool:
    """Whether no majority of the nodes (on each rail) or of the pairs is left that is sound."""
    rails = {part.rail for part in fit.levels}
    pairs = {each.flow.pair for each in fit.seen}
    slow = {frozenset(part.nodes) for part in fit.levels if part.kind in ("link", "direction")}
    for rail in rails:
        parts = [part for part in fit.levels if part.rail in (None, rail) and len(part.nodes) == 1]
        if 2 * len(_ends(parts)) >= len(nodes):
            return True
    met = {node for pair in pairs for node in pair}
    sound = {node for each in fit.uncovered() for node in each.flow.pair}
    return 2 * len(slow) > len(pairs) or bool(fit.levels and 2 * len(sound) <= len(met))


def _joined(named: Mapping[Part, float]) -> dict[Part, float]:
    """Both sides of a node are the node, both directions of a link the link; parts of what is whole go with it."""
    joined = dict(named)
    for part, confidence in named.items():
        whole = _whole(part)
        if whole != part and (whole in joined or _other_way(part) in named):
            joined[whole] = max(confidence, joined.get(whole, 0.0))
            joined.pop(part, None)
    return joined


def _whole(part: Part) -> Part:
    if part.kind == "direction":
        return Part("link", (min(part.nodes), max(part.nodes)), part.rail)
    return part._replace(way="")


def _other_way(part: Part) -> Part:
    if part.kind == "direction":
        return part._replace(nodes=part.nodes[::-1])
    return part._replace(way="receiving" if part.way == "sending" else "sending")


def _of_part(part: Part, flows: Mapping[Part, list[Seen]]) -> list[Seen]:
    """Those of the part, or of what was joined to it."""
    return [each for other, seen in flows.items() if part in (other, _whole(other)) for each in seen]


def _suspect(part: Part, seen: Sequence[Seen], sight: Sight, confidence: float) -> Suspect:
    sound = median(sight.sound_bytes_per_s[each.stratum] for each in seen)
    flows = [each.flow for each in seen]
    slow = "link_direction_slow" if part.kind == "direction" else "link_slow" if part.kind == "link" else "node_slow"
    return Suspect(
        kind=part.kind,
        nodes=part.nodes,
        rail=part.rail,
        way=part.way,
        cause=cause_of(flows) or slow,
        found_bytes_per_s=rate_of(flows),
        expected_bytes_per_s=sound,
        referee=sight.referee,
        confidence=round(confidence, 4),
        why=why_of(part, flows, sound),
        evidence=evidence_of(flows),
    )


def _between(group: set[Part], fit: Fit, sight: Sight) -> Suspect:
    flows = list(
        dict.fromkeys(fit.seen[flow].flow for part in group if part in fit.levels for flow in fit.covers[part])
    )
    rails = {part.rail for part in group}
    why = f"{directions(flows)} is {what(flows)}; which of these it is, their flows do not tell"
    sound = median(sight.sound_bytes_per_s.values())
    found = unclear(_ends(group), flows, sound, sight.referee, why)
    return msgspec.structs.replace(found, rail=next(iter(rails)) if len(rails) == 1 else None)


def _together(groups: Iterable[set[Part]]) -> list[set[Part]]:
    """Groups that share a node become one."""
    joined = list[set[Part]]()
    for group in groups:
        nodes = set(_ends(group))
        touching = [other for other in joined if nodes.intersection(_ends(other))]
        joined = [other for other in joined if other not in touching] + [group.union(*touching)]
    return joined


def _by_rail(found: Sequence[Suspect]) -> list[Suspect]:
    """A node that is slow over all its rails together, and of which single rails are known to be, is these."""
    whole = {each.nodes[0] for each in found if each.kind == "node"}
    rails = [_of_node(each, whole) if each.kind in ("nic", "unclear") and each.rail else each for each in found]
    by_rail = {each.nodes[0] for each in rails if each.kind == "nic"}
    return [each for each in rails if each.kind != "node" or each.rail or each.nodes[0] not in by_rail]


def _of_node(suspect: Suspect, whole: set[str]) -> Suspect:
    """One rail between two, of whom one alone is slow as a whole, is that one's."""
    guilty = whole.intersection(suspect.nodes)
    if suspect.kind != "unclear" or len(guilty) != 1:
        return suspect
    why = f"{suspect.why}; over all rails {next(iter(guilty))} is the slow one"
    return msgspec.structs.replace(
        suspect, kind="nic", nodes=tuple(guilty), cause=suspect.cause or "node_slow", why=why, confidence=0.95
    )


def _ends(parts: Iterable[Part]) -> tuple[str, ...]:
    return tuple(sorted({node for part in parts for node in part.nodes}))
