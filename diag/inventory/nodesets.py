"""Which names does a node set stand for, and which node set stands for these names?

ClusterShell's NodeSet does the arithmetic. It also hides what a person should hear of (names selected twice, operators
such as ``!``, the machine's ``@groups``), so each comma part is looked at before NodeSet sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException
from ClusterShell.RangeSet import RangeSet

from diag.errors import DiagError
from diag.inventory.texts import require_host_name

EXAMPLE = "expected e.g. gpu[01-04]"
MOST_HOSTS = 100_000
"""A typing error such as gpu[1-99999999] must not fill the memory."""

_NAME = re.compile(r"[\w.][\w.-]*|(?=[^%]*:)[\w:][\w.:]*(?:%[\w.-]+)?")
"""A host name or IPv4 address, or an IPv6 address that may end in a zone (``%eth0``)."""
_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?:/(\d+))?)?")


def expand(text: str, where: str) -> list[str]:
    """The names in a node set such as ``gpu[01-04],10.0.0.9``, in the order written; each once, or an error."""
    if not text.strip():
        raise DiagError(where, f"{text!r}: no host named", do=EXAMPLE)
    names: dict[str, str] = {}
    for part in split_parts(text):
        for name in expand_part(part, where, whole=text):
            if name in names:
                twice = f"{name!r} is selected twice: by {names[name]!r} and by {part!r}"
                raise DiagError(where, twice, do="name each host once")
            names[name] = part
    return list(names)


def split_parts(text: str) -> list[str]:
    """Split at the commas outside brackets."""
    return [part.strip() for part in re.split(r",(?![^\[\]]*\])", text)]


def expand_part(part: str, where: str, *, whole: str = "") -> list[str]:
    """The names in one comma part."""
    if not part:
        raise DiagError(where, f"{whole!r}: a comma with no host beside it", do=EXAMPLE)
    _refuse_what_is_no_node_set(part, where)
    try:
        names = list(NodeSet(part, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise DiagError(where, f"{part!r}: {error}", do=EXAMPLE) from error
    for name in names:
        require_host_name(name, where)
    return names


def _refuse_what_is_no_node_set(part: str, where: str) -> None:
    if part.rfind("[") > part.rfind("]"):
        raise DiagError(where, f"{part!r}: unclosed range", do=EXAMPLE)
    hosts = 1
    for inside in _BRACKET.findall(part):
        hosts *= sum(_length(piece, part, where) for piece in inside.split(","))
        _refuse_repeats(inside, part, where)
    if hosts > MOST_HOSTS:
        raise DiagError(where, f"{part!r}: {hosts:,} hosts", do=f"expected at most {MOST_HOSTS:,}")
    plain = _BRACKET.sub("0", part)
    if re.search(r"\s", plain):
        raise DiagError(where, f"{part!r}: a blank inside", do="separate hosts with commas")
    if "[" in plain or "]" in plain:
        raise DiagError(where, f"{part!r}: brackets do not pair", do=EXAMPLE)
    if "][" in part:
        raise DiagError(where, f"{part!r}: one range directly after another", do="expected e.g. gpu[1-2]-[1-4]")
    if plain.startswith("@"):
        raise DiagError(where, f"{part!r}: groups of this machine are not used", do=EXAMPLE)
    if not _NAME.fullmatch(plain):
        odd = "-" if plain.startswith("-") else next((c for c in plain if not re.match(r"[\w.:-]", c)), ":")
        raise DiagError(where, f"{part!r}: {odd!r} cannot be there in a host's name", do=EXAMPLE)


def _length(piece: str, part: str, where: str) -> int:
    if not piece.strip():
        raise DiagError(where, f"{part!r}: empty range", do=EXAMPLE)
    match = _RANGE.fullmatch(piece)
    if match is None:
        raise DiagError(where, f"{part!r}: {piece!r} is no range of numbers", do=EXAMPLE)
    low, high, step = match[1], match[2] or match[1], int(match[3] or 1)
    if int(high) < int(low):
        raise DiagError(where, f"{part!r}: range {piece} runs backwards", do=f"expected [{high}-{low}]")
    if len(low) != len(high) and low.startswith("0"):
        padded = f"[{low.zfill(len(high))}-{high}]"
        raise DiagError(where, f"{part!r}: {low} and {high} are not of the same width", do=f"expected {padded}")
    if step == 0:
        raise DiagError(where, f"{part!r}: a step of 0 in {piece}", do=EXAMPLE)
    return (int(high) - int(low)) // step + 1


def _refuse_repeats(inside: str, part: str, where: str) -> None:
    if "," not in inside:
        return
    seen: set[str] = set()
    for piece in inside.split(","):
        indices = set(RangeSet(piece).striter()) if _length(piece, part, where) <= MOST_HOSTS else set()
        if twice := sorted(seen & indices):
            raise DiagError(where, f"{part!r}: {twice[0]} is in it twice", do="name each host once")
        seen |= indices


def fold(names: Iterable[str]) -> str:
    """``gpu01, gpu02, gpu03`` -> ``gpu[01-03]``. What is no plain name is listed as it is."""
    return _fold(tuple(names))


@lru_cache(maxsize=4096)
def _fold(names: tuple[str, ...]) -> str:
    plain = [name for name in names if re.fullmatch(r"[\w.-]+", name)]
    odd = sorted({name for name in names if not re.fullmatch(r"[\w.-]+", name)})
    folded = str(NodeSet.fromlist(plain, resolver=RESOLVER_NOGROUP)) if plain else ""
    return ",".join([*([folded] if folded else []), *odd])
