"""What was done on how many nodes, what is not there, and what was measured? The head of the page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from statistics import median

from diag.facts.derived import accelerators, has_rdma
from diag.facts.node import Node
from diag.facts.record import Missing, is_known, peek
from diag.facts.snapshot import Snapshot
from diag.facts.tiers import tier_fits
from diag.inventory import fold
from diag.report.gpu_speeds import gpu_texts
from diag.report.ink import Ink
from diag.report.links import link_texts
from diag.report.places import number_of
from diag.report.shown import Shown
from diag.report.sides import side_lines
from diag.report.together import together_texts
from diag.units import gb_per_s, gbit_per_s, seconds, size

LABEL = 13
SUMMARIES = {"links": "links", "collectives": "collective", "gloo": "gloo", "retry": "without"}
"""Stage -> the field that it fills."""
NEAR = 0.9
"""A node that reads slower than this share of the median is named."""


def stage_lines(shown: Shown, ink: Ink) -> list[str]:
    """``facts        4/4    0.6 s``, with a note where there is one."""
    lines: list[str] = []
    for stage in shown.verdicts.stages:
        of = f"{stage.nodes_done}/{stage.nodes_total}"
        head = f"{stage.name:<{LABEL}}{of:<9}{_took(stage.seconds):>8}"
        note = _note(stage.name, shown)
        style = "" if stage.nodes_done == stage.nodes_total else "not_measured"
        tail = ink.wrap(note, indent=len(head) + 3) if note else [""]
        lines.append(ink(head, style) + ("   " + ink(tail[0]) if note else ""))
        lines += [" " * (len(head) + 3) + ink(line) for line in tail[1:]]
    return lines


def _took(duration_s: float) -> str:
    """Seconds in one column: stages are compared with each other."""
    return f"{duration_s:.1f} s" if duration_s < 100 else seconds(duration_s)  # noqa: PLR2004 - as units.seconds


def _note(stage: str, shown: Shown) -> str:
    if stage not in SUMMARIES:
        return f"slowest {shown.slowest[stage]}" if stage in shown.slowest else ""
    found = peek(shown.snapshot, SUMMARIES[stage])
    if found is None:
        return ""
    if isinstance(found, Missing):
        return f"not measured: {found.why}"
    return str(found.summary)


def head_lines(shown: Shown, ink: Ink) -> list[str]:
    """What is not there, what was measured, what a person should know before reading on."""
    lines: list[str] = []
    for label, texts in (
        ("not there", _absent(shown.snapshot)),
        ("measured", _measured(shown.snapshot)),
        ("inside", side_lines(shown.snapshot)),
        ("note", _notes(shown.snapshot)),
        ("left behind", _left_behind(shown.snapshot)),
    ):
        style = "failed" if label == "left behind" else ""
        for position, text in enumerate(texts):
            lines += ink.field(label if position == 0 else "", text, indent=LABEL, style=style)
    return lines


def _absent(snapshot: Snapshot) -> list[str]:
    """Proven from the bus, never concluded from silence."""
    kinds: tuple[tuple[str, Callable[[Node], object]], ...] = (
        ("no accelerator", accelerators),
        ("no RDMA device (HCA)", has_rdma),
    )
    texts = []
    for words, found in kinds:
        without = [node.name for node in snapshot.nodes if is_known(node, "devices") and not found(node)]
        if without:
            which = "" if len(without) == len(snapshot.nodes) else f" ({fold(without)})"
            texts.append(f"{words} on {len(without):,} of {number_of(len(snapshot.nodes), 'node')}{which}")
    return texts


def _measured(snapshot: Snapshot) -> list[str]:
    return [
        *link_texts(snapshot),
        *_all_reduce(snapshot),
        *_tiers(snapshot),
        *gpu_texts(snapshot),
        *together_texts(snapshot),
        *_reads(snapshot),
    ]


def _all_reduce(snapshot: Snapshot) -> Iterable[str]:
    if not is_known(snapshot, "collective") or not snapshot.collective.steps:
        return
    collective = snapshot.collective
    steps = collective.steps
    spelled = gb_per_s if collective.backend == "nccl" else gbit_per_s  # gloo crosses network links only
    rates = ", ".join(
        f"{spelled(s.busbw_bytes_per_s)} at {size(s.size_bytes)}" for s in (steps[-1], steps[0])[: len(steps)]
    )
    sums = "every sum right" if all(step.verified for step in steps) else "SUMS WRONG"
    over = f" over {collective.interface}" if collective.interface else ""
    why = f" ({collective.interface_why})" if collective.interface_why else ""
    of = f"{collective.world_size} ranks on {len(collective.nodes):,} of {number_of(len(snapshot.nodes), 'node')}"
    yield f"all-reduce busbw {rates}; {collective.backend}, {of}{over}{why}; {sums}"


def _tiers(snapshot: Snapshot) -> Iterable[str]:
    """``all-reduce time: inside a node 12 µs + size / 240 GB/s; nodes 21 µs + size / 11.2 GB/s``"""
    fits = tier_fits(snapshot)
    if fits:
        yield "all-reduce time: " + "; ".join(
            f"{tier.name} {seconds(tier.cost.latency_s)} + size / {gb_per_s(tier.cost.bytes_per_s)}" for tier in fits
        )


def _reads(snapshot: Snapshot) -> Iterable[str]:
    speeds = {node.name: node.read_speed for node in snapshot.nodes if is_known(node, "read_speed")}
    if not speeds:
        return
    path = next(iter(speeds.values())).path
    rates = {name: speed.bytes_per_s for name, speed in speeds.items()}
    slowest = min(rates, key=lambda name: rates[name])
    middle = median(rates.values())
    far = f"; slowest {slowest} {gb_per_s(rates[slowest])}" if rates[slowest] < NEAR * middle else ""
    yield f"read {path} at {gb_per_s(middle)}" + (f" (median of {len(rates)} nodes{far})" if len(rates) > 1 else "")


def _notes(snapshot: Snapshot) -> list[str]:
    """What was not obeyed or differs from what was asked, said once for all nodes that it holds for."""
    said: dict[str, list[str]] = defaultdict(list)
    for node in snapshot.nodes:
        for line in node.reach.advice:
            said[line].append(node.name)
        if node.reach.login_noise_bytes:
            said["the login shell prints before the command runs (skipped)"].append(node.name)
    notes = [f"{fold(names)}: {line}" for line, names in said.items()]
    notes += [f"level {snapshot.level}: {snapshot.level_why}"] if snapshot.level_why else []
    return [*notes, *(["interrupted: what was known by then is below"] if snapshot.interrupted else [])]


def _left_behind(snapshot: Snapshot) -> list[str]:
    known = [node for node in snapshot.nodes if is_known(node, "left_behind")]
    return [f"{node.name}: {line}" for node in known for line in node.left_behind]
