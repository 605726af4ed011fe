"""What is done when ``diag run`` is typed? Gather, judge, plan, write the run directory, tell."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from diag import rundir
from diag.catalogue import Check
from diag.cli import ASKED_WRONGLY, INTERRUPTED, is_same_place
from diag.cli.judging import UNWRITTEN, Judging, Telling, with_status
from diag.cli.planning import ALL, Beside, again, engine_and_version, judged_in_part, not_planned, plan_or_why_not
from diag.cli.signals import Signals, heard, within
from diag.engines import ENGINES
from diag.engines.collective_env import of_node
from diag.errors import DiagError
from diag.facts.plan import Plan
from diag.facts.remedy import Ways
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import StageTime, Verdicts
from diag.gather import gather
from diag.inventory import Host
from diag.inventory.gpusets import Part
from diag.inventory.texts import require_one_line
from diag.judge import nothing_judged
from diag.planner.model.models import is_name_only
from diag.remote.local import LocalTransport
from diag.remote.ssh import SshTransport
from diag.remote.ssh_by_hand import ssh_by_hand
from diag.remote.ssh_options import SshOptions
from diag.report.junit import junit_xml
from diag.report.live import Display
from diag.report.machine import plan_json, verdicts_json
from diag.report.shown import Shown
from diag.wishes import BURN_MINUTES, Wishes

T = TypeVar("T")
PLAN_ONLY = "--model is a bundled name, for the plan only: no files were looked for on the nodes (--model DIR does)"
STARTED_S = 30.0
"""For "reach" where containers are started: with GPUs a runtime takes seconds for each."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """All that was typed."""

    hosts: Sequence[Host]
    login: SshOptions
    level: str
    model: str | None
    engine: str
    excluded: tuple[Part, ...] = ()
    minutes: float | None
    permitted: frozenset[str]
    deadlines_s: dict[str, float]
    max_size_bytes: int
    pairs: str = "ring"
    max_pairs: int | None = None
    out: Path | None
    judging: Judging
    telling: Telling

    @property
    def is_name_only(self) -> bool:
        """The model is for the plan only."""
        return self.model is not None and is_name_only(self.model)

    @property
    def model_path(self) -> str | None:
        """As the nodes see it; None: there is none, or its name is for the plan only."""
        return None if self.is_name_only else self.model

    @property
    def wishes(self) -> Wishes:
        starts = any(host.image for host in self.hosts)
        return Wishes(
            level=self.level,
            model_path=self.model_path,
            deadlines_s=({"reach": STARTED_S} if starts else {}) | self.deadlines_s,
            max_size_bytes=self.max_size_bytes,
            pairs=self.pairs,
            max_pairs=self.max_pairs,
            minutes=(self.minutes or BURN_MINUTES) if self.level == "burn" else 0.0,
            permitted=self.permitted,
            environment_of=partial(of_node, *engine_and_version(self.engine)),
        )

    def beside(self, verdicts: Verdicts) -> Beside:
        said = (PLAN_ONLY,) if self.is_name_only else ()
        return Beside(
            excluded=self.excluded,
            verdicts=verdicts,
            said=(*said, *judged_in_part(verdicts)),
            command=again(model=self.model if self.is_name_only else None, engine=self.engine),
        )

    @property
    def ways(self) -> Ways:
        """How each host can be reached by hand; this machine without any words."""
        return {host.name: ssh_by_hand(host, self.login) if host.transport == "ssh" else () for host in self.hosts}


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to know."""

    snapshot: Snapshot
    verdicts: Verdicts
    plan: Plan
    slowest: Mapping[str, str]
    unsaved: DiagError | None
    late: DiagError | None
    """The judging was not done in time."""


def run(order: Order) -> int:
    """The exit status. What was asked wrongly is said before any host is touched."""
    _require_one_engine(order.engine)
    if order.minutes is not None and order.level != "burn":
        raise DiagError("--minutes", "only level burn lasts for minutes", do="add --level burn")
    if order.model is not None and not order.model.strip():
        raise DiagError("--model", f"{order.model!r}: empty", do="name a directory or a bundled model, or leave it out")
    require_one_line(order.model or "", "", "--model")
    _require_place_of_model(order)
    order.telling.require_writable()
    order.judging.require_baseline()
    checks = order.judging.checks()
    directory = rundir.create(order.out)
    store = rundir.EvidenceStore(directory)
    with heard() as signals:
        found = _find_out(order, directory, signals, store)
        found, unwritten = _write(order, directory, found, checks, store)
        if not unwritten:
            rundir.point_latest(directory)
        _tell(order, found, checks, directory, ends_because=UNWRITTEN if unwritten else "")
    if unwritten:  # it is told all the same: measuring again on a full disk would not help
        raise unwritten[0]
    if found.late is not None:
        raise found.late
    return found.verdicts.exit_status


def _require_one_engine(engine: str) -> None:
    if engine == ALL:
        do = f"name one of {', '.join(ENGINES)}; after the run: diag plan --engine all"
        raise DiagError("--engine", "a run plans for one engine, not for all", do=do)
    engine_and_version(engine)


