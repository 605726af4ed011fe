"""What does the measure stage do on which node, how many at once, and why is a node left out?

Two kinds of work: how fast the model's files are read, and how fast the GPUs are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from diag import busy, probes
from diag.errors import NodeError
from diag.facts.device import GpuSystem
from diag.facts.model import ReadSpeed
from diag.facts.node import Node
from diag.facts.rates import slow_together
from diag.facts.record import NotMeasured, is_known, peek, unknown
from diag.facts.speed import NO_TIME, NodeCollectives, Speed
from diag.probes import dcgm, gpu_rises
from diag.probes.verbs import Answer, Request
from diag.remote import climb, ladder, node_collectives, schedule
from diag.remote.measurements import measure
from diag.remote.session import Session
from diag.wishes import Wishes

CONNECTIONS_AT_ONCE = 2048
"""A place for each host of all but the largest clusters: who hangs takes nobody's place."""
SHARED_READERS_AT_ONCE = 4
READ_S = 10.0
ANSWER_S = 2.0
END_S = 5.0
"""Of a stage's time, for what was begun last to be ended and told: a node that was late would count as lost."""
RECOUNT_SHARE = 0.25
"""Of a stage's time at most, to ask which errors were counted meanwhile."""
STAGGER_S = 1.0
"""Between the nodes of a burn: a room's power does not like them all at once."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """``calls``: what is done on each node, all of it within ``deadline_s``; it fills ``field`` of its record."""

    stage: str
    field: str
    calls: Mapping[str, Callable[[], Any]]
    left_out: Mapping[str, str]
    deadline_s: float
    at_once: int = CONNECTIONS_AT_ONCE
    always: bool = False
    """Whether the stage is told also where no node takes part."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes that were reached; ``unwilling``: why one may not be loaded, or ''."""

    nodes: Mapping[str, Node]
    sessions: Mapping[str, Session]
    unwilling: Callable[[str], str]
    wishes: Wishes
    keep: Callable[[str, str, str], None] = lambda _node, _topic, _raw: None
    """Node, topic and raw output, as evidence."""


