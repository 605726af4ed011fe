"""What does each rail between pairs of nodes carry by RDMA? perftest on both, one direction at a time.

Rails of different cards are measured side by side, as a collective uses them: one after the other, eight rails take
longer than a run has. One that is slow beside the others is measured once more alone, since cards may share a link to
their host's memory; what it then carries is what it can.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

import msgspec

from diag.errors import NodeError
from diag.facts.device import Gpu
from diag.facts.link_rates import expected
from diag.facts.links import Flow
from diag.facts.node import Node
from diag.facts.rails import ETHERNET, Rail, gid_index, rails
from diag.facts.record import NotMeasured, is_known, unknown
from diag.probes.perftest import NothingCame, Result, Side, Trial, result
from diag.probes.perftest_failures import Failure, failure, nothing_came
from diag.remote import fanout
from diag.remote.perftest_places import Place, gpu_near, waves, why_not_on_gpu
from diag.remote.perftest_run import RUN_S, Party, run
from diag.remote.session import Session

NOT_INSTALLED = "perftest is not installed on {node} (package perftest)"
ONLY_IPV4 = "not applicable: perftest on {node} finds its other end over IPv4 only; the data addresses are IPv6"
NO_TIME = "no time was left for it"
END_S = 1.0
"""What a pair needs to tell what its last runs were: those are ended before."""
PATIENT_S = 4
"""Of a second try, where nothing came through in the first."""
AT_ONCE = 1024
"""Runs, of all pairs together: each keeps three threads here."""


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """What one round measures. ``pairs`` are disjoint; ``number``: of the round.

    ``addresses``: node -> where the others reach it, for the TCP by which both ends find each other.
    ``only``: rails by name; None: all. ``spared``: node -> rail -> why nothing of ours passes it.
    ``on_gpu``: the memory of the GPU nearest to each HCA instead of the host's.
    ``ended``: node -> why nothing more is to be run there; it may grow meanwhile.
    """

    pairs: Sequence[tuple[str, str]]
    number: int
    addresses: Mapping[str, str]
    only: Collection[str] | None = None
    spared: Mapping[str, Mapping[str, str]] = msgspec.field(default_factory=dict)
    on_gpu: bool = False
    ended: Mapping[str, str] = msgspec.field(default_factory=dict)


def measure(  # noqa: PLR0917 - what to measure, with whom, for how long
    wanted: Pairs,
    test: Trial,
    sessions: Mapping[str, Session],
    nodes: Mapping[str, Node],
    deadline_s: float,
    lose: Callable[[str, NodeError], None] = lambda _node, _error: None,
) -> tuple[Flow, ...]:
    """A flow for each rail and direction (a latency: one direction) of each pair; none for pairs without RDMA.

    ``lose`` is told of nodes that stopped answering. Both ends of every run are ended when this returns.
    """
    deadline_s = max(0.0, deadline_s)
    until = time.monotonic() + deadline_s
    runs = {pair: _Runs(wanted, test, sessions, until) for pair in wanted.pairs}
    work = {f"{one} {other}": partial(_of_pair, runs[one, other], (nodes[one], nodes[other])) for one, other in runs}
    outcomes = fanout.each(work, width=max(1, len(work)), deadline_s=deadline_s + RUN_S + END_S)
    flows: list[Flow] = []
    for (pair, of_pair), outcome in zip(runs.items(), outcomes.values(), strict=True):
        flows += of_pair.found
        if isinstance(outcome, NodeError):
            flows.append(of_pair.missing(pair, None, Failure(why=f"{outcome.where}: {outcome.what}")))
        for name, error in dict(of_pair.lost).items():
            lose(name, error)
    return tuple(flows)


def _of_pair(runs: _Runs, pair: tuple[Node, Node]) -> None:
    for flow in _flows(runs, pair):
        runs.found.append(flow)


def _flows(runs: _Runs, pair: tuple[Node, Node]) -> Iterator[Flow]:
    wanted, names = runs.wanted, (pair[0].name, pair[1].name)
    try:
        found = rails(*pair)
    except NotMeasured as why:
        yield runs.missing(names, None, Failure(why=str(why)))
        return
    free: list[Rail] = []
    for rail in found:
        if wanted.only is not None and rail.name not in wanted.only:
            continue
        obstacle = _obstacle(wanted, pair, rail)
        if obstacle is None:
            free.append(rail)
            continue
        for way in (names,) if runs.test.of_latency else (names, names[::-1]):
            yield runs.missing(way, rail.name, obstacle)
    at_once = max(1, AT_ONCE // max(1, len(wanted.pairs)))
    for wave in waves(free, pair, wanted.number, at_once, on_gpu=wanted.on_gpu):
        for turned in (False,) if runs.test.of_latency else (False, True):
            yield from _side_by_side(runs, wave, pair, turned=turned)


class _Runs(msgspec.Struct, frozen=True):
    """What all runs of a pair have in common. ``found`` and ``lost`` (nodes that stopped answering) grow meanwhile."""

    wanted: Pairs
    test: Trial
    sessions: Mapping[str, Session]
    until: float
    found: list[Flow] = msgspec.field(default_factory=list)
    lost: dict[str, NodeError] = msgspec.field(default_factory=dict)

    def at_once(self, places: Mapping[str, tuple[Place, Place]]) -> dict[str, Flow]:
        """Rail -> its flow; one that fails, or is late, costs no other its own."""
        work = {rail: partial(self.of, rail, ends) for rail, ends in places.items()}
        left_s = max(0.0, self.until - time.monotonic())
        outcomes = fanout.each(work, width=len(work), deadline_s=left_s + RUN_S)
        return {
            rail: self.missing(_names(places[rail]), rail, Failure(why=f"{flow.where}: {flow.what}"))
            if isinstance(flow, NodeError)
            else flow
            for rail, flow in outcomes.items()
        }

    def of(self, rail: str, places: tuple[Place, Place]) -> Flow:
        ends = _names(places)
        gone = {name: error.what for name, error in dict(self.lost).items()}
        why = _why(self.wanted.ended, ends) or _why(gone, ends) or (NO_TIME if time.monotonic() >= self.until else "")
        if why:
            return self.missing(ends, rail, Failure(why=why))
        try:
            flow = _flow(self, rail, places)
        except NodeError as error:
            if error.where in self.sessions:
                self.lost[error.where] = error
            return self.missing(ends, rail, Failure(why=f"{error.where}: {error.what}"))
        why = _why(self.wanted.ended, ends)  # who came meanwhile had a part of it
        return self.missing(ends, rail, Failure(why=why)) if why else flow

    def missing(self, ends: tuple[str, str], rail: str | None, why: Failure) -> Flow:
        gap = {"latency_s" if self.test.of_latency else "bytes_per_s": unknown(why.why)}
        return Flow(
            source=ends[0],
            target=ends[1],
            round=self.wanted.number,
            method=self.test.tool,
            rail=rail,
            cause=why.cause,
            at=why.at,
            **gap,
        )


def _why(whys: Mapping[str, str], ends: tuple[str, str]) -> str:
    return next((f"{name}: {whys[name]}" for name in ends if name in whys), "")


def _names(places: tuple[Place, Place]) -> tuple[str, str]:
    return places[0].node.name, places[1].node.name


def _side_by_side(runs: _Runs, wave: Sequence[Rail], pair: tuple[Node, Node], *, turned: bool) -> Iterator[Flow]:
    places = {rail.name: (Place(pair[0], rail.one), Place(pair[1], rail.other)) for rail in wave}
    if turned:
        places = {name: ends[::-1] for name, ends in places.items()}
    flows = runs.at_once(places)
    for rail in wave:
        flow, name = flows[rail.name], rail.name
        alone = len(wave) > 1 and _is_slow(flow, rail, on_gpu=runs.wanted.on_gpu) and time.monotonic() < runs.until
        again = runs.at_once({name: places[name]})[name] if alone else flow
        yield again if is_known(again, "bytes_per_s") else flow


def _is_slow(flow: Flow, rail: Rail, *, on_gpu: bool) -> bool:
    """For its line, as far as that is known."""
    if not is_known(flow, "bytes_per_s"):
        return False
    with contextlib.suppress(NotMeasured):
        return flow.bytes_per_s < expected(flow.method, (rail.one, rail.other), on_gpu=on_gpu).least
    return False


def _obstacle(wanted: Pairs, pair: tuple[Node, Node], rail: Rail) -> Failure | None:
    """Why it is not even tried; None: it is."""
    over_ipv6 = any(":" in wanted.addresses[node.name] for node in pair)
    for node in pair:
        system = node.rdma_system if is_known(node, "rdma_system") else None
        if system is not None and is_known(system, "perftest") and system.perftest is None:
            return Failure(why=NOT_INSTALLED.format(node=node.name))
        if over_ipv6 and not (system is not None and system.perftest_ipv6):
            return Failure(why=ONLY_IPV4.format(node=node.name))
    return _down(pair, rail) or _left_alone(wanted, pair, rail)


def _down(pair: tuple[Node, Node], rail: Rail) -> Failure | None:
    for node, end in zip(pair, (rail.one, rail.other), strict=True):
        if end.port.state != "active":
            state = f"{end.name} of {node.name} is {end.port.state}"
            return Failure(why=state, cause="rdma_bad_hca_selected", at=node.name)
    return None


def _left_alone(wanted: Pairs, pair: tuple[Node, Node], rail: Rail) -> Failure | None:
    for node, end in zip(pair, (rail.one, rail.other), strict=True):
        if why := wanted.spared.get(node.name, {}).get(end.name):
            return Failure(why=f"{node.name}: {why}")
        if wanted.on_gpu and (why := why_not_on_gpu(Place(node, end))):
            return Failure(why=why)
    return None


def _flow(runs: _Runs, rail: str, places: tuple[Place, Place]) -> Flow:
    """Raises NodeError where an agent stops answering."""
    ends, test = _names(places), runs.test
    try:
        try:
            found = _tried(runs, test, places)
        except NothingCame:  # a slow start, or a filter: that takes longer to tell
            found = _tried(runs, msgspec.structs.replace(test, seconds=PATIENT_S), places)
    except NothingCame as why:
        return runs.missing(ends, rail, nothing_came(why, ethernet=places[0].end.port.link_layer == ETHERNET))
    except NotMeasured as why:
        return runs.missing(ends, rail, Failure(why=str(why)))
    if isinstance(found, Failure):
        return runs.missing(ends, rail, found)
    known = {"latency_s": found.latency_s} if test.of_latency else {"bytes_per_s": found.bytes_per_s}
    return msgspec.structs.replace(runs.missing(ends, rail, Failure(why="")), **known)


def _tried(runs: _Runs, test: Trial, places: tuple[Place, Place]) -> Result | Failure:
    """Raises NotMeasured, of it NothingCame where both ends came to theirs; NodeError."""
    source, target = places
    client, server = (target, source) if test.pulls else (source, target)
    parties = [_party(runs.wanted, runs.sessions, place) for place in (client, server)]
    seconds = min(test.seconds + RUN_S, max(1.0, runs.until - time.monotonic()))
    ended = run(test, parties[0], parties[1], seconds)
    ethernet, on_gpu = client.end.port.link_layer == ETHERNET, runs.wanted.on_gpu
    wrong = failure(test, *ended, seconds, ethernet=ethernet, on_gpu=on_gpu)
    return wrong if wrong is not None else result(test, ended[0].text)


def _party(wanted: Pairs, sessions: Mapping[str, Session], place: Place) -> Party:
    node, end = place.node, place.end
    address = wanted.addresses[node.name]
    option = node.rdma_system.perftest_source_option if node.rdma_system is not None else None
    gpu = gpu_near(place) if wanted.on_gpu else None
    side = Side(
        device=end.hca.name,
        port=end.port.number,
        gid_index=gid_index(end.port),
        exchange_port=0,
        source=(option, address) if option else None,
        ipv6=":" in address,
        gpu=0 if gpu is not None else None,  # the only one that it is shown
    )
    return Party(
        node=node.name,
        session=sessions[node.name],
        address=address,
        side=side,
        environment=_shown(gpu),
        why_ended=lambda: wanted.ended.get(node.name, ""),
    )


def _shown(gpu: Gpu | None) -> dict[str, str]:
    """CUDA counts in an order of its own, and a session may be shown some only."""
    if gpu is None:
        return {}
    uuid = gpu.uuid if is_known(gpu, "uuid") else str(gpu.index)
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": uuid}
