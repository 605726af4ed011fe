"""What did the board, the launchers and the ranks say during a job? What is known of each; nothing is judged here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from diag.errors import NodeError
from diag.participants import Participants
from diag.remote.session import JobEnd


class Trouble(msgspec.Struct, frozen=True):
    """``who``: ``rank:3``, ``node:1`` (its launcher) or ``board``, when it is the board that a rank lost."""

    who: str
    cause: str
    what: str


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One collective of one size on one rank; ``why``: it could not be had."""

    collective: str
    captured: bool
    size_bytes: int
    times_s: tuple[float, ...] = ()
    verified: bool = True
    why: str = ""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a rank's main thread was in: its ``calls``-th collective for ``waits_s``; None: on its way to the next."""

    into: str
    since_s: float
    calls: int
    waits_s: float | None = None


class Flight(msgspec.Struct, frozen=True, kw_only=True):
    """What torch's flight recorder counted on one rank; ``why``: it said nothing."""

    enqueued: int = 0
    completed: int = 0
    active: str = ""
    elements: int = 0
    why: str = ""


class Ras(msgspec.Struct, frozen=True, kw_only=True):
    """A part of what NCCL's RAS said to one rank; ``why``: it said nothing."""

    begins: bool = False
    text: str = ""
    why: str = ""


class Weighed(msgspec.Struct, frozen=True):
    """Bytes of a GPU: what large messages add to the first communicator, and what one more of so many ranks takes."""

    grown: int | None
    sizes: dict[int, int | None]


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """One ``@diag`` line of a job; ``at``: seconds since its node's launcher began."""

    at: float = 0.0
    rank: int | None = None
    launcher: int | None = None
    phase: str | None = None
    trouble: Trouble | None = None
    troubles: tuple[Trouble, ...] = ()
    failed: str | None = None
    overdue: float | None = None
    ends: dict[int, int] = {}
    size_bytes: int | None = None
    times_s: tuple[float, ...] = ()
    verified: bool = True
    left_out: int | None = None
    library: str | None = None
    environment: dict[str, str] = {}
    interpreter: str | None = None
    python: str | None = None
    measured: Measured | None = None
    log: tuple[str, ...] = ()
    communicator_bytes: int | None = None
    communicators: Weighed | None = None
    gpu: str = ""
    stopped: str | None = None
    into: str | None = None
    standing: Standing | None = None
    flight: Flight | None = None
    ras: Ras | None = None


