"""Which runtime of a node holds the container or the image that was named? Read from what each of them says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from diag.errors import NodeError
from diag.facts.record import NotMeasured
from diag.inventory import Host
from diag.probes.verbs import Answer, Ask, Request, Run
from diag.remote import runtimes
from diag.remote.runtimes import RUNTIMES, Containables, Runtime

THERE = "containables"
LIST_S = 8.0
DENIED = re.compile(r"permission denied|EACCES|must be root|requires root", re.IGNORECASE)
RUNNING = ("Up", "running", "Running")
SHOWN = 8
SHORT_ID = 12
"""Characters of an id that the runtimes show."""
NO_PLACE = "container_not_there"


class _Ran(msgspec.Struct, frozen=True):
    status: int
    stdout: str
    stderr: str


class Row(msgspec.Struct, frozen=True):
    """A container that a runtime lists."""

    id: str
    name: str
    status: str
    image: str

    def is_called(self, name: str) -> bool:
        return name in self.name.split(",") or (len(name) >= SHORT_ID and name.startswith(self.id[:SHORT_ID]))

    @property
    def runs(self) -> bool:
        return self.status.startswith(RUNNING) and "Paused" not in self.status


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """``image_id``: as the runtime calls it; None: it did not say."""

    runtime: Runtime
    there: Containables
    image: str
    image_id: str | None


def find(host: Host, model_path: str | None, ask: Callable[[Sequence[Request]], Sequence[Answer]]) -> Choice:
    """One runtime after the other, since a first question makes some of them furnish their folders there.

    Raises NodeError: no runtime, none that lets us in, no such container or image, a container that is stopped.
    """
    told: dict[str, Answer] = {}
    asked = [Request(name=THERE, verb=Ask("containables:containables", {"model": model_path}))]
    candidates = (runtimes.runtime(host.runtime),) if host.runtime else RUNTIMES
    for one in candidates:
        told |= {answer.name: answer for answer in ask((*asked, *_requests(host, one)))}
        asked.clear()
        if found := _found(host, one, told):
            return found
    raise _not_found(host, candidates, told)


def _requests(host: Host, one: Runtime) -> tuple[Request, ...]:
    about = runtimes.image_id(one, host.image) if host.image else runtimes.image_of(one, str(host.container))
    return (
        Request(name=f"list {one.name}", verb=Run(runtimes.listed(one)), deadline_s=LIST_S),
        Request(name=f"image {one.name}", verb=Run(about), deadline_s=LIST_S),
    )


def _found(host: Host, one: Runtime, told: Mapping[str, Answer]) -> Choice | None:
    image_id = _image_id(told[f"image {one.name}"])
    image = host.image if host.image and image_id else None
    if host.container:
        running = [row for row in _rows(told[f"list {one.name}"]) if row.runs and row.is_called(host.container)]
        image = running[0].image if running else None
    if image is None:
        return None
    try:
        there = told[THERE].decode(Containables)
    except NotMeasured as why:
        raise NodeError(host.name, "agent_silent", f"what a container could be given is not known: {why}") from why
    return Choice(runtime=one, there=there, image=image, image_id=image_id)


def _not_found(host: Host, candidates: Sequence[Runtime], told: Mapping[str, Answer]) -> NodeError:
    """Of those that answer: what they have. Else why those that are there do not."""
    open_ = [one for one in candidates if _ran(told[f"list {one.name}"])[0] is not None]
    names = " and ".join(one.name for one in open_)
    closed = {one.name: why for one in candidates if (why := _ran(told[f"list {one.name}"])[1])}
    beside = "".join(f"; {name} does not answer: {why[-200:]}" for name, why in closed.items())
    if open_ and host.image:
        what = f"{names} has no image {host.image} there, and diag pulls none{beside}"
        return NodeError(host.name, NO_PLACE, what, do=f"{open_[0].name} pull {host.image}")
    if open_:
        return _no_container(host, names, [row for one in open_ for row in _rows(told[f"list {one.name}"])], beside)
    if not closed:
        names = " or ".join(one.name for one in candidates)
        return NodeError(host.name, NO_PLACE, f"no {names} on the PATH there", do="install it, or name --exec")
    name, why = next(iter(closed.items()))
    if DENIED.search(why):
        return NodeError(host.name, NO_PLACE, f"{name}: permission denied", do=runtimes.runtime(name).denied)
    return NodeError(host.name, NO_PLACE, f"{name} does not answer: {why[-200:]}", do=f"see '{name} ps' there")


def _no_container(host: Host, names: str, rows: Sequence[Row], beside: str) -> NodeError:
    name = str(host.container)
    stopped = next((row.status or "created" for row in rows if row.is_called(name)), "")
    running = [row.name for row in rows if row.runs]
    more = ", …" if len(running) > SHOWN else ""
    others = f"running are {', '.join(running[:SHOWN])}{more}" if running else "none runs"
    what = f"container {name} is not running ({stopped})" if stopped else f"no container {name}"
    do = "start it, or name another with --container" if stopped else "name another with --container"
    return NodeError(host.name, NO_PLACE, f"{what} under {names} there; {others}{beside}", do=do)


def _ran(answer: Answer) -> tuple[str | None, str]:
    """What it printed, or why it did not; no reason where it is not installed."""
    try:
        ran = answer.decode(_Ran)
    except NotMeasured as why:
        return None, "" if "No such file" in str(why) else str(why)
    if ran.status:
        lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
        return None, lines[-1] if lines else f"status {ran.status}"
    return ran.stdout, ""


def _rows(answer: Answer) -> list[Row]:
    said, _ = _ran(answer)
    parts = [line.split("\t") for line in (said or "").splitlines()]
    return [Row(*row) for row in parts if len(row) == len(Row.__struct_fields__)]


def _image_id(answer: Answer) -> str | None:
    said, _ = _ran(answer)
    return (said or "").strip().removeprefix("sha256:") or None
