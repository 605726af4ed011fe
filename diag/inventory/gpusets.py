"""Which nodes and GPUs does ``gpu03:5,gpu[07-08]`` name, and how is that written back?

A GPU stands behind a colon, ``gpu03:[4-5]`` are two. A name with several colons is an IPv6 address, a whole node.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from diag.errors import DiagError
from diag.inventory.nodesets import expand_part, fold, split_parts

EXAMPLE = "expected e.g. gpu03:5 or gpu[07-08]"
_GPUS = re.compile(r"(?P<node>[^:]*):(?P<gpus>\d{1,4}|\[[\d,/-]+\])")


class Part(msgspec.Struct, frozen=True, order=True):
    """A GPU of a node by its index, or a whole node: −1."""

    node: str
    gpu: int = -1


def parts(text: str, where: str) -> tuple[Part, ...]:
    """Each once, in the order written. Raises DiagError."""
    if not text.strip():
        raise DiagError(where, f"{text!r}: no node named", do=EXAMPLE)
    return tuple(dict.fromkeys(part for written in split_parts(text) for part in _of(written, where, text)))


def _of(written: str, where: str, whole: str) -> list[Part]:
    found = _GPUS.fullmatch(written)
    if found is None:
        if written.count(":") == 1:
            raise DiagError(where, f"{written!r}: {written.partition(':')[2]!r} is no GPU's number", do=EXAMPLE)
        return [Part(name) for name in expand_part(written, where, whole=whole)]
    nodes = expand_part(found["node"], where, whole=whole)
    gpus = [int(one[1:]) for one in expand_part(f"g{found['gpus']}", where, whole=whole)]
    return [Part(node, gpu) for node in nodes for gpu in gpus]


def folded(given: Iterable[Part]) -> str:
    """As it can be typed again: ``gpu03:[4-5],gpu[07-08]``."""
    nodes: dict[str, list[int]] = {}
    for part in given:
        nodes.setdefault(part.node, []).append(part.gpu)
    alike: dict[tuple[int, ...], list[str]] = {}
    for node, gpus in nodes.items():
        alike.setdefault((-1,) if -1 in gpus else tuple(sorted(gpus)), []).append(node)
    return ",".join(fold(names) + _gpus(gpus) for gpus, names in alike.items())


def _gpus(gpus: tuple[int, ...]) -> str:
    return "" if gpus == (-1,) else ":" + fold(f"g{gpu}" for gpu in gpus).removeprefix("g")
