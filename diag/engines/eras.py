"""Which rules hold for a version of an engine? The newest of those that have held since it or before."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from diag.planner.rules import EngineRules
from diag.planner.unknown import NotKnown

Version = tuple[int, int, int]


def numbers(version: str) -> Version | None:
    """``0.5.10.post1`` -> (0, 5, 10), ``0.33`` -> (0, 33, 0); None: no version."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def rules_of(engine: str, version: str | None, eras: Mapping[Version, EngineRules], newest: Version) -> EngineRules:
    """The rules for ``version`` (None: ``newest``) under its own name. Raises NotKnown where it is older than all.

    ``newest``: the last version that was read; a later one gets its rules, and a note that says so.
    """
    known = _name(newest)
    if version is None:
        unnamed = f"no version named or installed: planned for {known}, the newest diag knows"
        return msgspec.structs.replace(eras[max(eras)], version=known, note=unnamed)
    asked = numbers(version)
    if asked is None:
        raise NotKnown(f"{engine} version {version!r}", f"name one: --engine {engine}=={known}")
    since = max((era for era in eras if era <= asked), default=None)
    if since is None:
        oldest = _name(min(eras))
        raise NotKnown(
            f"memory rules of {engine} {version}: known from {oldest} to {known}", f"upgrade {engine} to {known}"
        )
    newer = asked[: len(known.split("."))] > newest[: len(known.split("."))]
    note = f"{version} is newer than {known}, the newest diag knows: planned by its rules" if newer else None
    return msgspec.structs.replace(eras[since], version=version, note=note, newer=newer)


def _name(version: Version) -> str:
    return ".".join(str(number) for number in (version if version[2] else version[:2]))
