"""How does one torchrun job run on several nodes at once? Started by their agents, heard, and ended at our deadline.

The first node has two jobs: the board, at which launchers and ranks meet, and its own launcher. A job is over when all
ranks are done, or a moment after the first trouble: long enough for the others to say whom they miss.
"""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from diag.errors import NodeError
from diag.facts.record import NotMeasured
from diag.participants import Participants
from diag.remote import onlookers
from diag.remote.hearing import Hearing
from diag.remote.onlookers import Onlooker
from diag.remote.session import JobEnd, Session

BOARD_S = 8.0
LAST_WORDS_S = 2.5
"""Enough for a rank that is not frozen, but cut off, to notice that and say so."""
STOP_S = 3.0
SILENT = "it answers no more, and neither do its ranks"
MONITOR_S = 0.3
"""torchrun ends the ranks beside a dead one this late at the earliest, so the board can tell who was first."""
RECORDER = {"TORCH_FR_BUFFER_SIZE": "2000", "TORCH_NCCL_TRACE_BUFFER_SIZE": "2000"}
"""The flight recorder's own default since torch 2.6; before, it recorded nothing without. Two names of one size."""
LOG = "{dir}/nccl"
"""In the agent's private directory, with the rank behind it."""
LAUNCH = "import sys; sys.path.insert(0, sys.argv.pop(1)); import launch; launch.main(sys.path[0])"
BOARD = "import sys; sys.path.insert(0, sys.argv.pop(1)); import board; board.main()"

Event = tuple[int | None, Mapping[str, Any] | JobEnd | NodeError]
"""Node's number (None: the board), and what it said or how it ended."""


