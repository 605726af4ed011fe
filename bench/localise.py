"""Does localisation name the right node, link or NIC, and nobody else, in how much time? `python bench/localise.py`

Simulated: rate(i -> j) = min(node i, node j, link ij) with normal noise of 5 or 10 %, once of each of a flow's windows
and once of whole flows, others taking 2 % at each node, on 16 to 1,024 nodes of fat trees (leaves of 16 that share half
as much between them; with their leaves named, and once more as they are by default) and of eight rails. Time is counted
in measurements, each as long as any other: a round of disjoint pairs takes one, one that is repeated as many as it is
repeated. The all-pairs sweep and bisection by the
collective (halves of the ring at once, down to a pair) run on the same faults and are given the same number of repeats;
the sweep of one flow a pair, which finds less, beside it. What they find is counted in the same way; bisection can name
neither a direction nor a side nor two at once. On real
hosts: bench/localise_lab.py.
"""

from __future__ import annotations

import collections
import json
import math
import multiprocessing
import random
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from _localise_peers import bisected, swept

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from diag.localise import Suspect  # noqa: E402 - diag is found from the project's root
from tests.localise.simulated import Fault, Network, localised, named, names  # noqa: E402 - as above

SHARES = (0.1, 0.5, 0.8, 0.9)
WINDOWS = 8
NOISES = {
    f"{share:.0%} a {of}": share / math.sqrt(parts)
    for of, parts in (("window", WINDOWS), ("flow", 1))
    for share in (0.05, 0.1)
}
"""How far flows differ. A flow is the mean of its windows, so noise of each of them leaves the flow less."""
SINGLES = ("node", "node one way", "link", "direction")
DOUBLES = ("two nodes", "two neighbours", "node and link")
PLACES = {16: 3, 32: 2, 64: 2, 128: 1}
"""Nodes -> placements of each kind, share and noise."""
LARGE = {256: ("node", "link"), 1024: ("node",)}
RAILS = tuple(f"mlx5_{number}" for number in range(8))
RAIL_NODES, RAIL_PLACES = (16, 64), 3
HEALTHY = {16: 60, 64: 20, 128: 4}
LEAF, ACROSS, BACKGROUND = 16, 0.5, 0.02
SWEPT = {16: 3, 32: 1, 64: 1}
"""Nodes -> placements of each kind, share and noise on which the sweep and bisection run too."""
PEERS = ("sweep once", "sweep", "bisection")


