"""Which facts does a record hold that could be unknown, and how is each taken away?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from diag.facts.record import Missing, Record, peek
from tests.checks.changes import _new

GONE = Missing("taken away")
Change = Callable[[Any], Any]


def removals(held: Record) -> Iterator[tuple[str, Change]]:
    """``limits.nofile_hard`` and the record without it; of a tuple (``gpus.*.mig``) all entries lose it."""
    for field in msgspec.structs.fields(type(held)):
        value = peek(held, field.name)
        if value.__class__ is Missing:
            continue
        if "Missing" in str(field.type):
            yield field.name, _changed(field.name, GONE)
        for path, remove in _below(value):
            yield f"{field.name}.{path}", _changed(field.name, remove)


def _below(value: Any) -> Iterator[tuple[str, Change]]:
    if isinstance(value, Record):
        yield from removals(value)
    elif isinstance(value, tuple) and value and isinstance(value[0], Record):
        for path, remove in removals(value[0]):
            yield f"*.{path}", _everywhere(remove)


def _changed(name: str, wish: Any) -> Change:
    return lambda held: msgspec.structs.replace(held, **{name: _new(peek(held, name), wish)})


def _everywhere(remove: Change) -> Change:
    return lambda entries: tuple(remove(entry) for entry in entries)


def holders(held: Any, path: str) -> tuple[set[int], str]:
    """The ids of the records of which the last name in ``path`` is a field, and that name."""
    *steps, field = path.split(".")
    found = [held]
    for step in steps:
        found = [entry for each in found for entry in each] if step == "*" else [peek(each, step) for each in found]
    return {id(each) for each in found}, field
