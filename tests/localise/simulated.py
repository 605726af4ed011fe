"""A network whose faults are known: rate(i -> j) = min(node i, node j, link ij), with noise and others' load."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import msgspec

from diag.facts.links import Flow
from diag.facts.record import unknown
from diag.localise import (
    Pair,
    Suspect,
    confirm_repeats,
    next_round,
    ring_repeats,
    ring_rounds,
    settled,
    spread_of,
    suspects,
)

LINE_BYTES_PER_S = 12.5e9
ALL = (None,)


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """As a Suspect names it. ``share`` of a sound rate is what is left; 0: nothing comes through."""

    kind: str
    nodes: tuple[str, ...]
    share: float
    rail: str | None = None
    way: str = ""

    def slows(self, source: str, target: str, rail: str | None) -> bool:
        if self.rail is not None and rail != self.rail:
            return False
        if self.kind == "direction":
            return self.nodes == (source, target)
        if self.kind == "link":
            return set(self.nodes) == {source, target}
        ends = {"sending": (source,), "receiving": (target,), "": (source, target)}[self.way]
        return self.nodes[0] in ends


class Network(msgspec.Struct, kw_only=True):
    """``noise``: standard deviation of a flow, as a share. ``background``: the share that others take at a node."""

    nodes: Sequence[str]
    faults: Sequence[Fault] = ()
    rails: Sequence[str | None] = ALL
    noise: float = 0.0
    background: float = 0.0
    groups: Mapping[str, str] | None = None
    across: float = 1.0
    """What a flow between groups gets of one within: the oversubscription of a fat tree."""
    told: bool = True
    """Whether those who localise know the groups, as where an inventory names each host's leaf."""
    seed: int = 0
    rounds: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.seconds = 0.0

    def measured(self, pairs: Sequence[Pair], repeats: int = 1) -> list[Flow]:
        """One round: both directions of disjoint pairs, each so often; it lasts as long as one pair's."""
        self.rounds += 1
        return self.longer(pairs, repeats)

    def longer(self, pairs: Sequence[Pair], repeats: int) -> list[Flow]:
        """The same round goes on."""
        self.seconds += repeats
        dice = random.Random(f"{self.seed} {self.seconds}")
        return [
            self._flow(source, target, rail, dice)
            for one, other in pairs
            for source, target in ((one, other), (other, one))
            for rail in self.rails
            for _ in range(repeats)
        ]

    def _flow(self, source: str, target: str, rail: str | None, dice: random.Random) -> Flow:
        share = min([fault.share for fault in self.faults if fault.slows(source, target, rail)], default=1.0)
        if share == 0:
            return Flow(source=source, target=target, rail=rail, round=self.rounds, cause="firewall_blocks_ports",
                        bytes_per_s=unknown("connect: timed out"))  # fmt: skip
        if self.groups and self.groups[source] != self.groups[target]:
            share *= self.across
        taken = max(self._load(source), self._load(target))
        rate = LINE_BYTES_PER_S * share * (1 - taken) * math.exp(dice.gauss(0, self.noise))
        return Flow(source=source, target=target, rail=rail, round=self.rounds, bytes_per_s=rate)

    def _load(self, node: str) -> float:
        """Of others at this node, the whole time."""
        return 2 * self.background * random.Random(f"{self.seed} {node}").random()


def names(count: int) -> list[str]:
    return [f"n{number:04}" for number in range(count)]


def localised(network: Network, expected_bytes_per_s: float | None = None) -> tuple[tuple[Suspect, ...], list[Flow]]:
    """As a run does it: the ring, its rounds as long as the spread of the first flows asks; then what is open."""
    nodes, flows = network.nodes, list[Flow]()
    groups = network.groups if network.told else None
    for pairs in ring_rounds(nodes):
        flows += network.measured(pairs)
        if (more := ring_repeats(spread_of(nodes, flows, groups)) - 1) > 0:
            flows += network.longer(pairs, more)
    pairs = next_round(nodes, flows, expected_bytes_per_s=expected_bytes_per_s, groups=groups)
    if pairs:
        repeats = confirm_repeats(spread_of(nodes, flows, groups))
        flows += network.measured(pairs)
        while repeats > 1 and not settled(nodes, flows, expected_bytes_per_s=expected_bytes_per_s, groups=groups):
            flows += network.longer(pairs, 1)
            repeats -= 1
    return suspects(nodes, flows, expected_bytes_per_s=expected_bytes_per_s, groups=groups), flows


def named(found: Sequence[Suspect]) -> set[tuple[str, tuple[str, ...], str | None, str]]:
    """Kind, nodes, rail and side of those who are blamed."""
    return {(each.kind, each.nodes, each.rail, each.way) for each in found if each.kind != "unclear"}
