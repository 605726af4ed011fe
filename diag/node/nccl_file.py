"""How does NCCL's own log come from a rank to the controller? It goes to a private file, and from there to our lines.

NCCL reads these variables once, when its first communicator is made, so they stay for what is timed afterwards; but
for TUNING it says nothing of a call that needs no new connection.
"""

from __future__ import annotations

import os
import re

import markers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

SUBSYSTEMS = "INIT,NET,GRAPH,ENV"
LOGGED = re.compile(
    r" via |NET/|GPU Direct|NVLS mult|NVLS supp|nvls channels|Using network|NCCL version|NCCL_\w+ set|NCCL WARN"
)
LOG_AT_MOST, LINE_BYTES = 3000, 2500
RAW_BYTES = 160 * 1024
"""Of all ranks of a node together: so much of the log is told as it is, beyond that only what says something."""
BETWEEN = re.compile(r"NET/|GPU Direct|Using network|NCCL version|NCCL_\w+ set|NCCL WARN")
PASSING = re.compile(r"^.*?NCCL (?=INFO|WARN)|Channel \d+(/\d+)?|qpn \d+|0x[0-9A-Fa-f]+|\([0-9A-Fa-f]+/[0-9A-Fa-f]+\)")
"""In what lines differ that say the same of another channel, thread or queue pair."""
BETWEEN_AT_MOST = 60
"""Lines of a rank: of a thousand nodes of eight GPUs they are half a million."""


def ask(path: str, more: str = "") -> None:
    """Before anything of NCCL's runs. What a user has set of these variables is replaced in this process alone."""
    os.environ.update(NCCL_DEBUG="INFO", NCCL_DEBUG_SUBSYS=SUBSYSTEMS + more, NCCL_DEBUG_FILE=path)


def tell(rank: int, path: str, *, ranks: int = 0) -> None:
    """In parts short enough for the shared pipe. ``ranks`` of this node share what is told raw; 0: only of networks."""
    if not path or not os.path.exists(path):
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        kept = worth_telling(file, RAW_BYTES // ranks) if ranks else of_networks(file)
    part: list[str] = []
    for line in kept:
        if sum(map(len, part)) + len(line) > LINE_BYTES:
            markers.say(rank=rank, log=part)
            part = []
        part.append(line)
    if part:
        markers.say(rank=rank, log=part)


def worth_telling(lines: Iterable[str], raw_bytes: int) -> list[str]:
    """All of the first ``raw_bytes``; from there on what says which ways are taken."""
    kept: list[str] = []
    for line in lines:
        raw_bytes -= len(line)
        if len(kept) < LOG_AT_MOST and (raw_bytes > 0 or LOGGED.search(line)):
            kept.append(line.strip()[:400])
    return kept


def of_networks(lines: Iterable[str]) -> list[str]:
    """What says which network, HCA and GID is used and how: once of all channels and queue pairs that are alike."""
    kept: dict[str, str] = {}
    for line in lines:
        if len(kept) < BETWEEN_AT_MOST and BETWEEN.search(line):
            kept.setdefault(PASSING.sub("", line.strip()), line.strip()[:400])
    return list(kept.values())
