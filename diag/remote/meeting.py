"""Do the nodes reach each other on their data addresses? Tried through the agents, before any rank is started.

Each node exchanges bytes with the first one, both ways. A firewall, a wrong route or a path that loses big packets is
then a pair with a reason; torch would only wait.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from diag.data_interface import Place
from diag.errors import NodeError
from diag.facts.collective import Blocked
from diag.facts.record import NotMeasured
from diag.probes.verbs import Answer, Ask, Request
from diag.remote import fanout
from diag.remote.session import Session

LISTEN_S = 4.0
ON_NODE_S = 7.0
ASK_S = 8.0
WIDTH = 256
WORDS = {
    "ETIMEDOUT": "no answer",
    "ECONNREFUSED": "refused",
    "EHOSTUNREACH": "no route to it, or rejected on the way",
    "ENETUNREACH": "no route to its network",
    "ECONNRESET": "reset on the way",
}

T = TypeVar("T")


class _Failure(msgspec.Struct, frozen=True):
    step: str
    error: str
    why: str


class _Met(msgspec.Struct, frozen=True):
    heard: tuple[str, ...]
    failed: dict[str, _Failure]


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """``port``: free on the first of ``places`` a moment ago; ``excluded``: nodes that cannot take part, with why."""

    port: int
    places: tuple[Place, ...]
    excluded: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, NodeError] = field(default_factory=dict)
    """Of the excluded those whose agent answers no more."""
    blocked: tuple[Blocked, ...] = ()


def meet(sessions: Mapping[str, Session], places: Sequence[Place]) -> Meeting:
    """Exclude who cannot exchange data with the first node; the first itself, if most others cannot reach it."""
    wanted = {place.node: _request("free_port", address=place.address) for place in places}
    ports, excluded, lost = _ask(sessions, wanted, int)
    there = [place for place in places if place.node in ports]
    blocked: tuple[Blocked, ...] = ()
    while len(there) > 1:
        found, silent, fell_silent = _round(sessions, there, ports)
        cut_off = _cut_off(there, found)
        blocked += found
        lost |= fell_silent
        excluded |= silent | cut_off
        first = there[0].node
        there = [place for place in there if place.node not in excluded]
        if first not in excluded:
            break
    port = ports[there[0].node] if there else 0
    return Meeting(port=port, places=tuple(there), excluded=excluded, lost=lost, blocked=blocked)


def _round(
    sessions: Mapping[str, Session], places: Sequence[Place], ports: Mapping[str, int]
) -> tuple[tuple[Blocked, ...], dict[str, str], dict[str, NodeError]]:
    """The first node dials all others while they dial it: who could not, who had nothing to tell, who is gone."""
    first, *others = places
    token = secrets.token_hex(16)
    at = {place.node: (place.address, ports[place.node]) for place in places}

    def listen_and_dial(place: Place) -> Request:
        peers = others if place is first else [first]
        return _request(
            "meet",
            address=place.address,
            port=ports[place.node],
            token=token,
            callers=[peer.address for peer in peers],
            dial={peer.node: at[peer.node] for peer in peers},
            seconds=LISTEN_S,
        )

    met, silent, lost = _ask(sessions, {place.node: listen_and_dial(place) for place in places}, _Met)
    blocked = tuple(
        _blocked(source, target, endpoint(*at[target]), failure)
        for source, told in met.items()
        for target, failure in told.failed.items()
        if target not in silent
    )
    return blocked, silent, lost


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _blocked(source: str, target: str, address: str, failure: _Failure) -> Blocked:
    connected = failure.step != "connect"
    stuck = connected and failure.error == "ETIMEDOUT"
    why = "connected, but full packets do not come through" if stuck else WORDS.get(failure.error, failure.why)
    return Blocked(
        source=source,
        target=target,
        address=address,
        step=failure.step,
        cause="mtu_mismatch" if stuck else "firewall_blocks_ports",
        why=f"{why} ({failure.error})",
    )


def _cut_off(places: Sequence[Place], blocked: Sequence[Blocked]) -> dict[str, str]:
    """Of a blocked pair the one that is not the first node; the first, where it is blocked with most others."""
    first, *others = (place.node for place in places)
    reasons: dict[str, str] = {}
    for pair in blocked:
        other = pair.target if pair.source == first else pair.source
        reasons.setdefault(other, f"{pair.source} cannot reach {pair.target} at {pair.address}: {pair.why}")
    if len(others) > 1 and len(reasons) > len(others) / 2:
        return {first: f"{len(reasons)} of {len(others)} other nodes: {next(iter(reasons.values()))}"}
    return reasons


# -- asking


def _request(function: str, **arguments: Any) -> Request:
    return Request(name=function, verb=Ask(f"dials:{function}", arguments), deadline_s=ON_NODE_S)


def _ask(
    sessions: Mapping[str, Session], requests: Mapping[str, Request], kind: type[T]
) -> tuple[dict[str, T], dict[str, str], dict[str, NodeError]]:
    """One request to each node at once: the answers, why some gave none, and who of these did not even say that."""

    def ask(name: str) -> Callable[[], Answer]:
        return lambda: sessions[name].ask((requests[name],), ASK_S)[0]

    told = fanout.each({name: ask(name) for name in requests}, width=WIDTH, deadline_s=ASK_S)
    answers: dict[str, T] = {}
    lost = {name: answer for name, answer in told.items() if isinstance(answer, NodeError)}
    failed = {name: error.what for name, error in lost.items()}
    for name, answer in told.items():
        try:
            if not isinstance(answer, NodeError):
                answers[name] = answer.decode(kind)
        except NotMeasured as why:
            failed[name] = f"cannot listen on its data address: {why}"
    return answers, failed, lost
