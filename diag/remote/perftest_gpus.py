"""What does each rail carry from the memory of one GPU to that of another? On GPUs that somebody watches only.

At a newcomer the runs on that node end; where nobody can look, there are none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from diag.errors import NodeError
from diag.facts.links import Flow
from diag.facts.node import Node
from diag.facts.record import is_known
from diag.facts.verdict import listed
from diag.probes.perftest import Trial
from diag.remote import onlookers, perftest
from diag.remote.onlookers import Onlooker
from diag.remote.perftest import Pairs
from diag.remote.perftest_run import RUN_S
from diag.remote.session import Session

FIRST_LOOK_S = 8.0
"""So long an onlooker has to see who came since the facts were taken: NVML may have to wake the GPUs."""
LOOK_S = 0.1
BLIND = "who uses its GPUs was not seen in time"


def measure(  # noqa: PLR0917 - what to measure, with whom, for how long
    wanted: Pairs,
    test: Trial,
    sessions: Mapping[str, Session],
    nodes: Mapping[str, Node],
    deadline_s: float,
    lose: Callable[[str, NodeError], None] = lambda _node, _error: None,
) -> tuple[tuple[Flow, ...], tuple[tuple[str, str], ...]]:
    """Flows as of ``perftest.measure``, and which nodes' GPUs were left out, with why.

    ``wanted.ended``: nodes whose GPUs are not to be used, with why.
    """
    until, ended = time.monotonic() + deadline_s, dict(wanted.ended)
    looking: dict[str, Onlooker] = {}
    for name in [name for pair in wanted.pairs for name in pair if name not in ended]:
        onlooker = onlookers.of(sessions[name], nodes[name])
        if isinstance(onlooker, str):
            ended[name] = onlooker
        elif onlooker.known is None:
            ended[name] = "who uses its GPUs is not known"
        else:
            looking[name] = onlooker
    looks = {name: threading.Event() for name in looking}
    try:
        for name, onlooker in looking.items():
            end = partial(_end, name, sessions[name], ended)
            onlookers.start(onlooker, deadline_s + RUN_S, end, looks[name].set)
        _await_looks(looks, ended, time.monotonic() + min(FIRST_LOOK_S, deadline_s / 2))
        wanted = msgspec.structs.replace(wanted, on_gpu=True, ended=ended)
        flows = perftest.measure(wanted, test, sessions, nodes, until - time.monotonic(), lose)
    finally:
        for onlooker in looking.values():
            onlooker.stop()
    return flows, tuple((f"RDMA from the GPUs of {name}", why) for name, why in ended.items())


def _await_looks(looks: Mapping[str, threading.Event], ended: dict[str, str], until: float) -> None:
    """Where nobody is seen to look by then, nothing is run."""
    for name, look in looks.items():
        while name not in ended and not look.wait(LOOK_S):
            if time.monotonic() >= until:
                ended.setdefault(name, BLIND)


def able(
    pairs: Sequence[tuple[str, str]], nodes: Mapping[str, Node]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs of nodes with GPUs that perftest can take on both, and which of the others were left out, with why."""
    there = [pair for pair in pairs if all(_has_gpus_and_hcas(nodes[name]) for name in pair)]
    whys = {name: why for pair in there for name in pair if (why := _why_no_cuda(nodes[name]))}
    alike: dict[str, list[str]] = {}
    for name, why in whys.items():
        alike.setdefault(why, []).append(name)
    left_out = [(f"RDMA from the GPUs of {listed(names)}", why) for why, names in alike.items()]
    return [pair for pair in there if not whys.keys() & set(pair)], left_out


def _has_gpus_and_hcas(node: Node) -> bool:
    gpus = node.gpus if is_known(node, "gpus") else ()
    return any(gpu.vendor == "nvidia" for gpu in gpus) and is_known(node, "hcas") and bool(node.hcas)


def _why_no_cuda(node: Node) -> str:
    system = node.rdma_system if is_known(node, "rdma_system") else None
    if system is None or not is_known(system, "perftest"):
        return "what perftest can there is not known"
    if system.perftest is None:
        return "perftest is not installed"
    return "" if system.perftest_cuda else "perftest was built without CUDA"


def _end(name: str, session: Session, ended: dict[str, str], why: str) -> None:
    ended.setdefault(name, why)
    session.stop_jobs()
