"""What is a probe? A topic, the requests that ask for it, and a pure reader of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from diag.facts.record import Missing, NotMeasured
from diag.probes.verbs import Answer, Request

T = TypeVar("T")
Answers = Mapping[str, Answer]
"""By the name of the request."""


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the user's command adds to what every node is asked."""

    model_path: str | None = None
    names: tuple[str, ...] = ()
    """Host names that every node shall resolve."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """``topic`` is the field of ``facts.Node`` that ``read`` fills; it raises NotMeasured where nothing can be said."""

    topic: str
    requests: Callable[[Wishes], tuple[Request, ...]]
    read: Callable[[Answers], Any]


def always(*requests: Request) -> Callable[[Wishes], tuple[Request, ...]]:
    """Requests that no wish changes."""
    return lambda _: requests


def told(answers: Answers, name: str, kind: type[T]) -> T:
    """The answer to the request ``name`` as ``kind``. Raises NotMeasured."""
    if name not in answers:
        raise NotMeasured(f"the node was not asked for {name}")
    return answers[name].decode(kind)


def text(answers: Answers, name: str, path: str) -> str:
    """A file's text out of a Read's answer. Raises NotMeasured."""
    files = told(answers, name, dict[str, str])
    if path not in files:
        raise NotMeasured(f"{path} cannot be read there")
    return files[path]


def gap(why: str) -> Any:
    """What stands in a Known field that was not measured; the type checker sees the value's type there."""
    return Missing(why)


def maybe(read: Callable[[], T]) -> T:
    """What ``read`` gives, or a gap with its reason: one field's gap does not hide the others."""
    try:
        return read()
    except NotMeasured as why:
        missing: T = gap(str(why))
        return missing


def number(text: str, what: str) -> int:
    """A whole number that a file is expected to hold. Raises NotMeasured with what stood there instead."""
    try:
        return int(text.strip())
    except ValueError:
        raise NotMeasured(f"{what}: found {text[:80]!r}, expected a number") from None
