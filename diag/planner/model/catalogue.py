"""Which models can be planned for without any file, and what shapes do their published configs say?

``catalogue.json`` has a line for each: the keys of its ``config.json`` that its architecture follows from. ``like``:
those of that model, but for what follows; ``hf_quant_config``: what lies in a file of that name beside the config.
Names of layers are folded: ``layers.{0-3,7}.mlp`` stands for five; ``["×", 3, "a", "b"]`` in a list for a, b thrice.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any

import msgspec

DEFAULT = "Qwen/Qwen3-0.6B"
CATALOGUE = "catalogue.json"
LIKE, QUANTIZATION, TIMES = "like", "hf_quant_config", "×"
_FOLDED = re.compile(r"\{([\d,-]+)\}")


class Bundled(msgspec.Struct, frozen=True, kw_only=True):
    """As the files of a checkpoint say it."""

    config: Mapping[str, Any]
    hf_quant: Mapping[str, Any] | None


def names() -> tuple[str, ...]:
    """As published on huggingface.co."""
    return tuple(_rows())


def bundled(name: str) -> Bundled:
    row = dict(_row(name))
    hf_quant = row.pop(QUANTIZATION, None)
    return Bundled(config=expanded(row), hf_quant=expanded(hf_quant))


def expanded(value: Any) -> Any:
    """With folded names of lists and mappings written out."""
    if isinstance(value, Mapping):
        return {name: expanded(one) for key, one in value.items() for name in _unfolded(key)}
    return [one for kept in value for one in _items(kept)] if isinstance(value, list) else value


def _items(kept: Any) -> Iterable[Any]:
    if isinstance(kept, str):
        return _unfolded(kept)
    if isinstance(kept, list) and kept[:1] == [TIMES]:
        return list(expanded(kept[2:])) * int(kept[1])
    return (expanded(kept),)


@functools.cache
def _rows() -> Mapping[str, Mapping[str, Any]]:
    text = (files("diag.planner.model") / CATALOGUE).read_text(encoding="utf-8")
    rows: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return rows


def _row(name: str) -> Mapping[str, Any]:
    row = dict(_rows()[name])
    like = row.pop(LIKE, None)
    return row if like is None else {**_row(like), **row}


def _unfolded(name: str) -> Iterator[str]:
    found = _FOLDED.search(name)
    if found is None:
        yield name
        return
    for run in found[1].split(","):
        first, _, last = run.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"{name[: found.start()]}{number}{name[found.end() :]}"
