"""What is measured on a node at each level, in which rounds, and until when? Decided from facts alone; pure.

Estimates are of a process that imports nothing, makes a CUDA context and measures; they decide what fits into a level's
time and nothing else: what takes longer is ended at its deadline, and named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import msgspec

from diag.facts.derived import usable_memory_bytes
from diag.facts.device import Gpu
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known, peek
from diag.facts.speed import Lost
from diag.participants import seen_gpus, without_cuda, without_gpus, without_torch
from diag.remote.child import Child, sight
from diag.remote.watched import stop_c, watched
from diag.units import GIB, MIB

SECONDS: Mapping[str, float] = {"quick": 30.0, "normal": 180.0}
"""Of a node, all of it but a ladder; burn: those of normal and the minutes that were asked for."""
IMPORT_S = 8.0
STARTED_S = 2.0
"""A context, a library, the first result checked."""
GRACE_TIMES, GRACE_S = 3.0, 10.0
"""A child is ended past three times what it should last, and ten seconds."""
LONG_S, LONG_GRACE_S = 60.0, 30.0
"""One that lasts longer than a minute: past that, its start, its check and two stretches."""
COLLECTIVES_S = 60.0
"""Of a normal level's time, for what all GPUs of the node do together, beside what each by itself did not need."""
STAGGER_S = 3.0
PINNED_SHARE = 0.05
MOST_TURNS = 4
"""Of GPUs beside one NUMA node."""
LARGEST_PINNED_BYTES, LEAST_PINNED_BYTES = 256 * MIB, 16 * MIB
HBM_BYTES, P2P_BYTES = GIB, 256 * MIB
GEMM_N = 8192
FP8_SINCE = (8, 9)
GEMMS_S: Mapping[str, Mapping[str, float]] = {
    "quick": {"bf16": 1.0},
    "normal": {"bf16": 4.0, "fp16": 2.0, "fp8": 2.0, "tf32": 2.0, "fp32": 1.0},
}
"""Level -> dtype -> seconds of load; burn: as normal, and bf16 for its minutes."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """``rounds`` follow each other, the children of one run side by side. ``seconds``: the whole, at most."""

    level: str
    rounds: tuple[tuple[Child, ...], ...]
    seconds: float
    expected_s: float
    watch: dict[str, Any] | None = None
    left_out: tuple[Lost, ...] = ()
    hidden: str = ""

    def children(self) -> Iterable[Child]:
        return (child for each in self.rounds for child in each)


def schedule(node: Node, level: str, *, minutes: float = 0.0, busy: str = "", late_s: float = 0.0) -> Schedule:
    """Raises NotMeasured where nothing can be measured. ``busy``: why the node is, if it may be loaded all the same."""
    gpus, hidden = _gpus(node)
    plan = _Plan(node, gpus, level, busy)
    plan.gemms()
    plan.memory()
    plan.host()
    plan.same_bits()
    if level != "quick":
        plan.truths()
        plan.pairs()
    if level == "burn":
        plan.burn(minutes * 60, late_s)
    limit_s = SECONDS["quick"] if level == "quick" else SECONDS["normal"] - COLLECTIVES_S
    return Schedule(
        level=level,
        rounds=tuple(plan.rounds),
        seconds=limit_s + (_burn_s(minutes * 60, late_s, len(plan.gpus)) if level == "burn" else 0),
        expected_s=round(plan.expected_s, 1),
        watch=watched(node, plan.gpus, level),
        left_out=tuple(plan.left_out),
        hidden=hidden,
    )


def _gpus(node: Node) -> tuple[tuple[Gpu, ...], str]:
    if reason := without_torch(node) or without_cuda(node):
        raise NotMeasured(reason)
    gpus, hidden = seen_gpus(node)
    if not gpus:
        raise NotMeasured(hidden or "no GPU answered")
    if reason := without_gpus(node):
        raise NotMeasured(reason)
    return gpus, hidden


class _Plan:
    """Rounds, as they are added, and how long they should last."""

    def __init__(self, node: Node, gpus: Sequence[Gpu], level: str, busy: str) -> None:
        self.node, self.gpus, self.level, self.busy = node, gpus, level, busy
        self.rounds: list[tuple[Child, ...]] = []
        self.left_out: list[Lost] = []
        self.expected_s = IMPORT_S
        self._number = 0

    def gemms(self) -> None:
        for dtype, seconds in GEMMS_S["quick" if self.level == "quick" else "normal"].items():
            able = [gpu for gpu in self.gpus if dtype != "fp8" or _has_fp8(gpu)]
            self._together("gemm", "gemm:measure", able, seconds, dtype=dtype, n=GEMM_N, seconds=seconds)

    def memory(self) -> None:
        seconds = 0.3 if self.level == "quick" else 1.0
        self._together("hbm", "copies:inside", self.gpus, seconds, size_bytes=HBM_BYTES, seconds=seconds)

    def host(self) -> None:
        """One GPU of each NUMA node at a time; and, but for quick, from far memory, and all of them at once."""
        most = self._pinned_bytes(len(self.gpus))
        if most < LEAST_PINNED_BYTES:
            self._leave_out("host copies", "5 % of the host's free memory are too little to pin", self.gpus)
            return
        seconds = 0.2 if self.level == "quick" else 0.5
        about = {"size_bytes": most, "seconds": seconds, "directions": ["h2d", "d2h"]}
        self._by_numa("host copies", about, 2 * seconds)
        if self.level != "quick":
            self._by_numa("far host copies", {**about, "far": True}, 2 * seconds)
            children = [
                self._child("all host copies", "copies:with_host", (gpu,), 2 * seconds,
                            {**about, "directions": ["h2d_all", "d2h_all"], "pci_address": _address(gpu)})
                for gpu in self.gpus
            ]  # fmt: skip
            self._add(children, 2 * seconds)

    def same_bits(self) -> None:
        quick = self.level == "quick"
        self._together(
            "fingerprint", "fingerprint:measure", self.gpus, 2.0, n=2048 if quick else 4096, rounds=2 if quick else 3
        )

    def truths(self) -> None:
        self._together("context", "context:measure", self.gpus, STARTED_S)
        if self.busy:
            self._leave_out("fill", f"memory is never filled where others work: {self.busy}", self.gpus)
        else:
            self._together("fill", "fill:measure", self.gpus, 5.0)

    def pairs(self) -> None:
        """Last, one pair first. All one by one where that fits; else pairs without a GPU in common side by side."""
        pairs = list(combinations(self.gpus, 2))
        if not pairs:
            return
        each_s = STARTED_S + 0.5
        left_s = SECONDS["normal"] - COLLECTIVES_S - self.expected_s
        rounds = [[pair] for pair in pairs] if len(pairs) * each_s <= left_s else [[pairs[0]], *_disjoint(self.gpus)]
        for group in rounds:
            if self.expected_s + each_s > SECONDS["normal"] - COLLECTIVES_S:
                for pair in group:
                    self._leave_out("p2p", "no time for this pair at this level", pair)
                continue
            about = {"size_bytes": P2P_BYTES, "seconds": 0.1}
            self._add([self._child("p2p", "p2p:pair", pair, 0.5, about, wedge="p2p") for pair in group], 0.5)

    def burn(self, seconds: float, late_s: float) -> None:
        if self.busy:
            self._leave_out("burn", f"nothing is burnt in where others work: {self.busy}", self.gpus)
            return
        limits_c = stop_c(self.gpus)
        able = [gpu for gpu in self.gpus if peek(gpu, "uuid") in limits_c]
        self._leave_out("burn", "where it slows itself down is not known, so nobody could stop before", [
            gpu for gpu in self.gpus if gpu not in able
        ])  # fmt: skip
        about = {"dtype": "bf16", "n": GEMM_N, "seconds": seconds}
        children = [
            self._child("burn", "gemm:measure", (gpu,), seconds, about, delay_s=late_s + place * STAGGER_S)
            for place, gpu in enumerate(able)
        ]
        self._add(children, seconds)

    # -- how

    def _pinned_bytes(self, at_once: int) -> int:
        available = usable_memory_bytes(self.node) if is_known(self.node, "memory") else 0
        share_bytes = min(LARGEST_PINNED_BYTES, int(available * PINNED_SHARE) // at_once)
        return 1 << share_bytes.bit_length() >> 1  # torch rounds what it pins up to a power of two

    def _together(self, topic: str, call: str, gpus: Sequence[Gpu], lasts_s: float, **arguments: Any) -> None:
        self._add([self._child(topic, call, (gpu,), lasts_s, arguments) for gpu in gpus], lasts_s)

    def _by_numa(self, topic: str, about: Mapping[str, Any], lasts_s: float) -> None:
        """One of each NUMA node at a time; of many some, far apart, so that they seldom share a switch."""
        sides: dict[int | None, list[Gpu]] = {}
        for gpu in self.gpus:
            numa = peek(gpu, "numa_node")
            sides.setdefault(numa if isinstance(numa, int) else None, []).append(gpu)
        turns = min(MOST_TURNS, max(map(len, sides.values())))
        for turn in range(turns):
            group = [gpu for gpus in sides.values() for gpu in gpus[turn::turns]]
            self._add(
                [
                    self._child(topic, "copies:with_host", (gpu,), lasts_s, {**about, "pci_address": _address(gpu)})
                    for gpu in group
                ],
                lasts_s,
            )

    def _child(  # noqa: PLR0917 - columns of a table
        self, topic: str, call: str, gpus: Sequence[Gpu], lasts_s: float, arguments: Mapping[str, Any],
        delay_s: float = 0.0, wedge: str = "",
    ) -> Child:  # fmt: skip
        self._number += 1
        seen = sight(gpus, self.gpus)
        return Child(
            id=self._number,
            topic=topic,
            gpus=tuple(gpu.index for gpu in gpus),
            call=call,
            arguments=dict(arguments),
            devices=seen.devices,
            numbered=seen.numbered,
            visible=seen.visible,
            uuids=seen.uuids,
            deadline_s=round(_deadline_s(lasts_s), 1),
            delay_s=delay_s,
            wedge=wedge,
        )

    def _add(self, children: Sequence[Child], lasts_s: float) -> None:
        if children:
            self.rounds.append(tuple(children))
            self.expected_s += STARTED_S + lasts_s

    def _leave_out(self, topic: str, why: str, gpus: Sequence[Gpu]) -> None:
        if gpus:
            numbers = tuple(gpu.index for gpu in gpus)
            self.left_out.append(Lost(topic=topic, gpus=numbers, how="skipped", why=why))


def _deadline_s(lasts_s: float) -> float:
    return lasts_s + LONG_GRACE_S if lasts_s > LONG_S else lasts_s * GRACE_TIMES + GRACE_S


def _burn_s(seconds: float, late_s: float, gpus: int) -> float:
    return late_s + STAGGER_S * gpus + seconds + LONG_GRACE_S


def _address(gpu: Gpu) -> str:
    return gpu.pci_address if is_known(gpu, "pci_address") else ""


def _has_fp8(gpu: Gpu) -> bool:
    said = peek(gpu, "compute_capability")
    numbers = said.split(".") if isinstance(said, str) else []
    return gpu.vendor == "nvidia" and len(numbers) == 2 and tuple(map(int, numbers)) >= FP8_SINCE  # noqa: PLR2004


def _disjoint(gpus: Sequence[Gpu]) -> list[list[tuple[Gpu, Gpu]]]:
    """Rounds in which every GPU is in one pair (circle method); the very first pair is left to be run alone."""
    ring: list[Gpu | None] = [*gpus, *([None] if len(gpus) % 2 else [])]
    rounds = []
    for _ in range(len(ring) - 1):
        half = len(ring) // 2
        met = zip(ring[:half], reversed(ring[half:]), strict=True)
        rounds.append([(a, b) for a, b in met if a is not None and b is not None and {a, b} != {gpus[0], gpus[1]}])
        ring = [ring[0], ring[-1], *ring[1:-1]]
    return [pairs for pairs in rounds if pairs]
