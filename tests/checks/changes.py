"""Named changes to a healthy cluster: ``on("gpu02", limits=having(nofile_hard=1024))``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from diag.facts.record import peek
from diag.facts.snapshot import Snapshot
from diag.facts.software import Package, Setting
from tests.checks.machines import CONFIG

Change = Callable[[Snapshot], Snapshot]


def _new(old: Any, wish: Any) -> Any:
    """A wish is a value, or what makes one of the old value."""
    return wish(old) if callable(wish) else wish


def on(name: str, **topics: Any) -> Change:
    """The cluster with changed topics on one node; ``*`` means all."""

    def change(cluster: Snapshot) -> Snapshot:
        nodes = tuple(having(**topics)(node) if name in (node.name, "*") else node for node in cluster.nodes)
        return msgspec.structs.replace(cluster, nodes=nodes)

    return change


def of_cluster(**fields: Any) -> Change:
    return having(**fields)


def having(**fields: Any) -> Callable[[Any], Any]:
    """A record with changed fields."""
    return lambda record: msgspec.structs.replace(
        record, **{name: _new(peek(record, name), wish) for name, wish in fields.items()}
    )


def item(chosen: Callable[[Any], bool] | int, wish: Any) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """A tuple with one entry changed: by its place, or those that are chosen."""

    def change(entries: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            _new(entry, wish) if (place == chosen if isinstance(chosen, int) else chosen(entry)) else entry
            for place, entry in enumerate(entries)
        )

    return change


def named(name: str) -> Callable[[Any], bool]:
    return lambda entry: name in (getattr(entry, "name", None), getattr(entry, "use", None))


def without(chosen: Callable[[Any], bool]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    return lambda entries: tuple(entry for entry in entries if not chosen(entry))


def more(*entries: Any) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    return lambda old: (*old, *entries)


def both(*changes: Change) -> Change:
    def change(cluster: Snapshot) -> Snapshot:
        for each in changes:
            cluster = each(cluster)
        return cluster

    return change


def as_is(cluster: Snapshot) -> Snapshot:
    return cluster


def setting(name: str, value: str) -> Callable[[tuple[Setting, ...]], tuple[Setting, ...]]:
    return lambda old: (*without(named(name))(old), Setting(name=name, value=value, source="environment"))


def package(name: str, version: str) -> Callable[[tuple[Package, ...]], tuple[Package, ...]]:
    return lambda old: (*without(named(name))(old), Package(name=name, version=version))


def config(**changes: object) -> str:
    """The text of the healthy cluster's config.json, with changes."""
    return json.dumps(CONFIG | changes)