Named = tuple[str, tuple[str, ...], str | None, str]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One placement and what was said of it."""

    kind: str
    count: int
    share: float
    noise: float
    wanted: frozenset[tuple[str, tuple[str, ...], str | None, str]]
    found: tuple[Suspect, ...]
    rounds: int
    seconds: float
    repeats: int
    """Of each pair of the ring."""
    tree: bool
    told: bool
    """Whether it is a fat tree, and whether its leaves are known."""
    peers: Mapping[str, tuple[int, int, float]]
    """Right ones, wrong ones and seconds of each that ran on the same faults."""

    @property
    def right(self) -> int:
        return len(self.wanted & named(self.found))

    @property
    def blamed(self) -> int:
        """Healthy nodes that were called slow, alone or by their NIC."""
        guilty = {node for one in self.wanted for node in one[1]}
        return len({one[1][0] for one in named(self.found) if len(one[1]) == 1 and one[1][0] not in guilty})

    @property
    def wrong(self) -> int:
        return len(named(self.found) - self.wanted)

    @property
    def exact(self) -> bool:
        """Every NIC or rail that is at fault was named as that."""
        return self.wanted <= named(self.found)


def faults(kind: str, nodes: Sequence[str], share: float, dice: random.Random) -> list[Fault]:
    """On the ring, where the collective feels them."""
    place = dice.randrange(len(nodes))
    one, two, three = (nodes[(place + step) % len(nodes)] for step in range(3))
    other = dice.choice([node for node in nodes if node != one])
    link = Fault(kind="link", nodes=(min(two, three), max(two, three)), share=share)
    node = Fault(kind="node", nodes=(one,), share=share)
    return {
        "healthy": [],
        "node": [node],
        "node one way": [msgspec.structs.replace(node, way=dice.choice(["sending", "receiving"]))],
        "link": [link],
        "direction": [Fault(kind="direction", nodes=dice.choice([(one, two), (two, one)]), share=share)],
        "two nodes": [node, msgspec.structs.replace(node, nodes=(other,))],
        "two neighbours": [node, msgspec.structs.replace(node, nodes=(two,))],
        "node and link": [node, link],
        "rail": [Fault(kind="nic", nodes=(one,), share=share, rail=dice.choice(RAILS))],
    }[kind]


def is_tree(kind: str, count: int, place: int) -> bool:
    return place % 2 == 0 and count > 2 * LEAF and kind != "rail"


def run(kind: str, count: int, share: float, noise: float, place: int, told: bool = True) -> Run:  # noqa: PLR0917
    nodes, seed = names(count), f"{kind} {count} {share} {noise} {place}"
    placed = faults(kind, nodes, share, random.Random(seed))
    tree = is_tree(kind, count, place)
    network = Network(
        nodes=nodes,
        faults=placed,
        rails=RAILS if kind == "rail" else (None,),
        noise=noise,
        background=BACKGROUND,
        groups={node: str(number // LEAF) for number, node in enumerate(nodes)} if tree else None,
        across=ACROSS,
        told=told,
        seed=hash_of(seed),
    )
    found, flows = localised(network)
    first = collections.Counter((flow.source, flow.target, flow.rail) for flow in flows if flow.round == 1)
    repeats = max(first.values())
    wanted = frozenset((one.kind, one.nodes, one.rail, one.way) for one in placed)
    compared = kind in (*SINGLES, *DOUBLES) and place < SWEPT.get(count, 0) and not tree
    return Run(kind=kind, count=count, share=share, noise=noise, wanted=wanted, found=found, rounds=network.rounds,
               seconds=network.seconds, repeats=repeats,
               tree=tree, told=told, peers=peers(network, wanted, repeats) if compared else {})  # fmt: skip


def peers(network: Network, wanted: frozenset[Named], repeats: int) -> dict[str, tuple[int, int, float]]:
    """``sweep once``: one flow a pair, as the time bars are meant; the others as often as the ring was repeated."""
    found = {}
    ways = (lambda anew: swept(anew, 1), lambda anew: swept(anew, repeats), lambda anew: bisected(anew, repeats))
    for name, way in zip(PEERS, ways, strict=True):
        anew = msgspec.structs.replace(network, rounds=0)
        said = way(anew)
        found[name] = (len(said & wanted), len(said - wanted), anew.seconds)
    return found


def hash_of(text: str) -> int:
    """The same in every process."""
    return random.Random(text).randrange(2**32)


def orders() -> Iterator[tuple[str, int, float, float, int]]:
    for noise in NOISES.values():
        for share in SHARES:
            for count, places in PLACES.items():
                for kind in (*SINGLES, *DOUBLES):
                    yield from ((kind, count, share, noise, place) for place in range(places))
            for count, kinds in LARGE.items():
                yield from ((kind, count, share, noise, 0) for kind in kinds)
        for share in (0.0, *SHARES):
            for count in RAIL_NODES:
                yield from (("rail", count, share, noise, place) for place in range(RAIL_PLACES))
        for count, places in HEALTHY.items():
            yield from (("healthy", count, 1.0, noise, place) for place in range(places))


def untold() -> Iterator[tuple[str, int, float, float, int, bool]]:
    """The fat trees once more, as they are measured where no inventory names a leaf; the largest are left out."""
    for kind, count, share, noise, place in orders():
        if count in PLACES and is_tree(kind, count, place):
            yield kind, count, share, noise, place, False


def say(name: str, value: float, unit: str, against: str, count: int, *, bar: float | None = None) -> None:
    ratio = round(value / bar, 3) if bar else None
    print(json.dumps({
        "name": name, "value": round(value, 4), "unit": unit, "ratio": ratio, "against": against, "runs": count,
        "spread": None,
    }), flush=True)  # fmt: skip


def recall(name: str, of: Sequence[Run], bar: float) -> None:
    wanted = sum(len(one.wanted) for one in of)
    if wanted:
        say(name, sum(one.right for one in of) / wanted, "share", f"bar {bar}", len(of), bar=bar)


def report(done: Sequence[Run]) -> None:
    """First everything together, then where the noise of a flow leaves it open and where not."""
    blamed, nodes = sum(one.blamed for one in done), sum(one.count for one in done)
    say("localise_healthy_nodes_blamed", 1000 * blamed / nodes, "per 1000 node-runs", "bar 1", len(done), bar=1.0)
    said = sum(len(named(one.found)) for one in done)
    say("localise_precision", 1 - sum(one.wrong for one in done) / said, "share", "of all that was named", len(done))
    groups = (("single", SINGLES, 0.99), ("double", DOUBLES, 0.95), ("rail", ("rail",), 0.95))
    for name, kinds, bar in groups:
        of = [one for one in done if one.kind in kinds]
        for what in ("window", "flow"):
            alike = [noise for said, noise in NOISES.items() if what in said]
            recall(f"localise_recall_{name}, noise a {what}", [one for one in of if one.noise in alike], bar)
        for said, noise in NOISES.items():
            for shares in ((0.0, 0.1, 0.5), (0.8,), (0.9,)):
                cell = [one for one in of if one.noise == noise and one.share in shares]
                recall(f"localise_recall_{name}, rate {max(shares)}, noise {said}", cell, bar)
    for count in (*PLACES, *LARGE):
        times(count, [one for one in done if one.count == count and one.wanted and one.kind != "rail"])
    for what in ("window", "flow"):
        alike = {noise for said, noise in NOISES.items() if what in said}
        compared(what, [one for one in done if one.peers and one.noise in alike and one.kind in SINGLES])


def trees(done: Sequence[Run]) -> None:
    """Leaves that share half as much between them: what is named where they are known, and by default."""
    for told in (True, False):
        of = [one for one in done if one.tree and one.told is told and one.count in PLACES]
        known = "leaves known" if told else "leaves not known"
        blamed, nodes = sum(one.blamed for one in of), sum(one.count for one in of)
        say(f"tree_healthy_nodes_blamed, {known}", 1000 * blamed / nodes, "per 1000 node-runs", "bar 1", len(of), bar=1)
        wrong = sum(one.wrong for one in of) / len(of)
        say(f"tree_wrongly_named, {known}", wrong, "a run", "nodes, links and directions", len(of))
        recall(f"tree_recall_single, {known}", [one for one in of if one.kind in SINGLES], 0.99)


def times(count: int, of: Sequence[Run]) -> None:
    """Against a sweep of one flow a pair, and against one that measures each pair as often as the ring was."""
    bar = {16: 1 / 3, 64: 1 / 10}.get(count)
    name = f"localise_time_{count}_nodes_of"
    say(f"localise_rounds_{count}_nodes", max(one.rounds for one in of), "rounds", "bar 3", len(of), bar=3.0)
    share = statistics.fmean(one.seconds / one.repeats for one in of) / (count - 1)
    say(f"{name}_sweep_as_long", share, "share", f"sweep {count - 1} rounds, repeated alike", len(of), bar=bar)
    share = statistics.fmean(one.seconds for one in of) / (count - 1)
    say(f"{name}_sweep_once", share, "share", f"sweep {count - 1} rounds", len(of), bar=bar)


def compared(what: str, of: Sequence[Run]) -> None:
    """Of single faults, those on which the others ran."""
    rows = {name: [one.peers[name] for one in of] for name in PEERS}
    rows["localise"] = [(one.right, one.wrong, one.seconds) for one in of]
    for name, figures in rows.items():
        right, wrong, spent = (sum(row[place] for row in figures) for place in range(3))
        against = f"single faults, noise a {what}, {wrong} wrong, {spent / len(of):.1f} measurements each"
        say(f"compared_recall_{name}", right / len(of), "share", against, len(of))


def main() -> None:
    with multiprocessing.Pool() as workers:
        done = workers.starmap(run, orders(), chunksize=4)
        report(done)
        trees([*done, *workers.starmap(run, untold(), chunksize=4)])


if __name__ == "__main__":
    main()
