"""What do pairs of nodes carry, all pairs of a round at once? Over TCP, by the agents themselves.

Each pair is measured one way and then the other. Where one end cannot open a connection, the other tries: a rule that
refuses one direction is then known from a link that carries nothing.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from diag.data_interface import Place
from diag.errors import NodeError
from diag.facts.links import WRONG, Flow
from diag.facts.record import NotMeasured, unknown
from diag.probes.verbs import Answer, Ask, Request
from diag.remote import fanout
from diag.remote.meeting import WORDS, endpoint
from diag.remote.session import Session

Pair = tuple[str, str]
"""Who dials, who listens."""

OVERHEAD_S = 9.0
"""Of a pair beside its two flows: connecting, small packets, and the patience with one that stalls."""
ANSWER_S, LEAST_S = 1.5, 3.0
WIDTH = 2048
BIG_STEPS = ("send", "receive")
OWN = ("EADDRINUSE", "EADDRNOTAVAIL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM")
"""Errors of a node that never came to use the link: they say nothing of it."""

T = TypeVar("T")


class _Failed(msgspec.Struct, frozen=True):
    step: str
    error: str
    why: str


class _Told(msgspec.Struct, frozen=True):
    """What one end says: the rate of what it received."""

    rate: float | None = None
    windows: tuple[float, ...] = ()
    latency_s: float | None = None
    path_mtu: int | None = None
    retransmits: int | None = None
    wrong: bool = False
    failed: _Failed | None = None


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node listens and dials, and how much it carries at once."""

    place: Place
    port: int
    mtu_bytes: int
    streams: int


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """``lost``: nodes whose agent answers no more."""

    flows: tuple[Flow, ...]
    lost: Mapping[str, NodeError]


def measure(
    sessions: Mapping[str, Session],
    spots: Mapping[str, Spot],
    pairs: Sequence[Pair],
    number: int,
    seconds: float,
    *,
    until: float = math.inf,
) -> Measured:
    """Both directions of every pair, each for ``seconds``; no node is in two pairs.

    ``until``, by ``time.monotonic``: what stalls has no longer than that, or ``LEAST_S`` beside its two flows.
    """
    told, lost = _ask_both(sessions, spots, pairs, seconds, until)
    flows = {pair: _flows(pair, told, spots, number) for pair in pairs}
    turned = [(b, a) for a, b in pairs if _could_not_connect(told[a]) and not {a, b} & set(lost)]
    if turned:
        again, lost_too = _ask_both(sessions, spots, turned, seconds, until)
        lost |= lost_too
        for b, a in turned:
            flows[a, b] = _joined(flows[a, b], _flows((b, a), again, spots, number))
    return Measured(flows=tuple(flow for both in flows.values() for flow in both), lost=lost)


def free_ports(
    sessions: Mapping[str, Session], places: Mapping[str, Place]
) -> tuple[dict[str, int], dict[str, str], dict[str, NodeError]]:
    """Node -> a port for the sweep; or why it has none; and who is lost."""
    requests = {
        name: Request(name="free_port", verb=Ask("dials:free_port", {"address": place.address}))
        for name, place in places.items()
    }
    return ask(sessions, requests, 8.0, int)


def ask(
    sessions: Mapping[str, Session], requests: Mapping[str, Request], deadline_s: float, kind: type[T]
) -> tuple[dict[str, T], dict[str, str], dict[str, NodeError]]:
    """One request to each node at once: the answers, why some gave none, and who does not answer any more."""

    def one(name: str) -> Callable[[], Answer]:
        return lambda: sessions[name].ask((requests[name],), deadline_s)[0]

    told = fanout.each({name: one(name) for name in requests}, width=WIDTH, deadline_s=deadline_s + 1)
    answers: dict[str, T] = {}
    failed: dict[str, str] = {}
    lost: dict[str, NodeError] = {}
    for name, answer in told.items():
        if isinstance(answer, NodeError):
            lost[name] = answer
            continue
        try:
            answers[name] = answer.decode(kind)
        except NotMeasured as why:
            failed[name] = str(why)
    return answers, failed, lost


