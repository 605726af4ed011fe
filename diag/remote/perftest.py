"""What does each rail between pairs of nodes carry by RDMA? perftest on both, one direction and rail at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

from diag.errors import NodeError
from diag.facts.links import Flow
from diag.facts.node import Node
from diag.facts.rails import ETHERNET, End, Rail, gid_index, rails
from diag.facts.record import NotMeasured, is_known, unknown
from diag.probes.perftest import NothingCame, Result, Side, Trial, result
from diag.probes.perftest_failures import Failure, failure, nothing_came
from diag.remote import fanout
from diag.remote.perftest_run import RUN_S, Party, run
from diag.remote.session import Session

NOT_INSTALLED = "perftest is not installed on {node} (package perftest)"
ONLY_IPV4 = "perftest's two ends find each other over IPv4; the data addresses are IPv6"
NO_TIME = "no time was left for it"
PATIENT_S = 4
"""Of a second try, where nothing came through in the first."""
PATHS = ("PIX", "PXB", "PHB", "NODE", "SYS")
"""Between a GPU and an HCA, the nearest first."""


class Pairs(msgspec.Struct, frozen=True, kw_only=True):
    """What one round measures. ``pairs`` are disjoint; ``number``: of the round.

    ``addresses``: node -> where the others reach it, for the TCP by which both ends find each other.
    ``only``: rails by name; None: all. ``spared``: node -> rail -> why nothing of ours passes it.
    ``on_gpu``: the memory of the GPU nearest to each HCA, where perftest can.
    """

    pairs: Sequence[tuple[str, str]]
    number: int
    addresses: Mapping[str, str]
    only: Collection[str] | None = None
    spared: Mapping[str, Mapping[str, str]] = msgspec.field(default_factory=dict)
    on_gpu: bool = False


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
    for rail in found:
        if wanted.only is not None and rail.name not in wanted.only:
            continue
        obstacle = _obstacle(wanted, pair, rail)
        ends = [_Place(node, end) for node, end in zip(pair, (rail.one, rail.other), strict=True)]
        for source, target in (ends,) if test.of_latency else (ends, ends[::-1]):
            left_out = obstacle or (Failure(why=NO_TIME) if time.monotonic() >= until else None)
            if left_out is not None:
                yield _missing(wanted, test, (source.node.name, target.node.name), rail.name, left_out)
            else:
                yield _flow(wanted, test, sessions, rail.name, (source, target), until)


def _missing(wanted: Pairs, test: Trial, pair: tuple[str, str], rail: str | None, why: Failure) -> Flow:
    gap = unknown(why.why)
    return Flow(
        source=pair[0],
        target=pair[1],
        round=wanted.number,
        method=test.tool,
        rail=rail,
        cause=why.cause,
        **{"latency_s" if test.of_latency else "bytes_per_s": gap},
    )


def _obstacle(wanted: Pairs, pair: tuple[Node, Node], rail: Rail) -> Failure | None:
    """Why it is not even tried; None: it is."""
    if any(":" in wanted.addresses[node.name] for node in pair):
        return Failure(why=ONLY_IPV4)
    for node, end in zip(pair, (rail.one, rail.other), strict=True):
        system = node.rdma_system if is_known(node, "rdma_system") else None
        if system is not None and is_known(system, "perftest") and system.perftest is None:
            return Failure(why=NOT_INSTALLED.format(node=node.name))
        if why := wanted.spared.get(node.name, {}).get(end.name):
            return Failure(why=f"{node.name}: {why}")
        if end.port.state != "active":
            return Failure(why=f"{end.name} of {node.name} is {end.port.state}", cause="rdma_bad_hca_selected")
    return None


class _Place(msgspec.Struct, frozen=True):
    node: Node
    end: End


def _flow(  # noqa: PLR0917
    wanted: Pairs,
    test: Trial,
    sessions: Mapping[str, Session],
    rail: str,
    places: tuple[_Place, _Place],
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
    wanted: Pairs, test: Trial, sessions: Mapping[str, Session], places: tuple[_Place, _Place], until: float
) -> Result | Failure:
    """Raises NotMeasured, of it NothingCame where both ends came to theirs; NodeError."""
    source, target = places
    client, server = (target, source) if test.pulls else (source, target)
    on_gpu = wanted.on_gpu and all(_gpu(place) is not None for place in places)
    parties = [_party(wanted, sessions, place, on_gpu=on_gpu) for place in (client, server)]
    seconds = min(test.seconds + RUN_S, max(1.0, until - time.monotonic()))
    ended = run(test, parties[0], parties[1], seconds)
    wrong = failure(test, *ended, seconds, ethernet=client.end.port.link_layer == ETHERNET, on_gpu=on_gpu)
    return wrong if wrong is not None else result(test, ended[0].text)


def _party(wanted: Pairs, sessions: Mapping[str, Session], place: _Place, *, on_gpu: bool) -> Party:
    node, end = place.node, place.end
    address = wanted.addresses[node.name]
    option = node.rdma_system.perftest_source_option if node.rdma_system is not None else None
    side = Side(
        device=end.hca.name,
        port=end.port.number,
        gid_index=gid_index(end.port),
        exchange_port=0,
        source=(option, address) if option else None,
        gpu=_gpu(place) if on_gpu else None,
    )
    return Party(node=node.name, session=sessions[node.name], address=address, side=side)


def _gpu(place: _Place) -> int | None:
    """The nearest GPU to an HCA; None: perftest cannot use it, or none is known."""
    node = place.node
    if node.rdma_system is None or not node.rdma_system.perftest_cuda or not is_known(node, "between"):
        return None
    near = [
        (PATHS.index(pair.path), int(pair.a.partition(":")[2]))
        for pair in node.between
        if pair.b == place.end.hca.name and pair.path in PATHS and pair.a.startswith("gpu:")
    ]
    return min(near)[1] if near else None
