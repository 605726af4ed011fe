"""How much load does a round put on a pair at each level, over which rails, and what tells that it is too much?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from diag.facts.network import Interface
from diag.facts.node import Node
from diag.facts.record import is_known
from diag.probes import increases
from diag.probes.increases import Reading
from diag.probes.perftest import Trial
from diag.routing import default_interfaces
from diag.units import MIB

FLOW_S: Mapping[str, float] = {"quick": 0.5, "normal": 0.8, "burn": 0.8}
"""Level -> how long each direction is measured."""
STREAMS_FOR, FEWEST_STREAMS, MOST_STREAMS = 10e9, 2, 8
"""A stream for each 10 Gbit/s: one core moves little more."""
FELT = re.compile("pause|discard")
"""Counters by which a fabric says that it is too much."""
WRITE = Trial(tool="ib_write_bw", size_bytes=MIB, seconds=1)
TRIALS: Mapping[str, tuple[Trial, ...]] = {
    "quick": (WRITE,),
    "normal": (
        WRITE, Trial(tool="ib_read_bw", size_bytes=MIB, seconds=1), Trial(tool="ib_send_lat", size_bytes=8)
    ),
}  # fmt: skip
TRIALS = {**TRIALS, "burn": TRIALS["normal"]}
"""Level -> what perftest measures; all of it in the first round, writing in every round. At level quick of one rail."""


def felt(before: Mapping[str, Reading], after: Mapping[str, Reading]) -> str:
    """Pauses and discards that rose meanwhile: others on the fabric feel the sweep. Empty: none did."""
    for name, reading in after.items():
        for risen in increases.between(before.get(name, reading), reading, "links"):
            if FELT.search(risen.counter):
                return f"{risen.counter} of {risen.device} on {name} rose by {risen.by}"
    return ""


def has_rdma(node: Node) -> bool:
    return is_known(node, "hcas") and bool(node.hcas)


def rails_of(nodes: Sequence[Node], level: str) -> frozenset[str]:
    """Names of the HCAs that are measured: not what carries the default route where another is there."""
    names: dict[str, bool] = {}
    for node in nodes:
        spared = set(default_interfaces(node)) if is_known(node, "routes") else set()
        for hca in node.hcas if is_known(node, "hcas") else ():
            held = {interface for port in hca.ports for interface in port.interfaces}
            names[hca.name] = names.get(hca.name, False) or bool(held & spared)
    free = sorted(name for name, is_spared in names.items() if not is_spared) or sorted(names)
    return frozenset(free[:1] if level == "quick" else free)


def line_bytes_per_s(interface: Interface) -> float | None:
    """Bytes per second; None: its driver does not say."""
    speed = interface.speed_bits_per_s if is_known(interface, "speed_bits_per_s") else None
    return speed / 8 if speed else None


def streams_for(interface: Interface) -> int:
    line = line_bytes_per_s(interface)
    wanted = int(line * 8 // STREAMS_FOR) if line else FEWEST_STREAMS
    return min(MOST_STREAMS, max(FEWEST_STREAMS, wanted))
