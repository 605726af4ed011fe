"""Which version of an engine is installed on the nodes, and what is a version?"""

from __future__ import annotations

import re
from collections import defaultdict

from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot

_VERSION = re.compile(
    r"[0-9]+(\.[0-9]+)+([-_.]?(a|b|c|rc|alpha|beta|pre|preview|post|rev|r|dev)[-_.]?[0-9]*)*(\+[a-z0-9]+([-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)
"""As packages are numbered (PEP 440), with a second number as every engine has."""


def is_version(text: str) -> bool:
    """``0.33.0``, ``0.11.0rc1``, ``0.10.2.dev1+cu129``."""
    return _VERSION.fullmatch(text) is not None


def installed(snapshot: Snapshot, engine: str) -> tuple[str | None, str | None]:
    """The version to plan for and, where nodes differ, a line that says so. None: on no node.

    Where versions differ the oldest is planned for: what it accepts is most likely accepted by the others.
    """
    nodes: dict[str | None, list[str]] = defaultdict(list)
    for node in snapshot.nodes:
        try:
            nodes[next((p.version for p in node.software.packages if p.name == engine), None)].append(node.name)
        except NotMeasured:
            continue
    versions = sorted((version for version in nodes if version is not None), key=_numbers)
    if not versions:
        return None, None
    if len(nodes) == 1:
        return versions[0], None
    seen = "; ".join(f"{version or 'not installed'} on {', '.join(names)}" for version, names in nodes.items())
    return versions[0], f"differs between nodes ({seen}): planned for {versions[0]}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))
