"""What did a collective over several nodes measure, and who was where when it ended?"""

from __future__ import annotations

from diag.facts.record import UNASKED, Known, Record
from diag.facts.speed import NcclLog


class Step(Record, frozen=True, kw_only=True):
    """One message size of an all-reduce. busbw = 2(n−1)/n · size/time (nccl-tests, PERFORMANCE.md)."""

    size_bytes: int
    times_s: tuple[float, ...]
    """Every repetition: the slowest rank's time."""
    algbw_bytes_per_s: float
    busbw_bytes_per_s: float
    """From the median time."""
    verified: bool
    """Whether every rank's sum was right."""


class Rank(Record, frozen=True, kw_only=True):
    """One rank's way through the job. ``phases_s``: name and seconds since the job's start on that node."""

    rank: int
    node: str
    local_rank: int
    phases: tuple[tuple[str, float], ...] = ()
    """spawned, imported, roll_called, initialised, first_collective, size_N, done — as far as it came."""
    outcome: str = "done"
    """``done``, ``stopped`` (no fault of its own: another did not come through) or a cause id: rank_missing, …"""
    said: str = ""
    """Its last words (error line), one line."""
    missed: tuple[int, ...] = ()
    """Ranks it found absent at the roll call."""
    wrong_bytes: tuple[int, ...] = ()
    """Sizes at which its sum was wrong."""
    into: str = ""
    """The phase that it was on its way to when the job ended: ``size_N``, …; empty: it was done, or never began."""
    into_s: float = 0.0
    """For how long then, as the controller heard it."""

    @property
    def guilty(self) -> bool:
        """It has a cause of its own; ``stopped`` ones only went down with others."""
        return self.outcome not in ("done", "stopped")


class Witness(Record, frozen=True, kw_only=True):
    """Who was asked where the ranks stand while the collective hung.

    ``behind``: had not entered what others wait in; ``missing``: gave no answer to their peers.
    """

    name: str
    """``NCCL RAS`` or ``torch's flight recorder``."""
    spoke: bool
    said: str
    """One line: what it saw, or why it did not speak."""
    behind: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()


class Blocked(Record, frozen=True, kw_only=True):
    """``source`` could not exchange data with ``target`` (nodes) at its data address, before any rank was started."""

    source: str
    target: str
    address: str
    """``address:port`` that was dialled."""
    step: str
    """``connect``, ``receive`` or ``send``: 64 KiB go each way after the connection."""
    cause: str
    why: str
    """One line, with the name of its errno."""


class Collective(Record, frozen=True, kw_only=True):
    """An all-reduce through torchrun over ``nodes``. ``finished`` False: it ended at a fault or the deadline."""

    backend: str
    """``nccl`` or ``gloo``."""
    backend_why: str = ""
    """Why it is not NCCL although there are GPUs; empty: nothing to explain."""
    nodes: tuple[str, ...]
    excluded: tuple[tuple[str, str], ...] = ()
    """Selected nodes that did not take part, with why."""
    world_size: int
    finished: bool
    seconds: float
    steps: tuple[Step, ...] = ()
    ranks: tuple[Rank, ...] = ()
    interface: str | None = None
    """What was exported as NCCL_/GLOO_SOCKET_IFNAME; None: names differ per node, see ``interfaces``."""
    interfaces: tuple[tuple[str, str], ...] = ()
    """Node -> interface."""
    interface_why: str = ""
    rendezvous: str = ""
    """``address:port`` of the store."""
    library: Known[str] = UNASKED
    """Loaded communication library and version, e.g. ``gloo of torch 2.13.0`` or ``nccl 2.27.3``."""
    interpreters: tuple[tuple[str, str], ...] = ()
    """Node -> interpreter path and version."""
    environment: tuple[tuple[str, str], ...] = ()
    """What diag set for every rank."""
    effective_environment: tuple[tuple[str, str], ...] = ()
    """What steered the library, as the first rank saw it: NCCL_*, GLOO_*, …"""
    left_out_bytes: tuple[int, ...] = ()
    """Sizes that would not have fitted into the time."""
    blocked: tuple[Blocked, ...] = ()
    """Pairs that could not exchange data; ``excluded`` says what followed for whom."""
    stopped: str = ""
    """Why we ended it: for somebody else's sake, e.g. one who began to use a GPU, or at a short deadline; or empty."""
    unwatched: tuple[tuple[str, str], ...] = ()
    """Nodes with GPUs on which a newcomer would not have been noticed, with why."""
    logs: tuple[tuple[str, NcclLog], ...] = ()
    """Node -> what NCCL said there of the networks between nodes; channels that go alike count once."""
    witnesses: tuple[Witness, ...] = ()
    """What was heard of a hang; empty: it finished, or ended without one."""
    summary: str = ""
    """One line: how it ended."""

    @property
    def guilty(self) -> tuple[Rank, ...]:
        return tuple(rank for rank in self.ranks if rank.guilty)

    @property
    def cited(self) -> str:
        """``said by the flight recorder: …; NCCL RAS silent: …``; empty: nobody had to be asked."""
        return "; ".join(
            f"said by {one.name}: {one.said}" if one.spoke else f"{one.name} silent: {one.said}"
            for one in self.witnesses
        )

    @property
    def nodes_through(self) -> tuple[str, ...]:
        """Those of which every rank came to its end."""
        halted = {rank.node for rank in self.ranks if rank.outcome != "done"}
        return tuple(node for node in self.nodes if node not in halted)
