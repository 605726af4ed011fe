"""Which side of a node says what, where its engine runs in a container: the host, or the inside?

Both are asked the same. What an engine gets is what the inside says, and that is the node's own; all of the host's is
kept beside it. The other way round only where a container hides what is to be known of the machine: who else uses it,
its kernel's log, its services.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from diag import probes
from diag.errors import NodeError
from diag.facts.device import GpuSystem
from diag.facts.node import Evidence, Node
from diag.facts.record import Missing, peek
from diag.facts.system import Clock, Filesystem
from diag.probes.verbs import Answer, Request
from diag.remote import fanout
from diag.remote.inside import InnerSession
from diag.remote.session import Session

MACHINES = ("processes", "xids", "gpu_system")
"""Topics of which the host knows more than the inside."""
GRACE_S = 1.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """``answers``: of the agent where the engine runs; ``outside``: of the one on the host, where that is another."""

    answers: tuple[Answer, ...]
    outside: tuple[Answer, ...] | None = None
    clock: Clock


def ask(session: Session, requests: Sequence[Request], deadline_s: float) -> Asked:
    """Both sides at once. Raises NodeError."""
    if not isinstance(session, InnerSession):
        return Asked(answers=session.ask(requests, deadline_s), clock=_clock(session))
    work = {name: partial(each.ask, requests, deadline_s) for name, each in (("in", session), ("out", session.outer))}
    inside, outside = fanout.each(work, width=len(work), deadline_s=deadline_s + GRACE_S).values()
    if isinstance(inside, NodeError):
        raise inside
    if isinstance(outside, NodeError):
        raise outside
    return Asked(answers=inside, outside=outside, clock=_clock(session))


def _clock(session: Session) -> Clock:
    offset_s, uncertainty_s = session.clock()
    return Clock(offset_s=offset_s, uncertainty_s=uncertainty_s)


def fields(node: Node, asked: Asked, keep: Callable[[Sequence[Answer]], tuple[Evidence, ...]]) -> dict[str, Any]:
    """For ``msgspec.structs.replace(node, **…)``; ``keep`` stores what lies behind the topics of a side."""
    own = {"clock": asked.clock, "evidence": keep(asked.answers), **probes.facts_from(asked.answers)}
    if asked.outside is None or node.host_side is None:
        return own
    outside = {"clock": asked.clock, "evidence": keep(asked.outside), **probes.facts_from(asked.outside)}
    return {**merged(own, outside), "host_side": msgspec.structs.replace(node.host_side, **outside)}


def merged(inside: Mapping[str, Any], host: Mapping[str, Any]) -> dict[str, Any]:
    """What is the node's own: the inside's topics, and of the host's those that only it can know."""
    both = {**inside, **{topic: host[topic] for topic in MACHINES if topic in host}}
    for topic, join in (("filesystems", _filesystems), ("gpu_system", _gpu_system)):
        if topic in inside and topic in host:
            both[topic] = join(inside[topic], host[topic])
    return both


def _filesystems(inside: Any, host: Any) -> tuple[Filesystem, ...] | Missing:
    """The inside's, and where the runtime keeps its images: that the container does not see."""
    if isinstance(inside, Missing):
        return inside
    kept = () if isinstance(host, Missing) else (mount for mount in host if mount.use == "containers")
    return (*(mount for mount in inside if mount.use != "containers"), *kept)


def _gpu_system(inside: Any, host: Any) -> Any:
    """The host's modules and services, with the libraries and files that an engine meets."""
    if not isinstance(host, GpuSystem) or not isinstance(inside, GpuSystem):
        return inside if isinstance(inside, Missing) else host
    met = {name: peek(inside, name) for name in ("library_mismatch", "files")}
    return msgspec.structs.replace(host, **met)
