"""What do the ranks' words about collectives in a node come to: times, what is not there, and why? Pure."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from diag.facts.node import Node
from diag.facts.record import is_known
from diag.facts.speed import CollectiveTime
from diag.participants import seen_gpus
from diag.remote.hearing import Hearing, Measured
from diag.units import size

FACTORS: Mapping[str, float] = {"all_reduce": 2.0, "vllm_custom": 2.0, "vllm_pynccl": 2.0}
"""Of (n-1)/n · size/time; broadcast: size/time itself, others 1 (nccl-tests, PERFORMANCE.md)."""
CALLED: Mapping[str, str] = {"vllm_custom": "vLLM's custom all-reduce", "vllm_pynccl": "vLLM's PyNccl"}


def times(heard: Hearing, ranks: int, environment: str) -> list[CollectiveTime]:
    """As slow as on the slowest rank, right where it is on all; what some rank did not tell is none."""
    rows: dict[tuple[str, bool, int], list[Measured]] = {}
    for told in heard.measured.values():
        for row in told:
            if not row.why and row.times_s:
                rows.setdefault((row.collective, row.captured, row.size_bytes), []).append(row)
    found = []
    for (kind, captured, size_bytes), each in rows.items():
        if len(each) < ranks:
            continue
        times_s = tuple(max(times) for times in zip(*(row.times_s for row in each), strict=False))
        found.append(
            CollectiveTime(
                collective=kind,
                environment=environment,
                captured=captured,
                size_bytes=size_bytes,
                times_s=times_s,
                busbw_bytes_per_s=busbw(kind, ranks, size_bytes, median(times_s)),
                verified=all(row.verified for row in each),
            )
        )
    return found


def busbw(kind: str, ranks: int, size_bytes: int, time_s: float) -> float:
    if kind == "broadcast":
        return size_bytes / time_s
    return FACTORS.get(kind, 1.0) * (ranks - 1) / ranks * size_bytes / time_s


def gpus(heard: Hearing, node: Node, ranks: int) -> tuple[int, ...]:
    """Each rank's, as it said; where one did not, in the order in which CUDA shows them. Empty: not known."""
    by_uuid = {gpu.uuid: gpu.index for gpu in node.gpus if is_known(gpu, "uuid")}
    told = [by_uuid[heard.gpus[rank]] for rank in range(ranks) if heard.gpus.get(rank) in by_uuid]
    if len(told) == ranks:
        return tuple(told)
    seen = seen_gpus(node)[0] if is_known(node, "settings") else node.gpus
    return tuple(gpu.index for gpu in seen) if len(seen) == ranks else ()


def left_out(heard: Hearing, environment: str) -> list[tuple[str, str]]:
    """What was not to be had, and why; sizes of one kind for the same reason are one."""
    sizes: dict[tuple[str, bool, str], set[int]] = {}
    for told in heard.measured.values():
        for row in told:
            if row.why:
                sizes.setdefault((row.collective, row.captured, row.why), set()).add(row.size_bytes)
    return [(_what(kind, captured, each, environment), why) for (kind, captured, why), each in sizes.items()]


def _what(kind: str, captured: bool, sizes: set[int], environment: str) -> str:
    """``all_gather in a CUDA graph of 1.0 KiB to 1.0 GiB``"""
    words = [CALLED.get(kind, kind)] + ["in a CUDA graph"] * captured
    words += ["under the library's defaults"] * (environment == "default")
    if any(sizes):
        low, high = size(min(sizes)), size(max(sizes))
        words.append(f"of {low}" if low == high else f"of {low} to {high}")
    return " ".join(words)


def communicators(heard: Hearing) -> tuple[tuple[int, int], ...]:
    """Ranks -> bytes. The first one of a process takes what NCCL itself needs along: so much more than one like it."""
    found: dict[int, int] = {}
    for rank, weighed in heard.communicators.items():
        first, like_it = heard.communicator_bytes.get(rank), weighed.sizes.get(heard.who.world_size)
        if first is None or like_it is None:
            continue
        itself = max(0, first + (weighed.grown or 0) - like_it)
        for ranks, taken in weighed.sizes.items():
            found[ranks] = max(found.get(ranks, 0), itself + (taken or 0))
    return tuple(sorted(found.items()))
