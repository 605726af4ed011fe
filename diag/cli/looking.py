"""Which raw answers were asked for on the command line, and how are they told?"""

from __future__ import annotations

import sys
from pathlib import Path

from diag.errors import DiagError
from diag.facts import snapshot as snapshots
from diag.facts.snapshot import Snapshot
from diag.inventory import fold
from diag.report.ink import Ink
from diag.report.raw import Kept, listed_lines, raw_lines
from diag.rundir import last_run, raw_evidence

WHAT = "evidence"


def evidence(words: tuple[str, ...]) -> int:
    """Tell it, and the exit status. Raises DiagError for what is not there."""
    place, rest = _place(words)
    snapshot = snapshots.load(place)
    kept = _chosen(snapshot, rest)
    ink = Ink(sys.stdout)
    if rest[-1:] == [kept[0].topic]:
        folder = place if place.is_dir() else place.parent
        ink.write(raw_lines([(one, raw_evidence(folder, one.sha256)) for one in kept], ink))
    else:
        ink.write(listed_lines(kept, ink))
    return 0


def _place(words: tuple[str, ...]) -> tuple[Path, list[str]]:
    """The first word is a Snapshot where there is such a file, or a folder that holds one."""
    if words and (Path(words[0]).is_file() or any(Path(words[0]).glob("snapshot.json*"))):
        return Path(words[0]), list(words[1:])
    if len(words) > 2:  # noqa: PLR2004 - a node and a topic
        raise DiagError(WHAT, f"{words[0]}: no such Snapshot", do="name a snapshot.json or a run directory")
    return last_run(), list(words)


def _chosen(snapshot: Snapshot, words: list[str]) -> list[Kept]:
    """What is kept of that node and topic, of all where none is named; the same text of several nodes once."""
    names = [node.name for node in snapshot.nodes]
    topics = list(dict.fromkeys(one.topic for node in snapshot.nodes for one in node.evidence))
    left = list(words)
    node = left.pop(0) if left and left[0] in names else None
    topic = left.pop(0) if left and left[0] in topics else None
    if left:
        do = f"nodes: {fold(names)}; topics: {', '.join(topics) or 'none'}"
        raise DiagError(WHAT, f"{left[0]!r}: neither a node nor a topic that is left to name", do=do)
    found: dict[tuple[str, str, int], list[str]] = {}
    for each in snapshot.nodes:
        for one in each.evidence if node in (None, each.name) else ():
            if topic in (None, one.topic):
                found.setdefault((one.topic, one.sha256, one.size_bytes), []).append(each.name)
    if not found:
        raise DiagError(WHAT, f"nothing was kept of {' '.join(words) or 'any node'}")
    return [
        Kept(topic=name, nodes=tuple(nodes), sha256=sha256, size_bytes=size_bytes)
        for (name, sha256, size_bytes), nodes in found.items()
    ]
