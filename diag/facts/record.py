"""What is a fact, and what stands where one is not known?

A fact's field holds a value, ``None`` ("the device says there is none") or ``Missing(why)``. Reading a field that is
missing raises ``NotMeasured``: no check, planner or renderer can take an absent fact for a healthy one by accident.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

import msgspec

T = TypeVar("T")


class NotMeasured(Exception):  # noqa: N818 - it is an answer of the cluster, not an error of the program
    """A fact that was asked for is not known; ``str()`` says why."""


class Missing(msgspec.Struct, frozen=True, tag_field="record", tag="missing"):
    """Stands where a fact is not known. ``why`` is one line a person can act on."""

    why: str


if TYPE_CHECKING:
    Known = Annotated[T, "or Missing"]
else:

    class Known:
        """``Known[int]``: an int, or ``Missing``; the type checker sees the int, since reading a Missing raises."""

        def __class_getitem__(cls, kind: Any) -> Any:
            return Union[kind, Missing]  # noqa: UP007 - kind may be any annotation


def unknown(why: str) -> Any:
    """``Missing(why)``, for a ``Known`` field: the type checker takes it for any value, reading it raises."""
    return Missing(why)


UNASKED: Any = Missing("this Snapshot does not hold it")


class Record(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="record", tag=str.lower):
    """Base of all facts. Reading a ``Missing`` field raises ``NotMeasured``; ``peek`` looks without raising.

    Only ``Known`` fields can hold one, so only they are looked at: 1,000 nodes are some ten million reads, and a plain
    field costs a fifth of a guarded one.
    """

    def __init_subclass__(cls) -> None:
        for field, kind in inspect.get_annotations(cls).items():
            if "Known[" in str(kind):
                _plain[cls, field] = cls.__dict__[field].__get__
                setattr(cls, field, property(_guarded(cls.__dict__[field].__get__)))


_plain: dict[tuple[type[Record], str], Callable[[Record], Any]] = {}
"""How a ``Known`` field is read without raising."""


def _guarded(plain: Callable[[Record], Any]) -> Callable[[Record], Any]:
    def read(record: Record) -> Any:
        value = plain(record)
        if value.__class__ is Missing:
            raise NotMeasured(value.why)
        return value

    return read


def peek(record: Record, field: str) -> Any:
    """The value or the ``Missing`` in a field, for those who render or copy facts rather than judge them."""
    plain = _plain.get((record.__class__, field))
    return getattr(record, field) if plain is None else plain(record)


def is_known(record: Record, field: str) -> bool:
    return peek(record, field).__class__ is not Missing
