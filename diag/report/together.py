"""What do collectives among the GPUs of one node reach? Nodes that are measured alike share a line and a table.

Two forms: a line on the page, and with -v tables. Small messages are told by their time, which decides how fast tokens
are decoded; large ones by busbw.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median

import msgspec

from diag.facts.node import Node
from diag.facts.rates import measured, models, published
from diag.facts.record import NotMeasured, is_known
from diag.facts.snapshot import Snapshot
from diag.facts.speed import CollectiveTime, NodeCollectives, Rung
from diag.report.figures import NONE, Figure, figure, odd_texts, table_lines
from diag.report.ink import Ink
from diag.report.places import Place, shortened
from diag.units import KIB, MIB, gb_per_s, seconds, size

SMALL_BYTES = MIB
"""Up to here the time is told, above it busbw."""
PUBLISHED_BYTES = 256 * MIB
ALL_REDUCE = "all_reduce"
EAGER, CAPTURED = "eager", "in graph"
COLUMNS = (EAGER, CAPTURED, "defaults", "graph", "PyNccl", "custom")
VLLM = {"vllm_pynccl": "PyNccl", "vllm_custom": "custom"}
SIZES = (8 * KIB, MIB)
"""What the page tells beside the largest; with -v of kinds other than the all-reduce, too."""
BOUND = "NCCL's times of small messages are an upper bound: engines reduce those with kernels of their own"

Cell = tuple[str, str, int]
"""Collective, column, bytes."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes with as many GPUs of one model under one library and environment; ``one``: any of their records.

    ``expected``: bytes a second; None: nothing is published of such GPUs, joined as those of the first node are.
    """

    one: NodeCollectives
    expected: float | None
    gpu: str
    nodes: list[str]
    cells: dict[Cell, dict[Place, float]]

    def sizes(self, kind: str) -> list[int]:
        return sorted({cell[2] for cell in self.cells if cell[0] == kind})

    def figure(self, cell: Cell) -> Figure | None:
        values = self.cells.get(cell)
        return figure(values, times=cell[2] <= SMALL_BYTES) if values else None


def groups(snapshot: Snapshot) -> list[Group]:
    found: dict[tuple[object, ...], Group] = {}
    for node, one in _each(snapshot):
        names = "/".join(sorted(set(models(node).values())))
        alike = (names, one.backend, one.world_size, one.library, one.engine, one.engine_variables)
        if alike not in found:
            found[alike] = Group(one=one, expected=_expected(node, one), gpu=names, nodes=[], cells=defaultdict(dict))
        group = found[alike]
        group.nodes.append(node.name)
        for row in one.times:
            value = median(row.times_s) if row.size_bytes <= SMALL_BYTES else row.busbw_bytes_per_s
            if row.verified and value > 0:
                group.cells[_cell(row)][node.name, None] = value
    return list(found.values())


def _expected(node: Node, one: NodeCollectives) -> float | None:
    try:
        found = published(node, one, nvls=one.log.nvls if is_known(one, "log") else None)
    except NotMeasured:
        return None
    return None if found is None else found.typical


def _each(snapshot: Snapshot) -> Iterator[tuple[Node, NodeCollectives]]:
    for node in measured(snapshot.nodes):
        if is_known(node.speed, "collectives"):
            yield node, node.speed.collectives


def _cell(row: CollectiveTime) -> Cell:
    if row.collective in VLLM:
        return ALL_REDUCE, VLLM[row.collective], row.size_bytes
    column = COLUMNS[int(row.captured) + 2 * (row.environment == "default")]
    return row.collective, column, row.size_bytes


def _spell(size_bytes: int) -> Callable[[float], str]:
    return seconds if size_bytes <= SMALL_BYTES else gb_per_s


def _places(nodes: Sequence[str]) -> str:
    return shortened([(name, None) for name in nodes])


# -- on the page


def together_texts(snapshot: Snapshot) -> Iterable[str]:
    """``all-reduce of 8 GPUs in gpu[01-04]: 8.0 KiB 24 µs, in a CUDA graph 20 µs; …``"""
    bound = False
    for group in groups(snapshot):
        told = _briefly(group)
        if told:
            yield f"all-reduce of {_ranks(group.one)} in {_places(group.nodes)}: {'; '.join(told)}"
            bound = bound or (group.one.backend == "nccl" and group.sizes(ALL_REDUCE)[0] <= SMALL_BYTES)
    if bound:
        yield BOUND
    yield from ladder_texts(snapshot)
    yield from left_out_texts(snapshot)


def _ranks(one: NodeCollectives) -> str:
    return f"{one.world_size} {'GPUs' if one.backend == 'nccl' else f'ranks of {one.backend}'}"


def _briefly(group: Group) -> list[str]:
    every = group.sizes(ALL_REDUCE) if group.one.world_size > 1 else []
    chosen = [each for each in every if each in (*SIZES, every[-1])]
    told, found, spell = [], {}, {}
    for size_bytes in chosen:
        words = []
        for column, called in ((EAGER, ""), (CAPTURED, "in a CUDA graph "), ("custom", "vLLM's own ")):
            each = group.figure((ALL_REDUCE, column, size_bytes))
            if each is not None and (column == EAGER or size_bytes <= SMALL_BYTES):
                words.append(f"{called}{each.shown(_spell(size_bytes))}")
                found[f"{size(size_bytes)} {column}"], spell[f"{size(size_bytes)} {column}"] = each, _spell(size_bytes)
        told.append(f"{size(size_bytes)} {', '.join(words)}{_usual(group, size_bytes)}")
    return [*told, *odd_texts(found, spell)]


def _usual(group: Group, size_bytes: int) -> str:
    if size_bytes < PUBLISHED_BYTES or group.expected is None:
        return ""
    return f" (expected {group.expected / 1e9:.1f})"


def ladder_texts(snapshot: Snapshot) -> Iterable[str]:
    said: dict[str, list[str]] = defaultdict(list)
    for node, one in _each(snapshot):
        if one.ladder:
            said[one.ladder_says or "no step told what is at fault"].append(node.name)
    for text, names in said.items():
        yield f"{_places(names)}: all-reduce with one way after the other switched off: {text}"


def left_out_texts(snapshot: Snapshot) -> Iterable[str]:
    """``not measured inside gpu[01-04]: vLLM's own all-reduces: no time was left``; for one reason once."""
    reasons: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for node, one in _each(snapshot):
        for what, why in one.left_out:
            reasons[why][what].append(node.name)
    for why, found in reasons.items():
        nodes = dict.fromkeys(name for names in found.values() for name in names)
        yield f"not measured inside {_places(list(nodes))}: {', '.join(found)}: {why}"


