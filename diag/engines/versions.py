"""Which version of an engine is installed on the nodes?"""

from __future__ import annotations

import re
from collections import defaultdict

from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot


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