class Hearing:
    """All that is known of a job so far. Nodes by their number in ``who``, ranks by their global number."""

    def __init__(self, who: Participants) -> None:
        self.who = who
        self.phases: dict[int, list[tuple[str, float]]] = {rank: [] for rank in range(who.world_size)}
        self.launched: dict[int, list[tuple[str, float]]] = {node: [] for node in range(len(who.places))}
        self.times_s: dict[int, dict[int, tuple[float, ...]]] = {}
        self.wrong: dict[int, set[int]] = {}
        self.left_out: list[int] = []
        self.measured: dict[int, list[Measured]] = {}
        self.logs: dict[int, list[str]] = {}
        self.communicator_bytes: dict[int, int] = {}
        self.communicators: dict[int, Weighed] = {}
        self.gpus: dict[int, str] = {}
        """Rank -> UUID."""
        self.into: dict[int, tuple[str, float]] = {}
        """Rank -> the phase it was on its way to, and when we heard that (monotonic)."""
        self.standings: dict[int, Standing] = {}
        self.flights: dict[int, Flight] = {}
        self.ras: dict[int, Ras] = {}
        self.troubles: dict[str, Trouble] = {}
        self.blamed: dict[int, tuple[Trouble, ...]] = {}
        self.lost_the_board: dict[int, str] = {}
        self.failed: dict[int, str] = {}
        self.launcher_failed: dict[int, str] = {}
        self.stopped_for: dict[int, str] = {}
        """Node -> whose sake we end the job for."""
        self.exit_codes: dict[int, int] = {}
        self.interpreters: dict[int, str] = {}
        self.library: str | None = None
        self.environment: dict[str, str] = {}
        self.ended: dict[int, JobEnd] = {}
        self.lost: dict[int, NodeError] = {}
        self.stopping = False
        self.troubled_at: float | None = None

    # -- hearing

    def hear(self, line: Mapping[str, Any]) -> None:
        """Take in one line; what is not a marker is left alone, and so is all that is said once we are stopping it."""
        if self.stopping:
            return
        try:
            marker = msgspec.convert(line, Marker, strict=False)
        except msgspec.ValidationError:
            return
        if marker.trouble is not None:
            self._blame(marker.trouble)
        if marker.rank in self.phases:
            self._hear_rank(marker.rank, marker)
        elif marker.launcher in self.launched:
            self._hear_launcher(marker.launcher, marker)

    def _hear_rank(self, rank: int, marker: Marker) -> None:
        if marker.phase is not None and marker.left_out is None:
            self.phases[rank].append((marker.phase, marker.at))
        if marker.size_bytes is not None:
            self.times_s.setdefault(marker.size_bytes, {})[rank] = marker.times_s
            if not marker.verified:
                self.wrong.setdefault(marker.size_bytes, set()).add(rank)
        if marker.left_out is not None and marker.left_out not in self.left_out:
            self.left_out.append(marker.left_out)
        self._hear_of_node(rank, marker)
        self._hear_witnesses(rank, marker)
        if marker.library is not None and (self.library is None or rank == 0):
            self.library, self.environment = marker.library, marker.environment
        if marker.failed is not None:
            self._say_failed(rank, marker.failed)
        if marker.overdue is not None:
            self._say_failed(rank, f"not done after {marker.overdue:.0f} s")
        self._hear_blame(rank, marker)

    def _hear_of_node(self, rank: int, marker: Marker) -> None:
        """What only the collectives within a node say."""
        if marker.measured is not None:
            self.measured.setdefault(rank, []).append(marker.measured)
        self.logs.setdefault(rank, []).extend(marker.log)
        if marker.communicator_bytes is not None:
            self.communicator_bytes[rank] = marker.communicator_bytes
        if marker.communicators is not None:
            self.communicators[rank] = marker.communicators
        if marker.gpu:
            self.gpus[rank] = marker.gpu

    def _hear_witnesses(self, rank: int, marker: Marker) -> None:
        """The latest of each counts; an answer of RAS comes in parts."""
        if marker.into is not None:
            self.into[rank] = (marker.into, time.monotonic())
        if marker.standing is not None:
            self.standings[rank] = marker.standing
        if marker.flight is not None:
            self.flights[rank] = marker.flight
        if marker.ras is not None:
            before = self.ras.get(rank)
            goes_on = before is not None and marker.ras.text and not marker.ras.begins
            self.ras[rank] = Ras(text=before.text + marker.ras.text) if goes_on and before else marker.ras

    def _hear_launcher(self, node: int, marker: Marker) -> None:
        if marker.phase is not None:
            self.launched[node].append((marker.phase, marker.at))
        if marker.interpreter is not None:
            self.interpreters[node] = f"{marker.interpreter} {marker.python}"
        if marker.stopped is not None:
            self.stopped_for[node] = marker.stopped
            self._mark()
        if marker.failed is not None:
            self.launcher_failed[node] = marker.failed
            self._mark()
        self.exit_codes |= {rank: code for rank, code in marker.ends.items() if rank in self.phases}
        if marker.ends:
            self._mark()
        for rank in self.who.ranks_of(node):
            if not self.phases[rank]:  # it speaks for ranks that torchrun has not started
                self._hear_blame(rank, marker)

    def _hear_blame(self, rank: int, marker: Marker) -> None:
        if marker.troubles:
            self.blamed[rank] = marker.troubles
            self._mark()
            for trouble in marker.troubles:
                if trouble.who == "board":
                    self.lost_the_board[rank] = trouble.what
                elif not self.troubles:
                    self._blame(trouble)

    def _say_failed(self, rank: int, what: str) -> None:
        self.failed.setdefault(rank, what)
        self._mark()

    def _blame(self, trouble: Trouble) -> None:
        self.troubles.setdefault(trouble.who, trouble)
        self._mark()

    def end(self, node: int, how: JobEnd | NodeError) -> None:
        """A node's job is over."""
        if self.stopping:
            return
        if isinstance(how, NodeError):
            self.lost[node] = how
        else:
            self.ended[node] = how
        if not all(self.is_done(rank) for rank in self.who.ranks_of(node)):
            self._mark()

    def _mark(self) -> None:
        self.troubled_at = self.troubled_at or time.monotonic()

    # -- asking

    def is_done(self, rank: int) -> bool:
        return bool(self.phases[rank]) and self.phases[rank][-1][0] == "done"

    def all_done(self) -> bool:
        return all(map(self.is_done, self.phases))

    def has_spoken(self, rank: int) -> bool:
        """Whether this rank, or who speaks for it, has said how it ended."""
        return self.is_done(rank) or rank in self.blamed or rank in self.failed

    def has_lost_its_board(self) -> bool:
        """Most ranks hear nothing from the board: not they are cut off, but the first node, or nothing runs there."""
        return len(self.lost_the_board) > self.who.world_size / 2

    def accused(self) -> set[int]:
        """Nodes whose agent has to answer, or they are lost: whom the board missed, or who said no word.

        And the first one, on which the board runs, where ranks lost the board.
        """
        missed = {t.who for t in self.troubles.values() if t.cause in ("rank_frozen", "rank_missing")}
        if self.lost_the_board:
            missed.add("node:0")
        return {node for node in self._nodes() if f"node:{node}" in missed or self._is_missed(node, missed)}

    def _is_missed(self, node: int, missed: set[str]) -> bool:
        return any(f"rank:{rank}" in missed or not self.has_spoken(rank) for rank in self.who.ranks_of(node))

    def nodes_done(self) -> set[str]:
        return {self.who.names[node] for node in self._nodes() if self._is_through(node)}

    def _is_through(self, node: int) -> bool:
        return all(map(self.is_done, self.who.ranks_of(node)))

    def _nodes(self) -> range:
        return range(len(self.who.places))
