"""How does the command line plan for a Snapshot and tell the plan?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from diag.cli import wanting
from diag.declared import declared_snapshot
from diag.engines import ENGINES, plan_launch
from diag.engines.versions import is_version
from diag.errors import DiagError
from diag.facts import snapshot as snapshots
from diag.facts.plan import EngineName, Plan
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import Verdicts
from diag.inventory import gpusets
from diag.inventory.gpusets import Part
from diag.planner.backends import OtherEngineError
from diag.planner.exclusion import OPTION, without
from diag.planner.model.models import example
from diag.planner.plan import STABLE
from diag.planner.unfit import cautions
from diag.planner.wanted import Wanted
from diag.report.ink import Ink
from diag.report.launch import plan_lines
from diag.report.machine import plan_json, plans_json
from diag.report.plans_table import plans_table
from diag.rundir import last_run

STATUS = {"FITS": 0, "RISKY": 0, "NO": 1, "UNKNOWN": 3}
ALL, DEFAULT_ENGINE = "all", "vllm"
MOST_JUDGED = 100
"""Nodes: of more it takes seconds."""
VERDICTS = "verdicts.json"
NOT_JUDGED = "whether its nodes and GPUs are fit was not judged"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """All that was typed, beside the Snapshot."""

    model: str | None
    engine: str
    goal: wanting.Goal
    context: int | None
    concurrency: int | None
    settings: Sequence[str]
    exclude: str | None
    as_json: bool
    explain: bool
    hardware: str | None
    gpu_memory: int | None
    gpu_free: int | None
    compute_capability: str | None
    link: float | None


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan must leave out, or warn of. ``verdicts`` None: nothing was judged. ``command``: plans it again."""

    excluded: tuple[Part, ...] = ()
    verdicts: Verdicts | None = None
    said: tuple[str, ...] = ()
    command: str


def engine_and_version(text: str, also: str = "") -> tuple[str, str | None]:
    """``vllm==0.33.0`` -> name and version. Raises DiagError for what names none that diag knows."""
    name, pinned, version = text.partition("==")
    if name not in ENGINES:
        raise DiagError("--engine", f"{name!r} is not known", do=f"known: {', '.join(ENGINES)}{also}")
    if pinned and not is_version(version):
        what = f"{version!r} is no version" if version else "no version after =="
        raise DiagError("--engine", f"{text!r}: {what}", do=f"expected e.g. {name}==0.33.0")
    return name, version or None


def plan_for(path: Path | None, order: Order) -> int:
    """Plan, tell, and the exit status."""
    wanted = wanting.wanted(order.goal, order.context, order.concurrency, order.settings)
    engines = (
        [(name, None) for name in ENGINES] if order.engine == ALL else [engine_and_version(order.engine, ", or all")]
    )
    excluded = gpusets.parts(order.exclude, OPTION) if order.exclude is not None else ()
    snapshot = _snapshot(path, order)
    if order.model == "" or (order.model is None and order.hardware is not None):
        raise DiagError("--model", "names nothing", do="name what is to be planned for, e.g. --model Qwen/Qwen3-32B")
    beside = Beside(excluded=excluded, command=_again(path, order))
    if order.hardware is None:
        verdicts, said = _judged(path, snapshot)
        beside = msgspec.structs.replace(beside, verdicts=verdicts, said=said)
    plan_one = plan_beside if order.engine != ALL else _plan_or_lost
    plans = [plan_one(snapshot, order.model, engine, wanted, beside) for engine in engines]
    if order.engine == ALL:
        _tell_all(plans, order)
    else:
        _tell(plans[0], order)
    return min(STATUS[plan.verdict] for plan in plans)


def plan_beside(
    snapshot: Snapshot, model: str | None, engine: tuple[str, str | None], wanted: Wanted, beside: Beside
) -> Plan:
    """The plan, and first of its notes what must be known before it is read. Raises DiagError."""
    wanted = msgspec.structs.replace(wanted, excluded=beside.excluded)
    plan = plan_launch(without(snapshot, beside.excluded), model, *engine, wanted)
    told = (*example(model, snapshot), *beside.said)
    told += cautions(plan, beside.excluded, beside.verdicts, beside.command)
    return msgspec.structs.replace(plan, notes=(*told, *plan.notes), cautions=told)


def _plan_or_lost(
    snapshot: Snapshot, model: str | None, engine: tuple[str, str | None], wanted: Wanted, beside: Beside
) -> Plan:
    """Of several engines one that does not know what was set is no answer to it."""
    try:
        return plan_beside(snapshot, model, engine, wanted, beside)
    except OtherEngineError as why:
        name, version = engine
        return Plan(
            verdict="NO", reason=f"cannot be: {why.what}", lever=why.do, engine=EngineName(name=name, version=version)
        )


