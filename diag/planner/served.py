"""Does a version of an engine know a model's class? As the registries of its releases list them (``served.json``).

Read in vLLM's models/registry.py (0.6.2 and before: models/__init__.py), in EntryClass of sglang/srt/models, in
module_map.py of LMDeploy's PyTorch engine and supported_models.py of its TurboMind; Ollama's are those that its own
importer (convert/convert.go) or conversion/__init__.py of llama.cpp, which it runs, makes a GGUF file of. ``read``:
those releases; ``since``: in which a class was first seen, ``until``: in which last, where the newest has it no more,
``lacking``: between the two, in which it was not.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Literal

import msgspec

from diag.planner.model.formats.support import release

TABLE = "served.json"
ELSEWHERE: Mapping[str, str] = {
    "vllm": "its Transformers backend may take it",
    "sglang": "its Transformers backend may take it",
    "ollama": "a GGUF file of it may run",
}
"""What an engine does with a class that it does not list; where nothing stands, it refuses it."""
PACKAGES: Mapping[str, str] = {"turbomind": "lmdeploy"}
"""What has the version of one that is a part of another."""

Version = tuple[int, ...]


class Served(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["yes", "no", "unknown"]
    why: str
    source: str
    lever: str | None = None
    """What would change a no."""


class _Engine(msgspec.Struct, frozen=True, kw_only=True):
    read: tuple[str, ...]
    since: Mapping[str, str]
    until: Mapping[str, str]
    lacking: Mapping[str, tuple[str, ...]] = {}
    """Names by release."""


def served(engine: str, version: str, name: str) -> Served:
    """``name``: of ``architectures`` in the config. Of a version newer than all that were read: as the newest."""
    table = _engines().get(engine)
    if table is None or not name:
        why = "the model names no class" if table else f"which models {engine} knows was not read"
        return Served(kind="unknown", why=why, source="")
    source = f"registry of {engine}, {table.read[0]} to {table.read[-1]}"
    if name not in table.since:
        return _unlisted(engine, version, name, source)
    if _number(version) < _number(table.since[name]):
        return _before(engine, version, name, table, source)
    last = table.until.get(name)
    if last is not None and _number(version) > _number(last):
        return _dropped(engine, version, name, table, source)
    if any(name in names and _number(one) == _number(version) for one, names in table.lacking.items()):
        return Served(kind="no", why=f"{engine} {version} does not know {name}", source=source)
    return Served(kind="yes", why=f"{engine} {version} knows {name}", source=source)


def _unlisted(engine: str, version: str, name: str, source: str) -> Served:
    more = ELSEWHERE.get(engine)
    told = f"{engine} {version} lists no {name}" + (f": {more}" if more else "")
    return Served(kind="unknown" if more else "no", why=told, source=source)


def _before(engine: str, version: str, name: str, table: _Engine, source: str) -> Served:
    """It is certain where a release lacked the class that is not older than this one."""
    since = table.since[name]
    lacked = (one for one in table.read if _number(one) < _number(since))
    certain = any(_number(one) >= _number(version) for one in lacked)
    told = f"{engine} {version} does not know {name}: since {since}"
    if certain:
        lever = f"upgrade {PACKAGES.get(engine, engine)} to {since} or later"
        return Served(kind="no", why=told, source=source, lever=lever)
    unread = f"whether {engine} {version} knows {name} was not read: {since} does"
    return Served(kind="unknown", why=unread, source=source)


def _dropped(engine: str, version: str, name: str, table: _Engine, source: str) -> Served:
    last, more = table.until[name], ELSEWHERE.get(engine)
    told = f"{engine} {version} does not know {name} any more: until {last}"
    if any(_number(last) < _number(one) <= _number(version) for one in table.read) and more is None:
        return Served(kind="no", why=told, source=source, lever=f"{PACKAGES.get(engine, engine)} {last}")
    return Served(kind="unknown", why=f"{told}; {more}" if more else told, source=source)


def _number(version: str) -> Version:
    """``0.12`` is 0.12.0."""
    return (*release(version), 0, 0)[:3]


@functools.cache
def _engines() -> Mapping[str, _Engine]:
    tables = json.loads((files("diag.planner") / TABLE).read_text(encoding="utf-8"))
    return {
        engine: _Engine(
            read=tuple(rows["read"].split()),
            since=_by_name(rows["since"]),
            until=_by_name(rows["until"]),
            lacking={release: tuple(names.split()) for release, names in rows.get("lacking", {}).items()},
        )
        for engine, rows in tables.items()
    }


def _by_name(rows: Mapping[str, str]) -> Mapping[str, str]:
    return {name: version for version, names in rows.items() for name in names.split()}
