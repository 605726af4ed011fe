"""Which pairs of nodes are measured, in which rounds, and when is it enough?

First what others send over the data interfaces and the HCAs, for a second; where that is much, a node or a rail is left
alone. Then the ports, then the rounds: the collective's own ring, or all pairs; then suspects against proven-good ones.
Pauses that rise at a NIC, the budget and lost nodes end it early; what is known by then is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from diag import link_load, localise, pairing
from diag.busy import why_not_on_gpus
from diag.data_interface import Place, choose
from diag.errors import NodeError
from diag.facts.links import Background, Flow, Links, PortMatrix, Round
from diag.facts.network import Interface
from diag.facts.node import Node, leaves_of
from diag.facts.record import UNASKED, Known, NotMeasured
from diag.probes.increases import Reading
from diag.probes.perftest import Trial
from diag.remote import nic_counters, pairs, perftest, perftest_gpus, port_matrix
from diag.remote.pairs import Pair, Spot
from diag.remote.session import Session

BACKGROUND_S = 1.0
KNOCK_S, KNOCK_S_A_NODE = 4.5, 0.02
MOST_CONFIRMED = 2
FROM_GPUS, FROM_GPUS_S = "rail by rail, from GPU to GPU", 5.0
RAIL_BY_RAIL = "rail by rail, those that are confirmed"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """``limit_s``: for all of it. ``max_pairs`` None: as many as the mode has."""

    mode: str
    level: str
    limit_s: float
    max_pairs: int | None = None
    even_if_busy: bool = False


class Sweep:
    """Grows as it goes: an interrupt keeps what was measured."""

    def __init__(self, sessions: Mapping[str, Session], nodes: Sequence[Node], order: Order) -> None:
        """Raises NotMeasured where fewer than two nodes can take part."""
        self.order, self.nodes = order, {node.name: node for node in nodes}
        self.leaves = leaves_of(nodes)
        choice = choose(nodes)
        self.excluded = dict(choice.left_out)
        self.places = {place.node: place for place in choice.places}
        if len(self.places) < 2:  # noqa: PLR2004 - a pair
            reasons = "; ".join(f"{name}: {why}" for name, why in self.excluded.items())
            raise NotMeasured(reasons or "one node: it has no link to another")
        self.sessions = {name: sessions[name] for name in self.places}
        self.background: tuple[Background, ...] = ()
        self.ports: Known[PortMatrix] = UNASKED
        self.flows: list[Flow] = []
        self.on_gpus: tuple[Flow, ...] = ()
        self.rounds: list[Round] = []
        self.left_out: list[tuple[str, str]] = []
        self.lost: dict[str, NodeError] = {}
        self.spared: dict[str, Mapping[str, str]] = {}
        self.counted: Mapping[str, Reading] = {}
        self.stopped, self.until, self.open_rounds = "", time.monotonic() + order.limit_s, 1

    def measure(
        self,
        *,
        on_done: Callable[[str], None] = lambda _: None,
        keep: object = None,  # noqa: ARG002 - there is no output to keep
        lose: Callable[[str, NodeError], None] = lambda _, __: None,
    ) -> Links:
        """``on_done``: of each node that took part to the end; ``lose``: of each that answers no more."""
        self.until = time.monotonic() + self.order.limit_s
        self._look_at_others()
        if len(self.places) > 1:
            self._measure()
        for name in self.places:
            on_done(name)
        for name, error in self.lost.items():
            lose(name, error)
        return self.known()

    def known(self) -> Links:
        return Links(
            mode=self.order.mode,
            nodes=tuple(self.places),
            rounds=tuple(self.rounds),
            flows=tuple(self.flows),
            on_gpus=self.on_gpus,
            background=self.background,
            ports=self.ports,
            excluded=tuple(self.excluded.items()),
            left_out=tuple(self.left_out),
            stopped=self.stopped,
        )

    # -- before

    def _look_at_others(self) -> None:
        """The knocking meanwhile is a few kilobytes."""
        interfaces = {name: place.interface for name, place in self.places.items()}
        rates, failed, lost = nic_counters.rates(self.sessions, interfaces, BACKGROUND_S, self._knock)
        self._lose(lost)
        told: list[Background] = []
        for name in [name for name in rates if name in self.places]:  # some were lost meanwhile
            rows = link_load.others_use(self.nodes[name], self._interface(name), rates[name])
            told += rows
            if not self.order.even_if_busy:
                self._spare(name, rows)
        for name, why in failed.items():
            self._leave_alone(name, f"whether others use {interfaces[name]} is not known: {why}")
        self.background = tuple(told)

    def _spare(self, name: str, rows: Sequence[Background]) -> None:
        node = self.nodes[name]
        if why := link_load.why_alone(node, self.places[name].interface, rows):
            self._leave_alone(name, f"{why}; only its facts were read")
        elif rails := link_load.spared_rails(node, rows):
            self.spared[name] = rails
            self.left_out.append((f"RDMA over {', '.join(rails)} of {name}", "; ".join(rails.values())))

    def _knock(self) -> None:
        seconds = min(KNOCK_S + KNOCK_S_A_NODE * len(self.places), max(2.0, self._left_s() / 2))
        wanted = port_matrix.ports_for(list(self.nodes.values()))
        self.ports, lost = port_matrix.measure(self.sessions, self.places, wanted, seconds)
        self._lose(lost)

    # -- the rounds

    def _measure(self) -> None:
        ports, failed, lost = pairs.free_ports(self.sessions, self.places)
        self._lose(lost)
        for name, why in failed.items():
            self._leave_alone(name, f"it has no port to listen at: {why}")
        spots = {name: self._spot(place, ports[name]) for name, place in self.places.items()}
        names = tuple(self.places)
        planned, left_out = pairing.planned(self.order.mode, names, self.order.max_pairs, self.leaves)
        self.left_out += left_out
        self.counted = self._read()
        self.open_rounds = len(planned) + 1  # with a confirming one
        for number, (why, chosen) in enumerate(planned, 1):
            self._round(number, why, chosen, spots)
        spread = localise.spread_of(names, self.flows, self.leaves)
        repeated = planned * (localise.ring_repeats(spread) - 1) if self.order.mode == "ring" else []
        self.open_rounds += len(repeated)
        for place, (why, chosen) in enumerate(repeated):
            more = f"{why} once more: flows differ by {spread:.0%}"
            self._round(1 + place % len(planned), more, chosen, spots, again=True)
        self._confirm(len(planned) + 1, spots, localise.confirm_repeats(spread))
        self._rail_by_rail()
        self._on_gpus(planned[0][1] if planned else ())

    def _look_at_pauses(self) -> None:
        """After all that loads a link: whether somebody's NIC says that it was too much."""
        again = self._read()
        self.stopped = self.stopped or link_load.felt(self.counted, again)
        self.counted = again

    def _read(self) -> Mapping[str, Reading]:
        return nic_counters.read(self.sessions, dict.fromkeys(self.places))[0]

    def _confirm(self, first: int, spots: Mapping[str, Spot], repeats: int) -> None:
        """Node or link? What is suspicious meets what is proven good; seldom in more than one round."""
        for number in range(first, first + MOST_CONFIRMED):
            chosen = self._permitted(localise.next_round(tuple(self.places), self.flows, groups=self.leaves))
            self.open_rounds = repeats
            for again in range(repeats if chosen else 0):
                if again and localise.settled(tuple(self.places), self.flows, groups=self.leaves):
                    break
                self._round(number, "suspects against proven-good ones", chosen, spots, again=again > 0)
            if not chosen or self.stopped:
                return

    def _rail_by_rail(self) -> None:
        """The rails that the rounds left out, of the confirmed nodes only: is it the node or one of its NICs?"""
        names = tuple(self.places)
        found = localise.suspects(names, self.flows, groups=self.leaves)
        confirmed = [each.nodes[0] for each in found if each.kind in ("node", "nic")]
        pairs = localise.per_rail_round(list(dict.fromkeys(confirmed)), names, self.flows, self.leaves)
        nodes = [self.nodes[name] for pair in pairs for name in pair]
        rails = link_load.rails_of(nodes, "normal") - link_load.rails_of(nodes, self.order.level)
        chosen = self._permitted(pairs) if rails and not self.stopped else ()
        if not chosen:
            return
        began, number = time.monotonic(), 1 + max((row.number for row in self.rounds), default=0)
        self.flows += self._by_rdma(link_load.WRITE, chosen, number, rails, self.until)
        took_s = round(time.monotonic() - began, 3)
        self.rounds.append(Round(number=number, why=RAIL_BY_RAIL, pairs=len(chosen), seconds=took_s))
        self._look_at_pauses()

    def _on_gpus(self, chosen: Sequence[Pair]) -> None:
        """The rails once more, now from GPU to GPU: what GPUDirect loses of what the hosts' memory carries."""
        if self.order.level == "quick":
            return
        there, without = perftest_gpus.able([pair for pair in chosen if not set(pair) - set(self.places)], self.nodes)
        self.left_out += without
        if not there:
            return
        if why := self.stopped or ("" if self._left_s() >= FROM_GPUS_S else "the time for the links was over"):
            self.left_out.append((f"RDMA from GPU to GPU of {pairing.counted(there)}", why))
            return
        began, number = time.monotonic(), 1 + max((row.number for row in self.rounds), default=0)
        rails = link_load.rails_of([self.nodes[name] for pair in there for name in pair], self.order.level)
        used = {name: why for pair in there for name in pair if (why := why_not_on_gpus(self.nodes[name]))}
        wanted = msgspec.structs.replace(self._by_perftest(there, number, rails), ended=used)
        self.on_gpus, left_out = perftest_gpus.measure(
            wanted, link_load.WRITE, self.sessions, self.nodes, self._left_s(), self._lose_one
        )
        self.left_out += left_out
        took_s = round(time.monotonic() - began, 3)
        self.rounds.append(Round(number=number, why=FROM_GPUS, pairs=len(there), seconds=took_s))
        self._look_at_pauses()

    def _permitted(self, chosen: Sequence[Pair]) -> Sequence[Pair]:
        """Within ``--max-pairs``; a pair that was measured already is no further one."""
        too_many = pairing.beyond(chosen, self.flows, self.order.max_pairs)
        if too_many:
            why = f"--max-pairs {self.order.max_pairs}"
            self.left_out.append((f"{pairing.counted(too_many)} of suspects against proven-good ones", why))
        return [pair for pair in chosen if pair not in too_many]

    def _round(
        self, number: int, why: str, chosen: Sequence[Pair], spots: Mapping[str, Spot], *, again: bool = False
    ) -> None:
        """``again``: it repeats the one of that number, over TCP alone."""
        there = [pair for pair in chosen if not set(pair) - set(self.places)]
        seconds = link_load.FLOW_S[self.order.level]
        if self.stopped or not there:
            if there:
                self.left_out.append((f"{pairing.counted(there)} of {why}", self.stopped))
            return
        if self._left_s() < 2 * seconds + 1:
            self.stopped = "the time for the links was over"
            self.left_out.append((f"{pairing.counted(there)} of {why}", self.stopped))
            return
        began = time.monotonic()
        measured = pairs.measure(self.sessions, spots, there, number, seconds, until=self.until)
        self.flows += measured.flows
        met = [pair for pair in there if not again and not set(pair) & set(measured.lost)]
        rails = link_load.rails_of([self.nodes[name] for pair in met for name in pair], self.order.level)
        until = time.monotonic() + self._left_s() / max(1, self.open_rounds)  # many rails leave the others their time
        self.open_rounds -= 1
        for trial in link_load.TRIALS[self.order.level] if rails else ():
            if number == 1 or trial == link_load.WRITE:
                self.flows += self._by_rdma(trial, met, number, rails, until)
        took_s = round(time.monotonic() - began, 3)
        self.rounds.append(Round(number=number, why=why, pairs=len(there), seconds=took_s))
        self._lose(measured.lost)
        self._look_at_pauses()

    def _by_rdma(
        self, trial: Trial, there: Sequence[Pair], number: int, rails: frozenset[str], until: float
    ) -> tuple[Flow, ...]:
        """Rail by rail, of the pairs in which both have one."""
        wanted = self._by_perftest(there, number, rails)
        left_s = max(0.0, until - time.monotonic())
        return perftest.measure(wanted, trial, self.sessions, self.nodes, left_s, self._lose_one)

    def _by_perftest(self, there: Sequence[Pair], number: int, rails: frozenset[str]) -> perftest.Pairs:
        return perftest.Pairs(
            pairs=[pair for pair in there if all(link_load.has_rdma(self.nodes[name]) for name in pair)],
            number=number,
            addresses={name: self.places[name].address for pair in there for name in pair},
            only=rails,
            spared=self.spared,
        )

    def _spot(self, place: Place, port: int) -> Spot:
        interface = self._interface(place.node)
        streams = link_load.streams_for(interface)
        return Spot(place=place, port=port, mtu_bytes=interface.mtu_bytes, streams=streams)

    # -- who takes part

    def _interface(self, name: str) -> Interface:
        wanted = self.places[name].interface
        return next(one for one in self.nodes[name].interfaces if one.name == wanted)

    def _lose(self, lost: Mapping[str, NodeError]) -> None:
        for name, error in lost.items():
            self.lost.setdefault(name, error)
            self._leave_alone(name, error.what)

    def _lose_one(self, name: str, error: NodeError) -> None:
        self._lose({name: error})

    def _leave_alone(self, name: str, why: str) -> None:
        if self.places.pop(name, None) is not None:
            self.excluded[name] = why

    def _left_s(self) -> float:
        return self.until - time.monotonic()