def _judged(path: Path | None, snapshot: Snapshot) -> tuple[Verdicts | None, tuple[str, ...]]:
    """What is unfit must be known before it is planned with. Of many nodes what their run found, if it is there.

    And what is to be said where not all of it was judged.
    """
    if len(snapshot.nodes) <= MOST_JUDGED:
        from diag.cli.judging import uncollected  # noqa: PLC0415 - `diag plan --hardware` needs no pytest
        from diag.judge import judge  # noqa: PLC0415 - as above

        with uncollected():
            return judge(snapshot), ()
    place = path or last_run()
    file = (place if place.is_dir() else place.parent) / VERDICTS
    try:
        verdicts = msgspec.json.decode(file.read_bytes(), type=Verdicts)
    except (OSError, msgspec.DecodeError):
        verdicts = None
    if verdicts is None or verdicts.run_id != snapshot.run_id:
        todo = f"{shlex.join(('diag', 'check', str(place), '--json'))} > {shlex.quote(str(file))}"
        return None, (f"{NOT_JUDGED}: {file} holds no verdicts of this run; to have them: {todo}",)
    return verdicts, judged_in_part(verdicts)


def judged_in_part(verdicts: Verdicts) -> tuple[str, ...]:
    """What is to be said where not all checks were asked."""
    how = verdicts.selection
    if not verdicts.verdicts:
        return (NOT_JUDGED,)
    asked = f"-k {how.keyword}" if how.keyword else "-x" if how.exitfirst and how.asked < how.known else ""
    return (f"{NOT_JUDGED} by all checks: {asked} left some out",) if asked else ()


def again(
    path: Path | None = None, *, engine: str, settings: Sequence[str] = (), goal: str = STABLE.goal, **given: object
) -> str:
    """The command that plans so. ``given``: by the names of its options; None: not typed."""
    words = ["diag", "plan", *([str(path)] if path is not None else [])]
    words += [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    words += ["--engine", engine] if engine != DEFAULT_ENGINE else []
    words += ["--for", goal] if goal != STABLE.goal else []
    return shlex.join([*words, *(word for setting in settings for word in ("--set", setting))])


def _again(path: Path | None, order: Order) -> str:
    """What was typed, but for how it is told and what is excluded."""
    return again(
        path,
        model=order.model,
        context=order.context,
        concurrency=order.concurrency,
        engine=order.engine,
        goal=order.goal,
        settings=order.settings,
    )


def _snapshot(path: Path | None, order: Order) -> Snapshot:
    """What is planned for: declared hardware, a Snapshot, or the last run's."""
    if order.hardware is None:
        _refuse_what_only_declares(order)
        return snapshots.load(path or last_run())
    if path is not None:
        raise DiagError("--hardware", f"and a Snapshot ({path})", do="give one of them")
    return declared_snapshot(
        order.hardware,
        order.gpu_memory,
        gpu_free_bytes=order.gpu_free,
        compute_capability=order.compute_capability,
        link_bytes_per_s=order.link,
    )


def _refuse_what_only_declares(order: Order) -> None:
    given = {"--gpu-memory": order.gpu_memory, "--gpu-free": order.gpu_free, "--link": order.link,
             "--compute-capability": order.compute_capability}  # fmt: skip
    for flag, value in given.items():
        if value is not None:
            raise DiagError(flag, "says what a GPU of --hardware has", do="name --hardware too")


def _tell(plan: Plan, order: Order) -> None:
    if order.as_json:
        click.echo(plan_json(plan), nl=False)
    else:
        ink = Ink(sys.stdout)
        ink.write(plan_lines(plan, ink, explain=order.explain))


def _tell_all(plans: Sequence[Plan], order: Order) -> None:
    ink = Ink(sys.stdout)
    if order.as_json:
        click.echo(plans_json(plans), nl=False)
    elif order.explain:
        for plan in plans:
            ink.write(plan_lines(plan, ink, explain=True))
    else:
        ink.write(plans_table(plans, ink))


def plan_or_why_not(snapshot: Snapshot, model: str | None, engine: str, beside: Beside) -> Plan:
    """In a run a model that cannot be planned for is an answer, not the end."""
    try:
        return plan_beside(snapshot, model, engine_and_version(engine), STABLE, beside)
    except DiagError as error:
        return not_planned(engine, error)


def not_planned(engine: str, why: DiagError) -> Plan:
    name, version = engine_and_version(engine)
    reason = f"{why.where}: {why.what}" if why.where else why.what
    engine_name = EngineName(name=name, version=version)
    return Plan(verdict="UNKNOWN", reason=reason, lever=why.do or None, engine=engine_name)