class Job:
    """One run of ``who`` with the rendezvous at ``port`` of the first place."""

    def __init__(
        self,
        sessions: Mapping[str, Session],
        who: Participants,
        *,
        port: int,
        sizes_bytes: tuple[int, ...] = (),
        until: float,
        on_done: Callable[[str], None],
        program: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        watched: Mapping[str, Onlooker] | None = None,
    ) -> None:
        """``program``: module of diag/node and its words; empty: the all-reduce. ``environment``: for ranks, too.

        ``watched``: nodes on whose GPUs a newcomer ends the job.
        """
        self.sessions = [sessions[name] for name in who.names]
        self.who, self.port = who, port
        self.program = program or ("allreduce", ",".join(map(str, sizes_bytes)), LOG)
        self.more = dict(environment or {})
        self.watched = watched or {}
        self.until, self.on_done = until, on_done
        self.token = secrets.token_hex(16)
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.heard = Hearing(who)
        self.running = 0
        self.answered: set[int] = set()
        """Nodes that still answered when they were told to end their job."""
        self.outputs: dict[str, JobEnd] = {}
        """Node -> how its launcher ended, for those that could still say so."""
        self.told: set[str] = set()

    @property
    def left_s(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def run(self) -> Hearing:
        """Raises NotMeasured when not even the board could be started."""
        board_port = self._start_board()
        for node, name in enumerate(self.who.names):
            if name in self.watched:
                onlookers.start(self.watched[name], self.left_s, partial(self._hear_onlooker, node))
        for node in range(len(self.sessions)):
            argv = ("{python}", "-c", LAUNCH, "{pyz}", *self._torchrun(node))
            self._start(node, self.sessions[node], argv, self._environment(node, board_port))
        try:
            self._listen()
        finally:
            self._stop()
        return self.heard

    def exported(self) -> dict[str, str]:
        """What is set for every rank; names of interfaces are each node's own."""
        variables = [self._exported(node) for node in range(len(self.sessions))]
        return {
            name: value if all(other[name] == value for other in variables) else "each node's own"
            for name, value in variables[0].items()
        }

    # -- what is started

    def _start_board(self) -> int:
        first = self.who.places[0]
        asked = {
            "address": first.address,
            "peers": [place.address for place in self.who.places],
            "nodes": len(self.sessions),
            "ranks": self.who.world_size,
            "deadline_s": self.left_s,
        }
        argv = ("{python}", "-c", BOARD, "{pyz}", json.dumps(asked))
        self._start(None, self.sessions[0], argv, {"DIAG_TOKEN": self.token})
        until = time.monotonic() + min(BOARD_S, self.left_s)
        while time.monotonic() < until:
            event = self._next(until - time.monotonic())
            if event is None:
                continue
            said = event[1]
            if isinstance(said, Mapping) and "port" in said:
                return int(said["port"])
            what = said.get("said") if isinstance(said, Mapping) else _words(said)
            raise NotMeasured(f"{first.node}: the ranks' meeting point could not be opened at {first.address}: {what}")
        raise NotMeasured(f"{first.node}: the ranks' meeting point was not opened within {BOARD_S:g} s")

    def _torchrun(self, node: int) -> tuple[str, ...]:
        return (
            f"--nnodes={len(self.sessions)}",
            f"--node_rank={node}",
            f"--nproc_per_node={self.who.ranks[node]}",
            f"--master_addr={self.who.places[0].address}",
            f"--master_port={self.port}",
            "--max_restarts=0",
            f"--monitor_interval={MONITOR_S}",
            "-m",
            *self.program,
        )

    def _exported(self, node: int) -> dict[str, str]:
        name = self.who.places[node].interface
        return {
            "GLOO_SOCKET_IFNAME": name,
            "NCCL_SOCKET_IFNAME": f"={name}",  # without the sign NCCL takes every name that begins so
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as NVML counts, and as each GPU by itself was measured
            "TORCH_CPP_LOG_LEVEL": "ERROR",
            **RECORDER,
            **(self.who.shown[node] if self.who.shown else {}),
            **self.more,
        }

    def _environment(self, node: int, board_port: int) -> dict[str, str]:
        place = {
            "address": self.who.places[0].address,
            "port": board_port,
            "source": self.who.places[node].address,
            "node": node,
        }
        return {
            **self._exported(node),
            "DIAG_BOARD": json.dumps(place),
            "DIAG_TOKEN": self.token,
            "DIAG_BACKEND": self.who.backend,
            "DIAG_DEADLINE_S": f"{max(1.0, self.left_s - LAST_WORDS_S):.1f}",
        }

    def _start(self, node: int | None, session: Session, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
        def work() -> None:
            try:
                self.events.put((node, session.job(argv, env, self.left_s, lambda line: self.events.put((node, line)))))
            except NodeError as error:
                self.events.put((node, error))

        self.running += 1
        threading.Thread(target=work, daemon=True, name=f"diag job {session.host.name}").start()

    # -- what is heard

    def _hear_onlooker(self, node: int, why: str) -> None:
        self.events.put((node, {"launcher": node, "stopped": why}))

    def _listen(self) -> None:
        while not self.heard.all_done() and self.left_s > 0 and not self._is_over():
            self._next(min(0.25, self.left_s))
            for name in self.heard.nodes_done() - self.told:
                self.told.add(name)
                self.on_done(name)

    def _is_over(self) -> bool:
        """After trouble: once all others have spoken, or a moment later; for somebody else's sake at once."""
        if self.heard.stopped_for:
            return True
        if self.heard.troubled_at is None:
            return False
        waited_s = time.monotonic() - self.heard.troubled_at
        blamed = {trouble.who for trouble in self.heard.troubles.values() if trouble.cause != "rank_frozen"}
        silent = [
            rank
            for node in range(len(self.sessions))
            for rank in self.who.ranks_of(node)
            if not self.heard.has_spoken(rank) and not {f"rank:{rank}", f"node:{node}"} & blamed
        ]
        return waited_s > LAST_WORDS_S or (waited_s > 2 * MONITOR_S and not silent)

    def _next(self, timeout_s: float) -> Event | None:
        try:
            event = self.events.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
        node, said = event
        if isinstance(said, Mapping):
            self.heard.hear(said)
        else:
            self.running -= 1
            if node is not None:
                self.heard.end(node, said)
                if isinstance(said, JobEnd):
                    self.answered.add(node)
                    self.outputs[self.who.names[node]] = said
        return event

    def _stop(self) -> None:
        """End what still runs; a node that does not answer is not waited for: its agent ends the job by itself."""
        self.heard.stopping = True
        for node, session in enumerate(self.sessions):
            threading.Thread(target=self._stop_on, args=(node, session), daemon=True).start()
        until = time.monotonic() + STOP_S
        while self.running and time.monotonic() < until:
            self._next(until - time.monotonic())
        for node in self.heard.accused() - self.answered:
            self.heard.lost.setdefault(node, NodeError(self.who.names[node], "agent_silent", SILENT))

    def _stop_on(self, node: int, session: Session) -> None:
        """Whoever waits for the job learns what goes wrong here."""
        with contextlib.suppress(NodeError):
            session.stop_jobs()
            if (onlooker := self.watched.get(session.host.name)) is not None:
                onlooker.session.stop_jobs()
            session.clock(samples=1, deadline_s=STOP_S)
            self.answered.add(node)


def _words(end: JobEnd | NodeError) -> str:
    if isinstance(end, NodeError):
        return end.what
    return (end.output.strip().splitlines() or [f"it ended with status {end.status}"])[-1]
