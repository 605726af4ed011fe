"""Does localisation name the right node or link of sixteen real hosts, how soon? `python bench/localise_lab.py` (root)

Twenty placements on one standing lab at 200 Mbit/s (two cores carry no more), a healthy run after every fourth; by the
agents' own TCP. Against the all-pairs sweep of the same hosts with the same fault, run for every fifth placement.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from diag import localise, sweeping  # noqa: E402 - found from the project's root
from diag.facts.links import Links  # noqa: E402 - as above
from diag.facts.node import Node  # noqa: E402 - as above
from diag.remote.session import Session  # noqa: E402 - as above
from tests.lab.cluster import Lab  # noqa: E402 - as above
from tests.remote.jobs import facts, lab_sessions  # noqa: E402 - as above

HOSTS, RATE_MBIT, PLACEMENTS, SEED = 16, 200, 20, 11
HEALTHY_AFTER, SWEEP_AFTER = 4, 5
SHARES = (0.1, 0.5, 0.8, 0.9)
KINDS = ("node", "link", "direction", "two nodes")
TIME_BAR, RECALL_BAR = 1 / 3, 0.99

Named = frozenset[tuple[str, tuple[str, ...]]]


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    share: float
    hosts: tuple[int, ...]

    def plant(self, lab: Lab) -> None:
        rate = f"{RATE_MBIT * self.share:g}mbit"
        if self.kind in ("node", "two nodes"):
            for number in self.hosts:
                lab.hosts[number].set_rate(rate)
            return
        one, other = (lab.hosts[number] for number in self.hosts)
        one.slow_towards(other, rate)
        if self.kind == "link":
            other.slow_towards(one, rate)

    def wanted(self, lab: Lab) -> Named:
        names = tuple(lab.hosts[number].name for number in self.hosts)
        if self.kind in ("node", "two nodes"):
            return frozenset(("node", (name,)) for name in names)
        return frozenset({(self.kind, names if self.kind == "direction" else tuple(sorted(names)))})


def placements() -> Iterator[Placement]:
    """Links are the ring's: another is the full sweep's to find."""
    chosen = random.Random(SEED)
    for number in range(PLACEMENTS):
        kind, share = KINDS[number % len(KINDS)], SHARES[number // len(KINDS) % len(SHARES)]
        first = chosen.randrange(HOSTS)
        other = (first + (1 if kind != "two nodes" else chosen.randrange(2, HOSTS - 1))) % HOSTS
        yield Placement(kind=kind, share=share, hosts=(first,) if kind == "node" else (first, other))


def measured(sessions: dict[str, Session], nodes: list[Node], mode: str) -> tuple[Links, float]:
    """And the seconds of its rounds."""
    order = sweeping.Order(mode=mode, level="quick", limit_s=120)
    links = sweeping.Sweep(sessions, nodes, order).measure()
    return links, sum(row.seconds for row in links.rounds)


def named(links: Links) -> Named:
    found = localise.suspects(links.nodes, links.flows)
    return frozenset((each.kind, each.nodes) for each in found if each.kind != "unclear")


@dataclass
class Tally:
    right: int = 0
    wanted: int = 0
    wrong: int = 0
    healthy: int = 0
    seconds: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    of_sweep: list[float] = field(default_factory=list)

    def take(self, placement: Placement, links: Links, took_s: float, expected: Named) -> None:
        found = named(links)
        self.right += len(found & expected)
        self.wanted += len(expected)
        self.wrong += len(found - expected)
        self.seconds.append(took_s)
        self.rounds.append(len(links.rounds))
        if found != expected:
            print(f"{placement}: named {sorted(found)}", file=sys.stderr)

    def say(self) -> bool:
        """A line of JSON each; are all bars met?"""
        of_sweep = statistics.median(self.of_sweep)
        placed, rested = f"{PLACEMENTS} placements", f"{self.healthy} healthy runs"
        figures = (
            ("recall", self.right / self.wanted, "share", RECALL_BAR, f"{self.wanted} culprits in {placed}"),
            ("wrongly_named", self.wrong, "culprits", 0, f"{placed}, {rested}"),
            ("seconds", statistics.median(self.seconds), "s", None, f"at most {max(self.rounds)} rounds"),
            ("time_of_the_sweep", of_sweep, "ratio", TIME_BAR, "the all-pairs sweep"),
        )
        spread = [round(min(self.seconds), 1), round(max(self.seconds), 1)]
        for name, value, unit, bar, against in figures:
            row = {"name": f"localise_{name}_16_hosts", "value": round(value, 3), "unit": unit, "ratio": bar}
            print(json.dumps({**row, "against": against, "runs": PLACEMENTS, "spread": spread}))
        return self.right >= RECALL_BAR * self.wanted and self.wrong == 0 and of_sweep <= TIME_BAR


def run(lab: Lab, sessions: dict[str, Session], tally: Tally) -> None:
    nodes = facts(sessions)
    for number, placement in enumerate(placements()):
        placement.plant(lab)
        links, took_s = measured(sessions, nodes, "ring")
        tally.take(placement, links, took_s, placement.wanted(lab))
        if number % SWEEP_AFTER == 0:
            tally.of_sweep.append(took_s / measured(sessions, nodes, "all")[1])
        lab.heal()
        if number % HEALTHY_AFTER == 0:
            tally.healthy += 1
            tally.wrong += len(named(measured(sessions, nodes, "ring")[0]))


def main() -> None:
    began, tally = time.monotonic(), Tally()
    lab = Lab.up(HOSTS, rate=f"{RATE_MBIT}mbit")
    try:
        with lab_sessions(lab) as sessions:
            run(lab, sessions, tally)
    finally:
        lab.down()
    met = tally.say()
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    sys.exit(not met)


if __name__ == "__main__":
    main()
