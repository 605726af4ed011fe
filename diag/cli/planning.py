"""How does the command line plan for a Snapshot and tell the plan?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from diag.engines import ENGINES, plan_launch
from diag.engines.versions import is_version
from diag.errors import DiagError
from diag.facts import snapshot as snapshots
from diag.facts.plan import EngineName, Plan
from diag.facts.snapshot import Snapshot
from diag.hardware import declared_snapshot
from diag.report.ink import Ink
from diag.report.launch import plan_lines
from diag.report.machine import plan_json
from diag.rundir import last_run

STATUS = {"FITS": 0, "RISKY": 0, "NO": 1, "UNKNOWN": 3}


def engine_and_version(text: str) -> tuple[str, str | None]:
    """``vllm==0.33.0`` -> name and version. Raises DiagError for what names none that diag knows."""
    name, pinned, version = text.partition("==")
    if name not in ENGINES:
        raise DiagError("--engine", f"{name!r} is not known", do=f"known: {', '.join(ENGINES)}")
    if pinned and not is_version(version):
        what = f"{version!r} is no version" if version else "no version after =="
        raise DiagError("--engine", f"{text!r}: {what}", do=f"expected e.g. {name}==0.33.0")
    return name, version or None


def snapshot_for(path: Path | None, hardware: str | None, gpu_memory_bytes: int | None) -> Snapshot:
    """What is planned for: declared hardware, a Snapshot, or the last run's."""
    if hardware is not None:
        if path is not None:
            raise DiagError("--hardware", f"and a Snapshot ({path})", do="give one of them")
        return declared_snapshot(hardware, gpu_memory_bytes)
    if gpu_memory_bytes is not None:
        raise DiagError("--gpu-memory", "says what a GPU of --hardware has", do="name --hardware too")
    return snapshots.load(path or last_run())


def plan_for(snapshot: Snapshot, model: str | None, engine: str, *, as_json: bool, explain: bool) -> int:
    """Plan, tell, and the exit status."""
    name, version = engine_and_version(engine)
    plan = plan_launch(snapshot, model, name, version)
    if as_json:
        click.echo(plan_json(plan), nl=False)
    else:
        ink = Ink(sys.stdout)
        ink.write(plan_lines(plan, ink, explain=explain))
    return STATUS[plan.verdict]


def plan_or_why_not(snapshot: Snapshot, model: str | None, engine: str) -> Plan:
    """In a run a model that cannot be planned for is an answer, not the end."""
    name, version = engine_and_version(engine)
    try:
        return plan_launch(snapshot, model, name, version)
    except DiagError as error:
        return not_planned(engine, error)


def not_planned(engine: str, why: DiagError) -> Plan:
    name, version = engine_and_version(engine)
    reason = f"{why.where}: {why.what}" if why.where else why.what
    engine_name = EngineName(name=name, version=version)
    return Plan(verdict="UNKNOWN", reason=reason, lever=why.do or None, engine=engine_name)
