"""Which ports of which nodes can which others reach? Every one of them, from every node, by real connections."""

from __future__ import annotations

import random
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from diag.data_interface import Place
from diag.errors import NodeError
from diag.facts.links import ClosedPorts, PortMatrix
from diag.facts.node import Node
from diag.facts.record import is_known
from diag.probes.verbs import Ask, Request
from diag.remote.meeting import WORDS
from diag.remote.pairs import ask
from diag.remote.session import Session

WELL_KNOWN = (29500, 29501, 6379, 8000, 8265, 10001, 30000, 23333, 11434, 5000, 20000, 25000, 29550)
"""torch's rendezvous and the next; Ray's GCS, dashboard and client; vLLM, SGLang, LMDeploy, Ollama; SGLang's and vLLM's
data-parallel ports. From their own documentation and defaults."""
SAMPLED = 10
"""Of the range from which NCCL, GLOO and Ray's workers take theirs."""
EPHEMERAL = (32768, 60999)
"""Where a node does not tell its own (ip-sysctl.rst of Linux)."""
SEED = 7
FREE_S, ANSWER_S = 6.0, 3.0


class _Knocked(msgspec.Struct, frozen=True):
    tried: int
    untried: int
    failed: tuple[tuple[int, str, tuple[str, ...]], ...]
    not_opened: tuple[int, ...] = ()


def ports_for(nodes: Sequence[Node]) -> tuple[int, ...]:
    """The same on all nodes, so that a rule for one of them stands out; ephemeral ones spread over the range."""
    low, high = EPHEMERAL
    for node in nodes:
        if is_known(node, "ephemeral_ports"):
            low, high = max(low, node.ephemeral_ports.low), min(high, node.ephemeral_ports.high)
    width = max(1, (high - low) // SAMPLED)
    chosen = random.Random(SEED)  # noqa: S311 - a sample, no secret
    sampled = [low + width * part + chosen.randrange(width) for part in range(SAMPLED)]
    return tuple(dict.fromkeys((*WELL_KNOWN, *sampled)))


def measure(
    sessions: Mapping[str, Session], places: Mapping[str, Place], ports: Sequence[int], seconds: float
) -> tuple[PortMatrix, dict[str, NodeError]]:
    """Also who was lost on the way. Listens at nothing that is in use, dials nothing that was not opened."""
    free, silent, lost = ask(sessions, {name: _free(place, ports) for name, place in places.items()}, FREE_S, list[int])
    there = {name: place for name, place in places.items() if name in free}
    used = {name: taken for name, open_ports in free.items() if (taken := sorted(set(ports) - set(open_ports)))}
    alike = {
        "ports": list(ports),
        "used": used,
        "token": secrets.token_hex(16),
        "nodes": {name: place.address for name, place in there.items()},
        "seconds": seconds,
    }
    requests = {name: _knock(place, alike, seconds) for name, place in there.items()}
    told, failed, gone = ask(sessions, requests, seconds + ANSWER_S, _Knocked)
    not_tried = [(name, f"{why}") for name, why in {**silent, **failed}.items()]
    not_tried += [(name, error.what) for name, error in {**lost, **gone}.items()]
    not_tried += [(f"{name}:{','.join(map(str, taken))}", "in use there") for name, taken in used.items()]
    not_tried += [(name, f"{one.untried} connections: no time was left") for name, one in told.items() if one.untried]
    unopened = {(name, port) for name, one in told.items() for port in one.not_opened}
    matrix = PortMatrix(
        ports=tuple(ports),
        tried=sum(one.tried for one in told.values()),
        nodes=tuple(told),
        closed=_folded(told, unopened, set(told)),
        not_tried=tuple(not_tried),
    )
    return matrix, {**lost, **gone}


def _free(place: Place, ports: Sequence[int]) -> Request:
    verb = Ask("knocks:free", {"address": place.address, "ports": list(ports)})
    return Request(name="free", verb=verb, deadline_s=FREE_S - 1)


def _knock(place: Place, alike: Mapping[str, Any], seconds: float) -> Request:
    """What all nodes are asked alike, but for the name: of a thousand it is 25 KB each."""
    arguments = {**alike, "address": place.address, "name": place.node}
    return Request(name="knock", verb=Ask("knocks:knock", arguments), deadline_s=seconds + 1.5)


def _folded(told: Mapping[str, _Knocked], unopened: set[tuple[str, int]], there: set[str]) -> tuple[ClosedPorts, ...]:
    """What failed, alike together: first the ports of each pair, then the targets, then the sources."""
    of_pair: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for source, one in told.items():
        for port, error, targets in one.failed:
            for target in targets:
                if (target, port) not in unopened and target in there:
                    of_pair[source, target, error].add(port)
    of_source: dict[tuple[str, str, frozenset[int]], set[str]] = defaultdict(set)
    for (source, target, error), closed in of_pair.items():
        of_source[source, error, frozenset(closed)].add(target)
    alike: dict[tuple[str, frozenset[int], frozenset[str]], list[str]] = defaultdict(list)
    for (source, error, closed_ports), of_all in of_source.items():
        alike[error, closed_ports, frozenset(of_all)].append(source)
    return tuple(
        ClosedPorts(
            sources=tuple(sources),
            targets=tuple(name for name in told if name in targets),
            ports=tuple(sorted(ports)),
            error=error,
            why=WORDS.get(error, error),
        )
        for (error, ports, targets), sources in alike.items()
    )
