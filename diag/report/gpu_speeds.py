"""How fast is each model of GPU by itself: products, memory, the ways to the host and to each other?

Two forms: a line on the page, and with -v a table of all that was measured. Figures whose payload was wrong are none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from diag.facts.device import Gpu
from diag.facts.expected import Expected, expected, host_link, pair
from diag.facts.islands import LINK, paths
from diag.facts.rates import measured
from diag.facts.record import is_known
from diag.facts.snapshot import Snapshot
from diag.facts.speed import Bandwidth, Speed
from diag.report.figures import NONE, Figure, figure, odd_texts, table_lines
from diag.report.ink import Ink
from diag.report.places import Place
from diag.units import gb_per_s, megahertz, tflops

LABELS: Mapping[str, str] = {
    "clock": "clock in bf16", "hbm": "memory", "h2d": "H2D", "d2h": "D2H",
    "h2d far": "H2D, far NUMA node", "d2h far": "D2H, far NUMA node",
    "h2d_all": "H2D, all GPUs at once", "d2h_all": "D2H, all GPUs at once", "p2p": "GPU to GPU",
    "p2p host": "GPU to GPU by the host",
}  # fmt: skip
"""What was measured, as it is shown; products (GEMM) are called by their dtype."""
CLOCK, CLOCKED = "clock", "bf16"
"""The SM clock, while products of that dtype ran."""
BRIEF = ("bf16", "hbm", "h2d", "d2h", "p2p")


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """GPUs of one name; ``one``: any of them. ``rates``: what -> who -> bytes or operations a second.

    ``links``: how many join two of them, as far as that is known.
    """

    one: Gpu
    links: set[int]
    gpus: set[Place]
    rates: dict[str, dict[Place, float]]


def models(snapshot: Snapshot, kinds: Collection[str] = ()) -> dict[str, Model]:
    """By name; of ``kinds`` alone where some are named: of 1,000 nodes there are 150,000 figures."""
    found: dict[str, Model] = {}
    for node in measured(snapshot.nodes):
        own = {}
        for gpu in node.gpus:
            fresh = Model(one=gpu, links=set(), gpus=set(), rates=defaultdict(dict))
            own[gpu.index] = found.setdefault(gpu.name, fresh)
        for ends, way in paths(node).items():
            one = own.get(min(ends))
            if one is not None and way.path == LINK:
                one.links.add(way.links)
        for what, index, target, value in _rows(node.speed):
            if index in own and (not kinds or what in kinds):
                model, subject = own[index], f"gpu:{index}"
                model.gpus.add((node.name, subject))
                place = (node.name, subject if target is None else f"{subject}>{target}")
                model.rates[what][place] = value
    return {name: model for name, model in found.items() if model.rates}


def _rows(speed: Speed) -> Iterator[tuple[str, int, int | None, float]]:
    """What, GPU, the other one, and its figure."""
    for product in speed.gemms if is_known(speed, "gemms") else ():
        if product.verified:
            yield product.dtype, product.gpu, None, product.sustained_flops_per_s
    for load in speed.loads if is_known(speed, "loads") else ():
        if load.during == f"gemm {CLOCKED}" and load.sm_mhz is not None:
            yield CLOCK, load.gpu, None, float(load.sm_mhz)
    for copy in speed.bandwidths if is_known(speed, "bandwidths") else ():
        if copy.verified:
            yield _kind(copy), copy.gpu, None, copy.bytes_per_s
    for way in speed.p2p if is_known(speed, "p2p") else ():
        if way.verified:
            yield "p2p" if way.direct else "p2p host", way.source, way.target, way.bytes_per_s


def _kind(row: Bandwidth) -> str:
    return f"{row.kind} far" if row.near is False and row.kind in ("h2d", "d2h") else row.kind


def usual(model: Model, what: str) -> float | None:
    """What others measured on that model, or of that PCIe link; None: nothing is published."""
    gpu = model.one
    if what == CLOCK:
        most = gpu.clocks.sm_max if is_known(gpu, "clocks") and is_known(gpu.clocks, "sm_max") else None
        return None if most is None else float(most)
    called = what if what in LABELS else f"gemm {what}"
    if what == "p2p":
        fitting = pair(gpu.name, max(model.links, default=0)) if len(model.links) in (0, 1) else None
    else:
        fitting = _link(gpu) if what in ("h2d", "d2h") else expected(gpu.name, called)
    return fitting.typical if fitting is not None else None


def _link(gpu: Gpu) -> Expected | None:
    link = gpu.pcie if is_known(gpu, "pcie") else None
    if link is None or not (is_known(link, "generation_max") and is_known(link, "width_max")):
        return None
    generation, width = link.generation_max, link.width_max
    return host_link(generation, width) if generation and width else None


def _spell(what: str) -> Callable[[float], str]:
    if what == CLOCK:
        return megahertz
    return gb_per_s if what in LABELS else tflops


def _label(what: str) -> str:
    return LABELS.get(what, f"GEMM {what}")


def gpu_texts(snapshot: Snapshot) -> Iterable[str]:
    """``32 × NVIDIA H100: bf16 733.5–736.5 TFLOP/s (expected 794.5), memory …``, a line for each model."""
    for name, model in models(snapshot, BRIEF).items():
        found = {what: figure(model.rates[what]) for what in BRIEF if what in model.rates}
        told = ", ".join(f"{_label(what)} {_beside(model, what, each)}" for what, each in found.items())
        odd = odd_texts(*_labelled(found))
        if told:
            yield "; ".join([f"{len(model.gpus):,} × {name}: {told}", *odd])


def _beside(model: Model, what: str, found: Figure) -> str:
    wanted = usual(model, what)
    of = f" (expected {_spell(what)(wanted).partition(' ')[0]})" if wanted is not None else ""
    return found.shown(_spell(what)) + of


def _labelled(found: Mapping[str, Figure]) -> tuple[dict[str, Figure], dict[str, Callable[[float], str]]]:
    labels = {what: _label(what) for what in found}
    return {labels[what]: each for what, each in found.items()}, {labels[what]: _spell(what) for what in found}


def gpu_lines(snapshot: Snapshot, ink: Ink) -> list[str]:
    """All figures of each model in a table."""
    lines: list[str] = []
    for name, model in models(snapshot).items():
        order = [what for what in model.rates if what not in LABELS] + [what for what in LABELS if what in model.rates]
        found = {what: figure(model.rates[what]) for what in order}
        rows = [(_label(what), found[what].shown(_spell(what)), _wanted(model, what)) for what in order]
        lines += ink.wrap(f"{len(model.gpus):,} × {name}", indent=0)
        lines += table_lines(("", "measured", "expected"), rows, ink)
        lines += [f"  {line}" for text in odd_texts(*_labelled(found)) for line in ink.wrap(text, indent=2)]
    return lines


def _wanted(model: Model, what: str) -> str:
    wanted = usual(model, what)
    told = _spell(what)(wanted) if wanted is not None else NONE
    return f"at most {told}" if what == CLOCK and wanted is not None else told
