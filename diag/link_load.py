"""How much load does a round put on a pair at each level, over which rails, and what tells that it is too much?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diag.facts.counters import meaning_of
from diag.facts.link_rates import line_bytes_per_s as port_bytes_per_s
from diag.facts.links import Background
from diag.facts.network import Interface
from diag.facts.node import Node
from diag.facts.rails import End, ends
from diag.facts.record import NotMeasured, is_known
from diag.probes import increases
from diag.probes.increases import Reading
from diag.probes.perftest import Trial
from diag.routing import default_interfaces
from diag.units import MIB

FLOW_S: Mapping[str, float] = {"quick": 0.5, "normal": 0.8, "burn": 0.8}
"""Level -> how long each direction is measured."""
STREAMS_FOR, FEWEST_STREAMS, MOST_STREAMS = 10e9, 2, 8
"""A stream for each 10 Gbit/s: one core moves little more."""
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
            counter = meaning_of(risen.counter)
            if counter is not None and counter.too_much:
                what = f"{risen.counter} of {risen.device} on {name} rose by {risen.by}"
                return f"{what} ({counter.meaning})"
    return ""


def others_use(node: Node, interface: Interface, carried: Mapping[str, float]) -> tuple[Background, ...]:
    """The data interface, then each port of its HCAs; ``carried``: bytes per second by what counted them."""
    lines = {interface.name: (interface.name, line_bytes_per_s(interface))}
    lines |= {_counted_as(end): (end.name, _port_bytes_per_s(end)) for end in _ports(node)}
    return tuple(
        Background(node=node.name, interface=name, bytes_per_s=carried[counted], line_bytes_per_s=line)
        for counted, (name, line) in lines.items()
        if counted in carried
    )


def why_alone(node: Node, interface: str, rows: Sequence[Background]) -> str:
    """Why a node is not loaded at all: others use its data interface, what carries that, or all its rails. Else empty.

    ``rows``: what ``others_use`` says of it.
    """
    busy = {row.interface: row.why_busy for row in rows if row.why_busy}
    active = [end for end in _ports(node) if end.port.state == "active"]
    carriers = [end.name for end in active if interface in (*end.port.interfaces, end.hca.bond)]
    first = next((busy[name] for name in (interface, *carriers) if name in busy), "")
    if first or not active or not all(end.name in busy for end in active):
        return first
    return f"all its rails are in use: {busy[active[0].name]}"


def spared_rails(node: Node, rows: Sequence[Background]) -> dict[str, str]:
    """Rail -> why nothing of ours passes it: others use it, or nothing says whether they do. Of those that are up."""
    told = {row.interface: row.why_busy for row in rows}
    up = [end for end in _ports(node) if end.port.state == "active"]
    silent = [end.name for end in up if end.hca.pci_address is not None and end.name not in told]
    unknown = {name: f"whether others use {name} is not known: it counts no bytes" for name in silent}
    return {name: why for name, why in {**told, **unknown}.items() if why}


def _ports(node: Node) -> tuple[End, ...]:
    return ends(node) if is_known(node, "hcas") else ()


def _counted_as(end: End) -> str:
    return f"{end.hca.name}/{end.port.number}"


def _port_bytes_per_s(end: End) -> float | None:
    try:
        return port_bytes_per_s(end)
    except NotMeasured:
        return None


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
