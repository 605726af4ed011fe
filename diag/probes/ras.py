"""Which ranks does NCCL's RAS miss, and which are behind the others? Read from its text for people.

The form is that of the user guide ("RAS") and of NCCL's ``src/ras/client_support.cc``, 2.24 to 2.30: sections of errors
and warnings, in which groups of ranks are counted and those of the smaller ones are named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

VERSION = re.compile(r"NCCL version (\S+)")
PART = re.compile(r"^#\d+-\d+ \([0-9a-f]+\) (\w+)")
MISSING = re.compile(r"The missing ranks?: ([0-9, ]+)")
RANK = re.compile(r"^Rank (\d+)")
COUNTED = re.compile(
    r"^(?:(\d+) ranks have|Rank (\d+) has) (?:launched up to operation (\d+)|not launched any operations)"
)
DIFFER = re.compile(r"different (?:(\w+) )?operation counts")
ERROR = re.compile(r"^(?:Rank (\d+)|\d+ ranks) reported (\w+)")


class Ras(msgspec.Struct, frozen=True, kw_only=True):
    """``operation``: which one, counted from the communicator's first, the most advanced ranks have launched."""

    version: str = ""
    missing: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    operation: int | None = None
    errors: tuple[str, ...] = ()


class _Group(msgspec.Struct):
    """So many ranks that have come to the same operation; those that are named."""

    count: int
    operation: int
    ranks: list[int]


def read(text: str, world_size: int) -> Ras:
    """Raises ValueError where this is no answer of RAS."""
    if "Job summary" not in text and "Communicators..." not in text:
        raise ValueError(f"not an answer of NCCL's RAS: {text[:80]!r}")
    version = VERSION.search(text)
    missing: set[int] = set()
    behind: set[int] = set()
    errors: list[str] = []
    operation = None
    for kind, lines in _parts(text.splitlines()):
        if kind == "INCOMPLETE":
            missing |= _missing(lines)
        elif kind == "ERROR":
            errors += [found[0][:1].lower() + found[0][1:] for line in lines if (found := ERROR.match(line))]
        elif kind == "MISMATCH":
            late, most = _behind(lines, world_size)
            behind |= late
            operation = most if most is not None else operation
    return Ras(
        version=version[1] if version else "",
        missing=tuple(sorted(missing)),
        behind=tuple(sorted(behind - missing)),
        operation=operation,
        errors=tuple(errors),
    )


def _parts(lines: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """What is said of one communicator: its heading's word, and the lines below it."""
    kind, kept = "", list[str]()
    for line in lines:
        heading = PART.match(line)
        if heading or not line.startswith(" "):
            if kind and kept:
                yield kind, kept
            kind, kept = heading[1] if heading else (kind if not line.strip() else ""), []
        elif kind:
            kept.append(line.strip())
    if kind and kept:
        yield kind, kept


def _missing(lines: Iterable[str]) -> set[int]:
    found: set[int] = set()
    for line in lines:
        if listed := MISSING.search(line):
            found |= {int(number) for number in re.findall(r"\d+", listed[1])}
        elif named := RANK.match(line):
            found.add(int(named[1]))
    return found


def _behind(lines: Iterable[str], world_size: int) -> tuple[set[int], int | None]:
    """Those that launched fewer than the most advanced; whom nobody named is of the one group that has no names."""
    groups: list[_Group] = []
    counting = False
    for line in lines:
        if "Communicator ranks have different" in line:
            counting = DIFFER.search(line) is not None
        elif counting and (counted := COUNTED.match(line)):
            alone = [int(counted[2])] if counted[2] else []
            groups.append(_Group(int(counted[1] or 1), int(counted[3] or 0), alone))
        elif counting and groups and (named := RANK.match(line)):
            groups[-1].ranks.append(int(named[1]))
    if not groups:
        return set(), None
    unnamed = [group for group in groups if not group.ranks]
    if len(unnamed) == 1:
        named_all = {rank for group in groups for rank in group.ranks}
        rest = set(range(world_size)) - named_all
        unnamed[0].ranks = sorted(rest) if len(rest) == unnamed[0].count else []
    most = max(group.operation for group in groups)
    return {rank for group in groups if group.operation < most for rank in group.ranks}, most