def read_speeds(scene: Scene) -> Work:
    """Of the model path: all at once on local disks, four at a time on a shared file system."""
    path, level, deadline_s = scene.wishes.model_path, scene.wishes.level, scene.wishes.deadline_s("measure")
    reasons = {name: scene.unwilling(name) for name in scene.sessions}
    if path is None or level == "passive":
        why = "no --model was named" if path is None else "level passive reads no files at speed"
        reasons = dict.fromkeys(reasons, why)
    readers = [name for name, why in reasons.items() if not why and busy.has_model(scene.nodes[name])]
    shared = any(busy.reads_shared_files(scene.nodes[name]) for name in readers)
    at_once = SHARED_READERS_AT_ONCE if shared else CONNECTIONS_AT_ONCE
    limit_bytes = 256 * 1024**2 if level == "quick" else 1024**3
    each_s = deadline_s / max(1.0, -(-len(readers) // at_once)) * 0.8

    def read(session: Session) -> Callable[[], ReadSpeed]:
        request = probes.read_speed_request(path or "", limit_bytes=limit_bytes, seconds=min(READ_S, each_s))
        return lambda: probes.read_speed(session.ask((request,), deadline_s), readers=min(at_once, len(readers)))

    return Work(
        stage="measure",
        field="read_speed",
        calls={name: read(scene.sessions[name]) for name in readers},
        left_out={name: why for name, why in reasons.items() if why},
        deadline_s=deadline_s,
        at_once=at_once,
        always=path is not None and level != "passive",
    )


def speeds(scene: Scene) -> Work:
    """Of the GPUs, on all nodes at once; a node without any, or that may not be loaded, has its reason."""
    wishes = scene.wishes
    calls: dict[str, Callable[[], Speed]] = {}
    left_out: dict[str, str] = {}
    for name, session in scene.sessions.items():
        node, why = scene.nodes[name], scene.unwilling(name)
        if wishes.level == "passive":
            why = "level passive makes no load"
        try:
            plan = None if why else _plan(node, wishes, late_s=len(calls) * STAGGER_S)
        except NotMeasured as absent:
            plan, why = None, str(absent)
        if plan is None:
            left_out[name] = why
        else:
            keep = partial(scene.keep, name, "nccl log")
            calls[name] = _measuring(session, node, plan, wishes, keep)
    return Work(stage="speed", field="speed", calls=calls, left_out=left_out, deadline_s=wishes.deadline_s("speed"))


def _plan(node: Node, wishes: Wishes, *, late_s: float) -> schedule.Schedule:
    if node.devices == () and not node.gpus:
        raise NotMeasured("no accelerator")
    in_use = busy.why_in_use(node)
    return schedule.schedule(node, wishes.level, minutes=wishes.minutes, busy=in_use, late_s=late_s)


def _measuring(
    session: Session, node: Node, plan: schedule.Schedule, wishes: Wishes, keep: Callable[[str], None]
) -> Callable[[], Speed]:
    """The GPUs each and in pairs, then all of them together; a pair that was wedged is enough to leave that out."""
    deadline_s = wishes.deadline_s("speed") - END_S
    limit_s = deadline_s - min(gpu_rises.ANSWER_S, RECOUNT_SHARE * deadline_s)
    in_time = msgspec.structs.replace(plan, seconds=max(END_S, min(plan.seconds, limit_s)))

    def work() -> Speed:
        began = time.monotonic()
        alone = measure(session, in_time, node)
        unused_s = max(0.0, in_time.seconds - (time.monotonic() - began))
        found = diagnosed(session, node, plan.level, alone, began + limit_s)
        if plan.level == "quick":
            found = msgspec.structs.replace(found, collectives=unknown("not measured at level quick"))
            return recounted(session, node, found, began, began + deadline_s)
        left_s = min(schedule.COLLECTIVES_S + unused_s, began + limit_s - time.monotonic())
        together = node_collectives.measure(session, node, found, wishes.environment_of(node), left_s, keep=keep)
        stopped = together.stopped if isinstance(together, NodeCollectives) else ""
        found = msgspec.structs.replace(found, collectives=together, stopped=found.stopped or stopped)
        return recounted(session, node, found, began, began + deadline_s)

    return work


def recounted(session: Session, node: Node, found: Speed, began: float, until: float) -> Speed:
    """With the errors that its GPUs counted since ``began``: the same questions as before the load."""
    try:
        answers = _asked(session, gpu_rises.REQUESTS, gpu_rises.ANSWER_S, until)
        rises = gpu_rises.between(node, answers, time.monotonic() - began)
    except NotMeasured as why:
        return msgspec.structs.replace(found, rises=unknown(str(why)))
    return msgspec.structs.replace(found, rises=rises)


def _asked(session: Session, requests: Sequence[Request], seconds: float, until: float) -> dict[str, Answer]:
    """Raises NotMeasured, also where the agent is silent: what was measured before is known all the same."""
    left_s = min(seconds, until - time.monotonic())
    if left_s < ANSWER_S:
        raise NotMeasured(f"{NO_TIME} for it")
    try:
        return {answer.name: answer for answer in session.ask(requests, left_s)}
    except NodeError as error:
        raise NotMeasured(error.what) from error


def diagnosed(session: Session, node: Node, level: str, found: Speed, until: float) -> Speed:
    """With what DCGM's short diagnosis says, where that is installed: only now nothing of ours runs on the GPUs."""
    system = peek(node, "gpu_system")
    installed = isinstance(system, GpuSystem) and is_known(system, "dcgm") and system.dcgm is not None
    try:
        if not installed:
            said = None if isinstance(system, GpuSystem) else unknown("whether DCGM is installed is not known")
        elif found.stopped:
            said = unknown(f"not asked after this: {found.stopped}")
        elif level == "quick":
            said = unknown("DCGM is asked for its diagnosis from level normal on")
        else:
            said = dcgm.read(_asked(session, (dcgm.REQUEST,), dcgm.DEADLINE_S + ANSWER_S, until))
    except NotMeasured as why:
        said = unknown(str(why))
    failures, warnings = (said.failures, said.warnings) if isinstance(said, dcgm.Diagnosis) else (said, said)
    return msgspec.structs.replace(found, dcgm_failures=failures, dcgm_warnings=warnings)


def ladders(scene: Scene) -> Work:
    """On nodes whose own collectives are degraded, says one of the referees: what is at fault?"""
    together = [
        node for node in scene.nodes.values() if is_known(node, "speed") and is_known(node.speed, "collectives")
    ]
    behind = slow_together(together)
    calls = {}
    for node in together:
        late = behind.get(node.name)
        why = ladder.why_degraded(node, node.speed.collectives, late.share if late else None)
        if why and node.speed.collectives.backend == "nccl" and node.name in scene.sessions:
            calls[node.name] = _climbing(scene.sessions[node.name], node, scene.wishes.deadline_s("ladder") - END_S)
    return Work(stage="ladder", field="speed", calls=calls, left_out={}, deadline_s=scene.wishes.deadline_s("ladder"))


def _climbing(session: Session, node: Node, limit_s: float) -> Callable[[], Speed]:
    def work() -> Speed:
        found = node.speed.collectives
        log = found.log if is_known(found, "log") else None
        climbed = climb.climb(session, node, found, log, limit_s)
        return msgspec.structs.replace(node.speed, collectives=climbed)

    return work
