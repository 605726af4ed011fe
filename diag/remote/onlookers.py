"""Who watches a node's GPUs for newcomers while a job of ours runs there? A job beside it, on the host's side.

In a container the pids of others are hidden; so where ranks run in one, the agent on the host looks.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from diag.errors import NodeError
from diag.facts.derived import gpu_users, sees_strangers
from diag.facts.device import Gpu
from diag.facts.node import Node
from diag.facts.record import is_known
from diag.participants import Participants
from diag.remote.inside import InnerSession
from diag.remote.session import Session

ONLOOKER = (
    "{python}",
    "-c",
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import onlooker; onlooker.main()",
    "{pyz}",
)
HIDDEN = "in a container the pids of others are hidden, and nobody looks from its host"


@dataclass(frozen=True, kw_only=True)
class Onlooker:
    """``session``: of the agent that looks; ``known``: pids that used the GPUs before, None: not known."""

    session: Session
    known: tuple[int, ...] | None = None
    inside: bool = False
    root: str = "/"
    environment: Mapping[str, str] | None = None

    def argv(self) -> tuple[str, ...]:
        wish = {"known": self.known, "inside": self.inside, "root": self.root}
        return (*ONLOOKER, msgspec.json.encode(wish).decode())

    def stop(self) -> None:
        with contextlib.suppress(NodeError):
            self.session.stop_jobs()


def beside(
    sessions: Mapping[str, Session], nodes: Sequence[Node], who: Participants
) -> tuple[dict[str, Onlooker], dict[str, str]]:
    """An onlooker for each node whose GPUs are used, or why there can be none."""
    names = set(who.names) if who.backend == "nccl" else set()
    found = {node.name: of(sessions[node.name], node) for node in nodes if node.name in names}
    looking = {name: one for name, one in found.items() if isinstance(one, Onlooker)}
    return looking, {name: one for name, one in found.items() if isinstance(one, str)}


def of(session: Session, node: Node) -> Onlooker | str:
    if isinstance(session, InnerSession):
        side = node.host_side if is_known(node, "host_side") else None
        blind = side is not None and not sees_strangers(side)
        return HIDDEN if blind else Onlooker(session=session.outer, known=_users(side), inside=True)
    if not sees_strangers(node):
        return HIDDEN
    gpus: tuple[Gpu, ...] = node.gpus if is_known(node, "gpus") else ()
    if not all(gpu.vendor == "nvidia" for gpu in gpus):
        return "only NVIDIA's driver says which processes use its GPUs"
    return Onlooker(session=session, known=_users(node))


def _users(node: Node | None) -> tuple[int, ...] | None:
    if node is None or not is_known(node, "gpus"):
        return None
    pids = gpu_users(node.gpus)
    return None if pids is None else tuple(pids)


def start(
    onlooker: Onlooker, seconds: float, on_newcomer: Callable[[str], None], on_look: Callable[[], None] = lambda: None
) -> None:
    """In a thread, until somebody comes or it is stopped; what goes wrong with it ends nothing.

    ``on_look``: it saw who uses the GPUs for the first time, and nobody was new.
    """

    def hear(line: Mapping[str, Any]) -> None:
        if line.get("looks"):
            on_look()
        if isinstance(line.get("stopped"), str):
            on_newcomer(line["stopped"])

    def work() -> None:
        with contextlib.suppress(NodeError):
            onlooker.session.job(onlooker.argv(), onlooker.environment or {}, seconds, hear)

    threading.Thread(target=work, daemon=True, name=f"diag onlooker {onlooker.session.host.name}").start()
