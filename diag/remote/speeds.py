"""What do the lines of a node's measurements say together? They become its record of speed; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from diag.facts.record import unknown
from diag.facts.speed import Bandwidth, Context, Fill, Fingerprint, Gemm, Load, Lost, P2p, Speed
from diag.probes.gpus_nvml import throttles
from diag.remote.child import Child
from diag.remote.schedule import Schedule
from diag.remote.session import JobEnd

FIELDS: Mapping[str, tuple[str, ...]] = {
    "gemms": ("gemm", "burn"),
    "bandwidths": ("hbm", "host copies", "far host copies", "all host copies"),
    "p2p": ("p2p",),
    "fills": ("fill",),
    "contexts": ("context",),
    "fingerprints": ("fingerprint",),
}
"""Field of the record -> topics of a schedule that fill it."""
GROWING = frozenset({"gemms"})
"""Each row of a child has all that its earlier ones had, so the last one counts."""
RECORDS: Mapping[str, type[msgspec.Struct]] = {
    "gemms": Gemm, "bandwidths": Bandwidth, "fills": Fill, "contexts": Context, "fingerprints": Fingerprint,
}  # fmt: skip


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One ``@diag`` line: the leader's own, or one about a ``child``."""

    child: int | None = None
    found: dict[str, Any] | None = None
    loads: tuple[dict[str, Any], ...] = ()
    failed: str | None = None
    ended: str | None = None
    why: str = ""
    phase: str | None = None
    stopped: str = ""
    interpreter: str = ""
    torch: str = ""


def speed(plan: Schedule, lines: Iterable[Mapping[str, Any]], end: JobEnd | None, seconds: float) -> Speed:
    """``end`` None: the job did not even end; what came until then is kept."""
    heard = [line for raw in lines if (line := _line(raw)) is not None]
    failed = {line.child: line.failed for line in heard if line.child is not None and line.failed}
    ends = {line.child: line for line in heard if line.child is not None and line.ended}
    told: dict[int, list[dict[str, Any]]] = {}
    for line in heard:
        if line.child is not None and line.found is not None:
            told.setdefault(line.child, []).append(line.found)
    whole = next((line.failed for line in heard if line.child is None and line.failed), "") or _last_words(heard, end)
    lost = [*plan.left_out]
    for child in plan.children():
        ended = ends.get(child.id)
        if ended is None or ended.ended != "done":
            how = ended.ended if ended is not None and ended.ended else "skipped"
            why = failed.get(child.id) or (ended.why if ended is not None else whole) or "no word of it"
            dtype = child.arguments.get("dtype") or ""
            lost.append(Lost(topic=child.topic, gpus=child.gpus, dtype=dtype, how=how, why=why))
    return Speed(
        level=plan.level,
        seconds=round(seconds, 3),
        interpreter=next((line.interpreter for line in heard if line.interpreter), ""),
        torch=next((line.torch for line in heard if line.torch), ""),
        visible=plan.hidden,
        stopped=next((line.stopped for line in heard if line.stopped), ""),
        lost=tuple(lost),
        loads=_loads(plan, heard),
        **_fields(plan, told),
    )


def _loads(plan: Schedule, heard: Iterable[Line]) -> Any:
    """``Known[tuple[Load, …]]``"""
    if plan.watch is None:
        return unknown("NVML was not asked under load")
    children = {child.id: child for child in plan.children()}
    told = ((children.get(line.child or 0), row) for line in heard for row in line.loads)
    found = tuple(load for child, row in told if child is not None and (load := _load(child, row)) is not None)
    return found or unknown("NVML did not answer while it was measured")


def _load(child: Child, row: Mapping[str, Any]) -> Load | None:
    """None: it is not of the form that it should have."""
    try:
        slowed: Counter[str] = Counter()
        for bits, looks in row["reasons"].items():
            slowed.update(dict.fromkeys(throttles(int(bits)), looks))
        return Load(
            gpu=child.gpus[child.uuids.index(row["uuid"])],
            during=" ".join([child.topic, *filter(None, [child.arguments.get("dtype")])]),
            looks=row["looks"],
            busy=row["busy"],
            told=row["told"],
            sm_mhz=row["sm_mhz"],
            power_w=row["power_w"],
            temperature_c=row["temperature_c"],
            slowed_by=tuple(slowed.most_common()),
            pcie_generation=row["generation"],
            pcie_width=row["width"],
        )
    except (KeyError, IndexError, ValueError, TypeError, AttributeError):
        return None


def _line(raw: Mapping[str, Any]) -> Line | None:
    try:
        return msgspec.convert(raw, Line)
    except msgspec.ValidationError:
        return None


def _last_words(heard: Sequence[Line], end: JobEnd | None) -> str:
    """Why the leader itself came to no end; empty: it did."""
    if any(line.phase == "done" for line in heard):
        return ""
    if end is None:
        return "the node stopped answering"
    words = [line for line in end.output.splitlines() if line.strip() and not line.startswith("@diag ")]
    after = next((line.phase for line in reversed(heard) if line.phase), "nothing")
    how = "was ended at its deadline" if end.timed_out else "ended"
    return f"all of it {how} after {after}{': ' + words[-1].strip()[:200] if words else ''}"


def _fields(plan: Schedule, told: Mapping[int, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    asked = {child.topic for child in plan.children()} | {lost.topic for lost in plan.left_out}
    fields: dict[str, Any] = {}
    for field, topics in FIELDS.items():
        if not asked & set(topics):
            fields[field] = unknown(f"not measured at level {plan.level}")
            continue
        rows: list[msgspec.Struct] = []
        for child in plan.children():
            said = told.get(child.id, ()) if child.topic in topics else ()
            good = [row for found in said if (row := _row(field, child, found)) is not None]
            rows += good[-1:] if field in GROWING else good
        fields[field] = tuple(rows)
    return fields


def _row(field: str, child: Child, found: Mapping[str, Any]) -> msgspec.Struct | None:
    """None: it is not of the form that it should have."""
    try:
        if field == "p2p":
            source, target = (child.gpus[place] for place in found["places"])
            rest = {name: value for name, value in found.items() if name != "places"}
            return _convert({**rest, "source": source, "target": target}, P2p)
        return _convert({**found, "gpu": child.gpus[0]}, RECORDS[field])
    except (msgspec.ValidationError, KeyError, IndexError, ValueError, TypeError):
        return None


def _convert(found: Mapping[str, Any], kind: type[msgspec.Struct]) -> msgspec.Struct:
    return msgspec.convert({**found, "record": kind.__name__.lower()}, kind)