def _require_place_of_model(order: Order) -> None:
    """A container that is started gets the model's folder at the same place: it needs one."""
    started = next((host for host in order.hosts if host.image), None)
    if started is not None and order.model_path and not order.model_path.startswith("/"):
        what = f"{order.model!r}: is to be mounted into a container of {started.image}"
        raise DiagError("--model", what, do="give its absolute path on the nodes")


def _find_out(order: Order, directory: rundir.RunDir, signals: Signals, store: Callable[[bytes], str]) -> Found:
    page_follows = not order.telling.as_json and is_same_place(sys.stdout, sys.stderr)
    with Display(sys.stderr, quiet=order.telling.quiet, page_follows=page_follows) as display:
        snapshot = gather(
            order.hosts,
            order.wishes,
            run_id=directory.run_id,
            transports={"ssh": SshTransport(order.login), "local": LocalTransport()},
            progress=display,
            store=store,
            interruptible=signals.interruptible,
        )
        snapshot = order.judging.compared(snapshot)
        unsaved = _error_of(lambda: directory.save_snapshot(snapshot))  # before it is judged, since judging may fail
        judge = _Stage("judge", order.wishes, display)
        verdicts = judge.do(lambda: order.judging.judge(snapshot), lambda _: nothing_judged(snapshot))
        plan = _Stage("plan", order.wishes, display)
        planned = plan.do(
            lambda: plan_or_why_not(snapshot, order.model, order.engine, order.beside(verdicts)),
            lambda late: not_planned(order.engine, late),
        )
    count = len(snapshot.nodes)
    times = [StageTime(name=s.name, seconds=s.seconds, nodes_done=count, nodes_total=count) for s in (judge, plan)]
    interrupted = snapshot.interrupted or bool(signals)  # noted while it was judged: it was asked to end
    verdicts = msgspec.structs.replace(
        verdicts,
        interrupted=interrupted,
        exit_status=INTERRUPTED if interrupted else verdicts.exit_status,
        stages=(*verdicts.stages, *times),
    )
    return Found(
        snapshot=snapshot, verdicts=verdicts, plan=planned, slowest=display.slowest(), unsaved=unsaved, late=judge.late
    )


class _Stage:
    """A stage of the controller itself: its deadline, its place in the display, and how long it took."""

    def __init__(self, name: str, wishes: Wishes, display: Display) -> None:
        self.name = name
        self.limit_s = wishes.deadline_s(name)
        self.display = display
        self.seconds = 0.0
        self.late: DiagError | None = None

    def do(self, work: Callable[[], T], otherwise: Callable[[DiagError], T]) -> T:
        """``otherwise``: what stands in for the result past the deadline; the other files are written all the same."""
        began = time.monotonic()
        self.display.stage(self.name, None)
        note = ""
        try:
            with within(self.limit_s, self.name):
                result = work()
        except DiagError as error:
            self.late = error
            note, result = error.what, otherwise(error)
        self.seconds = round(time.monotonic() - began, 3)
        self.display.ended(note)
        return result


def _write(
    order: Order, directory: rundir.RunDir, found: Found, checks: Mapping[str, Check], store: rundir.EvidenceStore
) -> tuple[Found, Sequence[DiagError]]:
    """Every file that can be written, and the errors of those that cannot; the status is settled by both.

    The verdicts come last: they hold it.
    """
    xml = junit_xml(found.verdicts, checks, found.snapshot, order.ways)
    writes: tuple[Callable[[], object], ...] = (
        lambda: directory.save("plan.json", plan_json(found.plan)),
        lambda: directory.save("junit.xml", xml),
        lambda: directory.keep_only(one.sha256 for node in found.snapshot.nodes for one in node.evidence),
        lambda: order.telling.write_junit(xml),
    )
    errors = [error for error in (store.unwritten, found.unsaved, *map(_error_of, writes)) if error is not None]
    found = _settled(found, errors)
    last = _error_of(lambda: directory.save("verdicts.json", verdicts_json(found.verdicts)))
    errors += [last] if last is not None else []
    return _settled(found, errors), errors


def _settled(found: Found, errors: Sequence[DiagError]) -> Found:
    if not errors:
        return found
    return msgspec.structs.replace(found, verdicts=with_status(found.verdicts, ASKED_WRONGLY))


def _error_of(work: Callable[[], object]) -> DiagError | None:
    try:
        work()
    except DiagError as error:
        return error
    return None


def _tell(
    order: Order, found: Found, checks: Mapping[str, Check], directory: rundir.RunDir, *, ends_because: str
) -> None:
    order.telling.tell(
        Shown(
            verdicts=found.verdicts,
            snapshot=found.snapshot,
            checks=checks,
            plan=found.plan,
            place=directory.shown(),
            verbosity=order.telling.verbosity,
            slowest=found.slowest,
            exit_status=found.verdicts.exit_status,
            ends_because=ends_because,
            ways=order.ways,
        )
    )
