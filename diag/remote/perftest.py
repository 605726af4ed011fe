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

    def of(one: str, other: str) -> Callable[[], list[Flow]]:
        return lambda: list(_of_pair(wanted, test, sessions, (nodes[one], nodes[other]), until))

    work = {f"{one} {other}": of(one, other) for one, other in wanted.pairs}
    outcomes = fanout.each(work, width=max(1, len(work)), deadline_s=deadline_s + RUN_S)
    flows: list[Flow] = []
    for pair, outcome in zip(wanted.pairs, outcomes.values(), strict=True):
        if isinstance(outcome, NodeError):
            if outcome.where in sessions:
                lose(outcome.where, outcome)
            flows.append(_missing(wanted, test, pair, None, Failure(why=f"{outcome.where}: {outcome.what}")))
        else:
            flows += outcome
    return tuple(flows)


def _of_pair(
    wanted: Pairs, test: Trial, sessions: Mapping[str, Session], pair: tuple[Node, Node], until: float
) -> Iterator[Flow]:
    names = (pair[0].name, pair[1].name)
    try:
        found = rails(*pair)
    except NotMeasured as why:
        yield _missing(wanted, test, names, None, Failure(why=str(why)))
        return
    free: list[Rail] = []
    for rail in found:
        if wanted.only is not None and rail.name not in wanted.only:
            continue
        obstacle = _obstacle(wanted, pair, rail)
        if obstacle is None:
            free.append(rail)
            continue
        for way in (names,) if test.of_latency else (names, names[::-1]):
            yield _missing(wanted, test, way, rail.name, obstacle)
    at_once = max(1, AT_ONCE // max(1, len(wanted.pairs)))
    for wave in waves(free, pair, wanted.number, at_once, on_gpu=wanted.on_gpu):
        for turned in (False,) if test.of_latency else (False, True):
            yield from _side_by_side(_Runs(wanted, test, sessions, until), wave, pair, turned=turned)


class _Runs(msgspec.Struct, frozen=True):
    """What all runs of a pair have in common."""

    wanted: Pairs
    test: Trial
    sessions: Mapping[str, Session]
    until: float

    def of(self, rail: Rail, places: tuple[Place, Place]) -> Flow:
        ends = (places[0].node.name, places[1].node.name)
        why = self.why_not(ends) or (NO_TIME if time.monotonic() >= self.until else "")
        if not why:
            flow = _flow(self.wanted, self.test, self.sessions, rail.name, places, self.until)
            why = self.why_not(ends)
        return _missing(self.wanted, self.test, ends, rail.name, Failure(why=why)) if why else flow

    def why_not(self, ends: tuple[str, str]) -> str:
        return next((f"{name}: {self.wanted.ended[name]}" for name in ends if name in self.wanted.ended), "")


def _side_by_side(runs: _Runs, wave: Sequence[Rail], pair: tuple[Node, Node], *, turned: bool) -> Iterator[Flow]:
    """Raises NodeError where an agent stops answering."""
    places = {rail.name: (Place(pair[0], rail.one), Place(pair[1], rail.other)) for rail in wave}
    if turned:
        places = {name: ends[::-1] for name, ends in places.items()}
    left_s = max(0.0, runs.until - time.monotonic())
    work = {rail.name: partial(runs.of, rail, places[rail.name]) for rail in wave}
    outcomes = fanout.each(work, width=len(work), deadline_s=left_s + 2 * RUN_S)
    for rail in wave:
        flow = outcomes[rail.name]
        if isinstance(flow, NodeError):
            raise flow
        alone = len(wave) > 1 and _is_slow(flow, rail, on_gpu=runs.wanted.on_gpu) and time.monotonic() < runs.until
        again = runs.of(rail, places[rail.name]) if alone else flow
        yield again if is_known(again, "bytes_per_s") else flow


def _is_slow(flow: Flow, rail: Rail, *, on_gpu: bool) -> bool:
    """For its line, as far as that is known."""
    if not is_known(flow, "bytes_per_s"):
        return False
    with contextlib.suppress(NotMeasured):
        return flow.bytes_per_s < expected(flow.method, (rail.one, rail.other), on_gpu=on_gpu).least
    return False


def _missing(wanted: Pairs, test: Trial, pair: tuple[str, str], rail: str | None, why: Failure) -> Flow:
    gap = unknown(why.why)
    return Flow(
        source=pair[0],
        target=pair[1],
        round=wanted.number,
        method=test.tool,
        rail=rail,
        cause=why.cause,
        at=why.at,
        **{"latency_s" if test.of_latency else "bytes_per_s": gap},
    )


def _obstacle(wanted: Pairs, pair: tuple[Node, Node], rail: Rail) -> Failure | None:
    """Why it is not even tried; None: it is."""
    over_ipv6 = any(":" in wanted.addresses[node.name] for node in pair)
    for node, end in zip(pair, (rail.one, rail.other), strict=True):
        system = node.rdma_system if is_known(node, "rdma_system") else None
        if system is not None and is_known(system, "perftest") and system.perftest is None:
            return Failure(why=NOT_INSTALLED.format(node=node.name))
        if over_ipv6 and not (system is not None and system.perftest_ipv6):
            return Failure(why=ONLY_IPV4.format(node=node.name))
        if why := wanted.spared.get(node.name, {}).get(end.name):
            return Failure(why=f"{node.name}: {why}")
        if end.port.state != "active":
            state = f"{end.name} of {node.name} is {end.port.state}"
            return Failure(why=state, cause="rdma_bad_hca_selected", at=node.name)
        if wanted.on_gpu and (why := why_not_on_gpu(Place(node, end))):
            return Failure(why=why)
    return None


def _flow(  # noqa: PLR0917
    wanted: Pairs,
    test: Trial,
    sessions: Mapping[str, Session],
    rail: str,
    places: tuple[Place, Place],
    until: float,
) -> Flow:
    """Raises NodeError where an agent stops answering."""
    source, target = (place.node.name for place in places)
    try:
        try:
            found = _tried(wanted, test, sessions, places, until)
        except NothingCame:  # a slow start, or a filter: that takes longer to tell
            found = _tried(wanted, msgspec.structs.replace(test, seconds=PATIENT_S), sessions, places, until)
    except NothingCame as why:
        wrong = nothing_came(why, ethernet=places[0].end.port.link_layer == ETHERNET)
        return _missing(wanted, test, (source, target), rail, wrong)
    except NotMeasured as why:
        return _missing(wanted, test, (source, target), rail, Failure(why=str(why)))
    if isinstance(found, Failure):
        return _missing(wanted, test, (source, target), rail, found)
    empty = _missing(wanted, test, (source, target), rail, Failure(why=""))
    known = {"latency_s": found.latency_s} if test.of_latency else {"bytes_per_s": found.bytes_per_s}
    return msgspec.structs.replace(empty, **known)


def _tried(
    wanted: Pairs, test: Trial, sessions: Mapping[str, Session], places: tuple[Place, Place], until: float
) -> Result | Failure:
    """Raises NotMeasured, of it NothingCame where both ends came to theirs; NodeError."""
    source, target = places
    client, server = (target, source) if test.pulls else (source, target)
    parties = [_party(wanted, sessions, place) for place in (client, server)]
    seconds = min(test.seconds + RUN_S, max(1.0, until - time.monotonic()))
    ended = run(test, parties[0], parties[1], seconds)
    wrong = failure(test, *ended, seconds, ethernet=client.end.port.link_layer == ETHERNET, on_gpu=wanted.on_gpu)
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
    return Party(node=node.name, session=sessions[node.name], address=address, side=side, environment=_shown(gpu))


def _shown(gpu: Gpu | None) -> dict[str, str]:
    """CUDA counts in an order of its own, and a session may be shown some only."""
    if gpu is None:
        return {}
    uuid = gpu.uuid if is_known(gpu, "uuid") else str(gpu.index)
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": uuid}
