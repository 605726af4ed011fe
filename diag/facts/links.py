"""What did the links between nodes carry, one direction of one pair at a time, and what does not pass between them?"""

from __future__ import annotations

from collections.abc import Sequence

from diag.facts.record import UNASKED, Known, Record, is_known
from diag.units import gbit_per_s

TCP = "tcp"
"""Method of a flow that the agents carried themselves; others are the tools of perftest: ``ib_write_bw``, …"""


class Flow(Record, frozen=True, kw_only=True):
    """One direction of one pair, ``source`` to ``target`` (nodes), measured alone on both while the round lasted.

    ``rail``: what carried it on both nodes, ``mlx5_0`` or ``eth0``; None: each node's data interface. A flow that could
    not be measured keeps its place: ``bytes_per_s`` says why, ``cause`` which of the known causes that is.
    """

    source: str
    target: str
    round: int
    method: str = TCP
    rail: str | None = None
    bytes_per_s: Known[float] = UNASKED
    """Of payload that the receiver verified, from after the warm-up to the end."""
    windows_bytes_per_s: tuple[float, ...] = ()
    """The same in equal parts of its time: the spread of one flow."""
    latency_s: Known[float] = UNASKED
    """Half a round trip of a few bytes on the idle pair, the median."""
    retransmits: Known[int] = UNASKED
    path_mtu_bytes: Known[int] = UNASKED
    """The largest packet that came through in one piece; smaller than the interface's MTU: not all of it fits."""
    cause: str = ""
    """Of ``facts.causes``, where it failed and that is known: ``firewall_blocks_ports``, ``mtu_mismatch``, …"""
    at: str = ""
    """The node whose own state made it fail: its port is down, its tool may not lock memory; empty: not known."""

    @property
    def pair(self) -> tuple[str, str]:
        """Both nodes, the same for both directions."""
        return (self.source, self.target) if self.source < self.target else (self.target, self.source)

    @property
    def figure(self) -> str:
        """The field that its tool fills."""
        return "latency_s" if self.method.endswith("_lat") else "bytes_per_s"


WRONG = "wrong_results"
"""Cause of a flow whose bytes were not those that were sent: once is enough."""


def usual(repeats: Sequence[Flow]) -> Flow:
    """The one with the median rate; where half of them or more failed, or bytes were wrong, the last that says why."""
    carried = sorted((flow for flow in repeats if is_known(flow, "bytes_per_s")), key=lambda flow: flow.bytes_per_s)
    failed = [flow for flow in repeats if flow.cause and not is_known(flow, flow.figure)]
    wrong = [flow for flow in failed if flow.cause == WRONG]
    if wrong or 2 * len(failed) >= len(repeats):
        return (wrong or failed)[-1]
    return carried[(len(carried) - 1) // 2] if carried else repeats[-1]


class Round(Record, frozen=True, kw_only=True):
    """Disjoint pairs measured at once. ``why``: ``ring 1/2``, ``all 3/15``, ``suspects against proven-good``, …

    One that repeats another has its number.
    """

    number: int
    why: str
    pairs: int
    seconds: float


class ClosedPorts(Record, frozen=True, kw_only=True):
    """Folded: none of ``sources`` could reach any of ``targets`` at ``ports``, all for the same reason."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    ports: tuple[int, ...]
    error: str
    """Name of the errno: ``ECONNREFUSED``, ``ETIMEDOUT``, …"""
    why: str


class PortMatrix(Record, frozen=True, kw_only=True):
    """Every port tried from every node to every other, for real: ``tried`` connections, ``closed`` what failed."""

    ports: tuple[int, ...]
    tried: int
    nodes: tuple[str, ...] = ()
    """Those that tried; some may have been left alone afterwards."""
    closed: tuple[ClosedPorts, ...] = ()
    not_tried: tuple[tuple[str, str], ...] = ()
    """What, e.g. ``n001:8000``, and why: in use there already, no time left, …"""


BUSY_SHARE = 0.05
"""Of the line rate: a NIC that carries more for others is not loaded."""
BUSY_BYTES_PER_S = 0.05 * 10e9 / 8
"""The same of 10 Gbit/s, for a NIC that does not know its rate."""


class Background(Record, frozen=True, kw_only=True):
    """What others sent and received in the second before anything of ours, at a node's data interface or an HCA's port.

    An interface does not count what RDMA moves, so each port has a row of its own.
    """

    node: str
    interface: str
    """``bond0``, ``mlx5_0``, ``mlx4_0/2``."""
    bytes_per_s: float
    line_bytes_per_s: float | None = None
    """None: its driver reports none."""

    @property
    def limit_bytes_per_s(self) -> float:
        return BUSY_SHARE * self.line_bytes_per_s if self.line_bytes_per_s else BUSY_BYTES_PER_S

    @property
    def why_busy(self) -> str:
        """Empty: others leave it alone."""
        if self.bytes_per_s <= self.limit_bytes_per_s:
            return ""
        what = f"others use {self.interface}: {gbit_per_s(self.bytes_per_s)}"
        return f"{what}, more than {gbit_per_s(self.limit_bytes_per_s)}"


class Links(Record, frozen=True, kw_only=True):
    """The links between the nodes of a run. ``mode``: ``all``, ``ring``, ``sample`` or ``none``."""

    mode: str
    nodes: tuple[str, ...] = ()
    """Those that took part, in the order of the collective's ring."""
    rounds: tuple[Round, ...] = ()
    flows: tuple[Flow, ...] = ()
    on_gpus: tuple[Flow, ...] = ()
    """The same rails from the memory of one GPU to that of another."""
    background: tuple[Background, ...] = ()
    ports: Known[PortMatrix] = UNASKED
    excluded: tuple[tuple[str, str], ...] = ()
    """Nodes that were spared or could not take part, with why."""
    left_out: tuple[tuple[str, str], ...] = ()
    """What was to be measured and was not, e.g. ``60 of 120 pairs``, and why."""
    stopped: str = ""
    """Why the sweep ended early: errors or pauses rose at a NIC, the budget was spent; empty: it did not."""

    @property
    def nodes_through(self) -> tuple[str, ...]:
        return self.nodes

    @property
    def knocking(self) -> tuple[str, ...]:
        """Those that tried the ports of the others; where that was not kept, those that took part."""
        return self.ports.nodes or self.nodes

    @property
    def summary(self) -> str:
        """One line: how much was measured, and what the slowest direction carries."""
        rates = [flow.bytes_per_s for flow in self.flows if is_known(flow, "bytes_per_s")]
        failed = sum(bool(flow.cause) for flow in self.flows)
        slowest = f", the slowest {gbit_per_s(min(rates))}" if rates else ""
        return f"{len(rates)} directions{slowest}" + (f", {failed} carry nothing" if failed else "")