# -- with -v


def together_lines(snapshot: Snapshot, ink: Ink) -> list[str]:
    lines: list[str] = []
    for group in groups(snapshot):
        if group.one.world_size > 1 and group.cells:
            lines += ink.wrap(f"collectives of {_ranks(group.one)} in {_places(group.nodes)}", indent=0)
            lines += [f"  {line}" for text in _legend(group) for line in ink.wrap(text, indent=2)]
            lines += _tables(group, ink)
    for node, one in _each(snapshot):
        if one.ladder:
            lines += ink.fields(f"{node.name}  ", [_step(rung) for rung in one.ladder], indent=len(node.name) + 2)
    return lines


def _legend(group: Group) -> list[str]:
    """What the columns mean; only of those that are there."""
    one, there = group.one, {column for _, column, _ in group.cells}
    variables = " ".join(f"{name}={value}" for name, value in one.engine_variables)
    whose = f"the environment of {one.engine}" if one.engine else "the node's own environment"
    texts = [
        f"{one.library or one.backend}; {EAGER}, {CAPTURED} (CUDA): {whose}{f' ({variables})' if variables else ''}"
    ]
    if "defaults" in there:
        texts.append("defaults, graph: the same without these variables")
    if there & set(VLLM.values()):
        texts.append("PyNccl, custom: vLLM's own all-reduces")
    if one.backend == "nccl":
        texts.append(BOUND)
    return texts


def _tables(group: Group, ink: Ink) -> list[str]:
    kinds = sorted({cell[0] for cell in group.cells}, key=lambda kind: (kind != ALL_REDUCE, kind))
    columns = [column for column in COLUMNS if any(cell[1] == column for cell in group.cells)]
    rows, found, spell = [], {}, {}
    for kind in kinds:
        every = group.sizes(kind)
        for size_bytes in [each for each in every if kind == ALL_REDUCE or each in (*SIZES, every[-1])]:
            figures = [group.figure((kind, column, size_bytes)) for column in columns]
            rows.append((_row(kind, size_bytes), *(_shown(each, size_bytes) for each in figures)))
            for column, each in zip(columns, figures, strict=True):
                if each is not None:
                    called = f"{kind} {size(size_bytes)} {column}"
                    found[called], spell[called] = each, _spell(size_bytes)
    told = [f"  {line}" for text in odd_texts(found, spell) for line in ink.wrap(text, indent=2)]
    return [*table_lines(("", *columns), rows, ink), *told]


def _row(kind: str, size_bytes: int) -> str:
    return f"{kind} {size(size_bytes)} {'µs' if size_bytes <= SMALL_BYTES else 'GB/s'}"


def _shown(each: Figure | None, size_bytes: int) -> str:
    """In the unit that the row names."""
    if each is None:
        return NONE
    scale = 1e6 if size_bytes <= SMALL_BYTES else 1e-9
    low, high = _digits(each.low * scale), _digits(each.high * scale)
    return low if low == high else f"{low}–{high}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004 - two digits below


def _step(rung: Rung) -> str:
    """``NVLS off: busbw 370.0 GB/s, a small one in 30 µs``"""
    told = []
    if rung.busbw_bytes_per_s is not None:
        told.append(f"busbw {gb_per_s(rung.busbw_bytes_per_s)}")
    if rung.latency_s is not None:
        told.append(f"a small one in {seconds(rung.latency_s)}")
    told += ["not known"] * (not rung.known)
    told += ["SUMS WRONG"] * (not rung.verified) + [rung.why] * bool(rung.why)
    return f"{rung.step}: {', '.join(told) or 'nothing came through'}"
