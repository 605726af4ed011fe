"""What of a published config does its architecture follow from? That, and no more, is the bundled catalogue.json.

``python -m tests.planner.write_catalogue FOLDER`` writes it anew, from files named ``publisher__model_config.json``.
A key stays where the architecture differs without it; names of layers are folded: ``layers.{0-3,7}.mlp``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diag.planner.model import families
from diag.planner.model.architecture import Architecture
from diag.planner.model.catalogue import CATALOGUE, LIKE, QUANTIZATION, TIMES, expanded
from diag.planner.unknown import NotKnown

ALWAYS = ("architectures", "model_type", "torch_dtype", "dtype", "max_position_embeddings")
CONFIG = "_config.json"
_LAYER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def published(folder: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    """Name, config and hf_quant_config of each."""
    for file in sorted(folder.glob(f"*{CONFIG}"), key=lambda file: file.name.removesuffix(CONFIG).lower()):
        stem = file.name.removesuffix(CONFIG)
        if stem.endswith("_hf_quant"):
            continue
        side = folder / f"{stem}_hf_quant{CONFIG}"
        hf_quant = json.loads(side.read_text()) if side.is_file() else None
        yield stem.replace("__", "/", 1), json.loads(file.read_text()), hf_quant


def read(row: Mapping[str, Any]) -> Architecture | None:
    """Of a row of the catalogue; None: not known."""
    try:
        config = expanded({key: value for key, value in row.items() if key != QUANTIZATION})
        return families.read(config, expanded(row.get(QUANTIZATION)))
    except NotKnown:
        return None


def least(row: dict[str, Any]) -> dict[str, Any]:
    """The smallest row of the same architecture."""
    return _least(row, row, read(row))


def _least(
    row: dict[str, Any], part: dict[str, Any], wanted: Architecture | None, *, top: bool = True
) -> dict[str, Any]:
    """``part`` lies somewhere in ``row``; both are changed in place."""
    for key in list(part):
        if top and key in ALWAYS:
            continue
        kept = part.pop(key)
        if read(row) == wanted:
            continue
        part[key] = folded(kept)
        if read(row) != wanted:
            part[key] = kept
        if isinstance(part[key], dict):
            _least(row, part[key], wanted, top=False)
        elif isinstance(kept, list) and all(isinstance(one, dict) for one in kept):
            _least_of_each(row, kept, wanted)
            part[key] = folded(kept)
    return row


def _least_of_each(row: dict[str, Any], parts: list[dict[str, Any]], wanted: Architecture | None) -> None:
    """Keys below keys too: ``attention.n_heads_in_group`` of each layer."""
    for path in dict.fromkeys(path for part in parts for path in _paths(part)):
        kept = [(holder, holder.pop(path[-1])) for part in parts if path[-1] in (holder := _holder(part, path))]
        if read(row) != wanted:
            for holder, value in kept:
                holder[path[-1]] = value


def _paths(part: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in part.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *below) for below in _paths(value))


def _holder(part: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path[:-1]:
        part = part.get(key) or {}
    return part


def folded(value: Any) -> Any:
    """Names of one spelling in all but the number of their layer become one, repeated items an item with a count."""
    if isinstance(value, list) and any(isinstance(one, str) and _LAYER.search(one) for one in value):
        return [_fold(spelling, numbers) for spelling, numbers in _spelled((one, None) for one in value)]
    if isinstance(value, list):
        return _counted(value)
    if isinstance(value, dict) and any(map(_LAYER.search, value)):
        rows = ((key, json.dumps(one)) for key, one in value.items())
        return {_fold(spelling, n): json.loads(spelling[1]) for spelling, n in _spelled(rows)}
    return {key: folded(one) for key, one in value.items()} if isinstance(value, dict) else value


def _counted(items: list[Any]) -> list[Any]:
    """A period that starts the list and what follows; each run that is left, by itself."""
    for period in range(2, len(items) // 2 + 1):
        times = len(items) // period
        if items[:period] * times == items[: period * times]:
            return [[TIMES, times, *items[:period]], *items[period * times :]]
    runs: list[list[Any]] = []
    for item in items:
        if runs and runs[-1][1:] == [item]:
            runs[-1][0] += 1
        else:
            runs.append([1, item])
    return [[TIMES, *run] if run[0] > 1 else run[1] for run in runs]


def _spelled(rows: Any) -> list[tuple[tuple[str, Any], list[int]]]:
    found: dict[tuple[str, Any], list[int]] = {}
    for name, beside in rows:
        number = _LAYER.search(name)
        spelling = (name[: number.start()] + "{}" + name[number.end() :]) if number else name
        spelling = re.sub(r"\bexperts\.\d+\.", "experts.0.", spelling)
        numbers = found.setdefault((spelling, beside), [])
        if number and int(number[0]) not in numbers:
            numbers.append(int(number[0]))
    return list(found.items())


def _fold(spelling: tuple[str, Any], numbers: list[int]) -> str:
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return spelling[0].replace("{}", "{" + ",".join(f"{a}-{b}" if a != b else str(a) for a, b in runs) + "}")


def short(rows: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Rows that say only what they have not in common with an earlier one."""
    found: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        others = [other for other in found if LIKE not in found[other] and set(rows[other]) <= set(row)]
        told = (row, *({LIKE: other, **_differing(row, rows[other])} for other in others))
        found[name] = min(told, key=lambda one: len(_line(one)))
    return found


def _differing(row: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in other or other[key] != value}


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def text(folder: Path) -> str:
    """A line for each that the planner knows."""
    rows = {}
    for name, config, hf_quant in published(folder):
        row = config if hf_quant is None else {**config, QUANTIZATION: hf_quant}
        if read(row) is not None:
            rows[name] = least(row)
    lines = (f"{json.dumps(name)}:{_line(row)}" for name, row in short(rows).items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    target = Path(__file__).parents[2] / "diag" / "planner" / "model" / CATALOGUE
    target.write_text(text(Path(sys.argv[1])))
