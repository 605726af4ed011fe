"""What does a check say of itself? Its name, docstring and marks, as one record."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from diag.facts.causes import CAUSES
from diag.facts.verdict import About
from diag.subjects import PLACES, is_per_node, part_of, places_of

PREFIX = "check_"
MARKS = (
    "applies(predicate, *, reason): the check says nothing where predicate is false; it names subjects as a check does",
    "asked(predicate, *, reason): not measured, and optional, where predicate is false: this run was not to look",
    "needs(*checks): not measured on a node where one of these checks failed or was not measured though asked",
    "cause(id): what a failure means, an id of diag.facts.causes",
    "optional: not measured does not change the exit status",
    "advice: a failure is advice, it never counts",
)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check. ``part``: ``gpu``, ``interface``, …; None: whole nodes, or the cluster where not ``per_node``."""

    id: str
    about: About
    file: str
    line: int
    per_node: bool
    part: str | None = None
    cause: str | None = None
    needs: tuple[str, ...] = ()
    optional: bool = False
    advice: bool = False


class Applies(msgspec.Struct, frozen=True):
    """A condition of a check, with the places of the subjects that it names.

    ``asks``: where it does not hold the run was not to look; else the check has nothing to say there.
    """

    predicate: Callable[..., bool]
    places: tuple[int, ...]
    reason: str
    asks: bool = False


def identity(function_name: str) -> str:
    return function_name.removeprefix(PREFIX)


def describe(function: Callable[..., Any], name: str, marks: Sequence[Any], file: str) -> Check:
    """The record of a check. Raises ValueError with one clear line for marks and arguments that make no sense."""
    named = {mark.name: mark for mark in reversed(marks)}
    subjects = [subject for subject, _ in places_of(function)]
    if not subjects:
        raise ValueError(f"names no subject: expected an argument among {', '.join(PLACES)}")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ValueError("is no plain function: nothing of it would be run")
    return Check(
        id=identity(name),
        about=_about(identity(name), inspect.getdoc(function) or ""),
        file=file,
        line=function.__code__.co_firstlineno,
        per_node=is_per_node(subjects),
        part=part_of(subjects),
        cause=_cause(named.get("cause")),
        needs=tuple(identity(need) for mark in marks if mark.name == "needs" for need in mark.args),
        optional="optional" in named,
        advice="advice" in named,
    )


def conditions(marks: Sequence[Any]) -> tuple[Applies, ...]:
    """What was asked for, then what applies, each as it is written: pytest gives the lowest decorator first."""
    return tuple(
        Applies(mark.args[0], tuple(place for _, place in places_of(mark.args[0])), mark.kwargs["reason"], asks)
        for asks in (True, False)
        for mark in reversed(marks)
        if mark.name == ("asked" if asks else "applies")
    )


def _cause(mark: Any) -> str | None:
    if mark is None:
        return None
    if len(mark.args) != 1 or mark.args[0] not in CAUSES:
        raise ValueError(f"cause{mark.args}: expected one id of diag.facts.causes")
    return str(mark.args[0])


def _about(check: str, docstring: str) -> About:
    """Everything before ``Do:`` is why; the sentence after it and the last line's ``$ command`` are what to do."""
    why, _, do = docstring.partition("\nDo:")
    return About(title=check.replace("_", " "), why=" ".join(why.split()), do=_reflowed(do))


def _reflowed(do: str) -> str:
    lines = [line.strip() for line in do.strip().splitlines()]
    sentence = " ".join(line for line in lines if line and not line.startswith("$ "))
    return "\n".join([sentence, *(line for line in lines if line.startswith("$ "))]).strip()
