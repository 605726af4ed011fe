"""How fast can a node read the model's weights?"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

from diag.facts.model import ReadSpeed
from diag.facts.record import NotMeasured
from diag.probes.probe import gap, told
from diag.probes.verbs import Answer, Ask, Request

REQUEST = "read speed"
GRACE_S = 5.0


class _ReadSpeed(msgspec.Struct, frozen=True):
    path: str
    direct: bool
    repetitions: tuple[tuple[int, float], ...]
    """Bytes and seconds of each."""


def request(path: str, *, limit_bytes: int, seconds: float) -> Request:
    """Read at most ``limit_bytes`` for at most ``seconds``."""
    asked = {"path": path, "limit_bytes": limit_bytes, "seconds": seconds}
    return Request(name=REQUEST, verb=Ask("readspeed:measure", asked), deadline_s=seconds + GRACE_S)


def read(answers: Sequence[Answer], *, readers: int) -> ReadSpeed:
    """``readers``: how many nodes read the same file system at once. What was not measured is a gap with its reason."""
    try:
        told_ = told({answer.name: answer for answer in answers}, REQUEST, _ReadSpeed)
        return _speed(told_, readers)
    except NotMeasured as why:
        not_measured: ReadSpeed = gap(str(why))
        return not_measured


def _speed(told_: _ReadSpeed, readers: int) -> ReadSpeed:
    rates = tuple(read_bytes / seconds for read_bytes, seconds in told_.repetitions if seconds > 0)
    if not rates:
        raise NotMeasured(f"{told_.path}: nothing was read in time")
    return ReadSpeed(
        path=told_.path,
        bytes_per_s=median(rates),
        read_bytes=sum(read_bytes for read_bytes, _ in told_.repetitions),
        repetitions_bytes_per_s=rates,
        direct=told_.direct,
        readers=readers,
    )