def _ask_both(
    sessions: Mapping[str, Session], spots: Mapping[str, Spot], pairs: Sequence[Pair], seconds: float, until: float
) -> tuple[dict[str, _Told], dict[str, NodeError]]:
    left_s = max(LEAST_S, until - time.monotonic() - 2 * seconds)
    on_node_s = 2 * seconds + min(OVERHEAD_S, left_s)
    requests: dict[str, Request] = {}
    for dialler, listener in pairs:
        token = secrets.token_hex(16)
        port = spots[listener].port
        streams = min(spots[dialler].streams, spots[listener].streams)
        for name, peer in ((dialler, listener), (listener, dialler)):
            arguments = {
                "listens": name == listener,
                "address": spots[name].place.address,
                "port": port,
                "peer": spots[peer].place.address,
                "token": token,
                "streams": streams,
                "seconds": seconds,
                "mtu": spots[name].mtu_bytes,
            }
            requests[name] = Request(name="pair", verb=Ask("streams:pair", arguments), deadline_s=on_node_s)
    told, failed, lost = ask(sessions, requests, on_node_s + ANSWER_S, _Told)
    for name, why in failed.items():
        told[name] = _Told(failed=_Failed("answer", "ETIMEDOUT", why))
    for name, error in lost.items():
        told[name] = _Told(failed=_Failed("lost", "agent_silent", error.what))
    return told, lost


def _could_not_connect(told: _Told) -> bool:
    return told.failed is not None and told.failed.step == "connect"


def _flows(pair: Pair, told: Mapping[str, _Told], spots: Mapping[str, Spot], number: int) -> tuple[Flow, Flow]:
    dialler, listener = pair
    latency_s = told[dialler].latency_s
    there = _flow(pair, told[dialler], told[listener], latency_s, spots, number)
    back = _flow((listener, dialler), told[listener], told[dialler], latency_s, spots, number)
    if _could_not_connect(told[dialler]):  # of the way back nothing is known: nobody tried
        why = f"not tried: {dialler} could not connect"
        back = msgspec.structs.replace(back, bytes_per_s=unknown(why), cause="")
    return there, back


def _flow(  # noqa: PLR0917 - of one call
    ends: Pair, sender: _Told, receiver: _Told, latency_s: float | None, spots: Mapping[str, Spot], number: int
) -> Flow:
    """One direction: what left and what came, each told by its own end."""
    source, target = ends
    mtu = sender.path_mtu
    why, cause = ("", "") if receiver.rate is not None else _why_not(ends, sender, receiver, spots)
    if receiver.wrong:
        why, cause = "the bytes that arrived are not those sent", WRONG
    return Flow(
        source=source,
        target=target,
        round=number,
        bytes_per_s=unknown(why) if why or receiver.rate is None else receiver.rate,
        windows_bytes_per_s=receiver.windows,
        latency_s=latency_s if latency_s is not None else unknown("they exchanged nothing"),
        retransmits=sender.retransmits if sender.retransmits is not None else unknown("it was not sent to its end"),
        path_mtu_bytes=_path_mtu(mtu),
        cause=cause,
    )


def _path_mtu(mtu: int | None) -> int:
    if mtu:
        return mtu
    absent: int = unknown("no packet was tried" if mtu is None else "no UDP packet came through")
    return absent


def _why_not(ends: Pair, sender: _Told, receiver: _Told, spots: Mapping[str, Spot]) -> tuple[str, str]:
    """One line, and the cause where it can be told."""
    source, target = ends
    failed = next((told.failed for told in (sender, receiver) if told.failed and told.failed.step == "lost"), None)
    if failed:
        return f"an agent was lost: {failed.why}", "agent_silent"
    failed = sender.failed or receiver.failed
    if failed is None or (untried := _untried(ends, sender, receiver)):
        return "its rate was not told" if failed is None else untried, ""
    spot = spots[target]
    words = WORDS.get(failed.error, failed.why)
    if failed.step == "connect":
        at = endpoint(spot.place.address, spot.port)
        return f"{source} cannot connect to {target} at {at}: {words} ({failed.error})", "firewall_blocks_ports"
    if failed.step in BIG_STEPS and sender.path_mtu is not None and sender.path_mtu < spots[source].mtu_bytes:
        fits = f"packets above {sender.path_mtu} bytes do not" if sender.path_mtu else "large packets do not"
        return f"connected, but {fits} come through ({failed.error})", "mtu_mismatch"
    if failed.step in BIG_STEPS:
        return f"connected, but the bytes stop coming through: {words} ({failed.error})", "link_slow"
    return f"{failed.step}: {failed.why}", ""


def _untried(ends: Pair, sender: _Told, receiver: _Told) -> str:
    """Why an end did not come so far as to use the link; empty: both did."""
    for name, told in zip(ends, (sender, receiver), strict=True):
        if told.failed and (told.failed.step == "answer" or told.failed.error in OWN):
            return f"not tried: {name}: {told.failed.why}"
    return ""


def _joined(first: tuple[Flow, Flow], turned: tuple[Flow, Flow]) -> tuple[Flow, Flow]:
    """``first``: a could not connect to b. Where b connects to a: that way works, and a's is what is refused."""
    there, _ = first
    back, _ = turned
    return there, back
