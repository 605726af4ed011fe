"""Which ports of HCAs would NCCL use on a node, and which of them must it be told to leave out?

It skips by itself what is not active (transport/net_ib/init.cc of 2.30, ncclIbInitDevices), so a port that is down
needs no variable. To be left out: another link layer beside the faster one, a fabric that not every node is on, RoCE
without a GID that others can answer, a port of which every pair test failed, or one so slow that the others alone
carry more. It does not know which rails a switch keeps apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import msgspec

from diag.facts.links import Flow, Links
from diag.facts.node import Node
from diag.facts.rdma import Hca, RdmaPort
from diag.facts.record import NotMeasured, is_known
from diag.planner.network import gids
from diag.units import gbit_per_s, size

INFINIBAND, ETHERNET = "InfiniBand", "Ethernet"
WORTH = 1.05
"""Times what all ports carry together, that the others alone must carry."""
SLOW_LINK = 0.5
"""Of the other ports: above, one slow pair of many may have been a moment's stall, and its rail stays."""


def carries_rdma(flow: Flow) -> bool:
    """Whether it is of a tool of perftest that measures bandwidth."""
    return flow.method.startswith("ib_") and flow.method.endswith("_bw")


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """One that NCCL would take: it is active."""

    hca: str
    facts: RdmaPort

    @property
    def key(self) -> tuple[str, int]:
        return self.hca, self.facts.number

    @property
    def rail(self) -> str:
        """As flows call it: ``mlx5_0``, of a second port ``mlx5_0/2``. A rail bears its first node's name of it."""
        return self.hca if self.facts.number == 1 else f"{self.hca}/{self.facts.number}"

    @property
    def fabric(self) -> tuple[str, str]:
        """Link layer, and of InfiniBand the prefix of its subnet (the first half of GID 0)."""
        if self.facts.link_layer != INFINIBAND:
            return self.facts.link_layer, ""
        first = next((gid.gid for gid in self.facts.gids if gid.index == 0), "")
        return INFINIBAND, ":".join(first.split(":")[:4])

    @property
    def bits_per_s(self) -> int:
        return self.facts.rate_bits_per_s if is_known(self.facts, "rate_bits_per_s") else 0


Out = dict[str, dict[tuple[str, int], str]]
"""Node -> port that is to be left out -> why."""


def active(node: Node) -> tuple[Port, ...]:
    """Raises NotMeasured."""
    return tuple(
        Port(hca=hca.name, facts=port)
        for hca in node.hcas
        for port in hca.ports
        if hca.device_file is not None and port.state == "active"
    )


def why_unusable(node: Node) -> str:
    """Why there is RDMA and NCCL cannot use it; empty: it can, or there is none. Raises NotMeasured."""
    if not node.hcas:
        return ""
    files = [hca for hca in node.hcas if hca.device_file is not None]
    if not files:
        return f"{_names(node.hcas)}: no file under /dev/infiniband"
    if not any(hca.permitted for hca in files):
        return f"{files[0].device_file} may not be opened"
    if not active(node):
        ports = (f"{hca.name}:{port.number} is {port.state}" for hca in node.hcas for port in hca.ports)
        return f"no port is active: {', '.join(ports)}"
    return _limited(node)


def _names(hcas: Iterable[Hca]) -> str:
    return ", ".join(hca.name for hca in hcas)


def _limited(node: Node) -> str:
    try:
        soft = node.limits.memlock_soft_bytes
        enough = soft is None or node.limits.ipc_lock or soft >= node.memory.total_bytes
    except NotMeasured:
        return ""
    return "" if enough else f"only {size(soft or 0)} of memory may be locked"


def down(node: Node) -> tuple[str, ...]:
    """Ports that NCCL skips by itself, with their state: ``mlx5_3:1 is down``."""
    return tuple(
        f"{hca.name}:{port.number} is {port.state}" for hca in node.hcas for port in hca.ports if port.state != "active"
    )


def left_out(nodes: Sequence[Node], links: Links | None) -> Out:
    """Raises NotMeasured where the HCAs of a node are not known. Nothing where a node would keep no port."""
    own = {node.name: active(node) for node in nodes}
    out: Out = {name: _without_gid(found) for name, found in own.items()}
    for rule in (_other_layer, _other_fabric):
        for name, why in rule(_kept(own, out)).items():
            out[name] |= why
    if links is not None:
        for name, why in _by_flows(_kept(own, out), links).items():
            out[name] |= why
    out = _aligned(own, out)
    return out if all(_kept(own, out).values()) else {}


def _kept(own: Mapping[str, Sequence[Port]], out: Out) -> dict[str, tuple[Port, ...]]:
    return {name: tuple(port for port in ports if port.key not in out[name]) for name, ports in own.items()}


def _without_gid(ports: Sequence[Port]) -> dict[tuple[str, int], str]:
    return {
        port.key: "is Ethernet without a GID of RoCE v2 that others could answer"
        for port in ports
        if port.facts.link_layer == ETHERNET and not gids.usable(port.facts)
    }


def _other_layer(own: Mapping[str, Sequence[Port]]) -> Out:
    """Ports of both link layers cannot talk to each other: the one that carries more on all nodes stays."""
    sums: dict[str, int] = defaultdict(int)
    for port in (port for ports in own.values() for port in ports):
        sums[port.facts.link_layer] += port.bits_per_s
    everywhere = [layer for layer in sums if all(_has(ports, layer) for ports in own.values())]
    if len(sums) < 2 or not everywhere:  # noqa: PLR2004 - two link layers
        return {name: {} for name in own}
    best = max(everywhere, key=lambda layer: sums[layer])
    why = f"is not {best}, as the ports that carry more are"
    return {name: {p.key: why for p in ports if p.facts.link_layer != best} for name, ports in own.items()}


def _has(ports: Sequence[Port], layer: str) -> bool:
    return any(port.facts.link_layer == layer for port in ports)


def _other_fabric(own: Mapping[str, Sequence[Port]]) -> Out:
    held = {name: {port.fabric for port in ports} for name, ports in own.items()}
    everywhere = set.intersection(*held.values()) if held else set()
    if not everywhere:
        return {name: {} for name in own}
    out: Out = {}
    for name, ports in own.items():
        lacking = {fabric: next((n for n, has in held.items() if fabric not in has), "") for fabric in held[name]}
        out[name] = {
            port.key: f"is on subnet {port.fabric[1]}, on which {lacking[port.fabric]} has no port"
            for port in ports
            if port.fabric not in everywhere
        }
    return out


Partners = Mapping[tuple[str, str], Mapping[str, Sequence[Flow]]]
"""Node and rail -> partner -> the flows between them."""


def _by_flows(own: Mapping[str, Sequence[Port]], links: Links) -> Out:
    """Ports that failed; those of which even the best partner is slow; then links that are slow between others."""
    flows = _by_partner(links)
    out = {
        name: _all_failed({port.key: flows.get((name, port.rail), {}) for port in ports}) for name, ports in own.items()
    }
    for pick, share in ((max, 1.0), (min, SLOW_LINK)):
        gone = {(name, port.rail) for name, ports in own.items() for port in ports if port.key in out[name]}
        for name, ports in own.items():
            out[name] |= _slow({port.key: _carried(name, port.rail, flows, gone, pick) for port in ports}, share)
    return out


def _by_partner(links: Links) -> Partners:
    found: dict[tuple[str, str], dict[str, list[Flow]]] = defaultdict(lambda: defaultdict(list))
    for flow in links.flows:
        if flow.rail is not None and carries_rdma(flow):
            for end, other in ((flow.source, flow.target), (flow.target, flow.source)):
                found[end, flow.rail][other].append(flow)
    return found


def _all_failed(flows: Mapping[tuple[str, int], Mapping[str, Sequence[Flow]]]) -> dict[tuple[str, int], str]:
    every = {key: [flow for each in partners.values() for flow in each] for key, partners in flows.items()}
    if not any(is_known(flow, "bytes_per_s") for each in every.values() for flow in each):
        return {}
    return {key: f"failed: {why}" for key, each in every.items() if (why := _failed(each))}


class Carried(NamedTuple):
    rate: float
    where: str
    """``on gpu01``: whoever was its partner; ``between gpu01 and gpu02``: it may be either."""


def _carried(
    name: str, rail: str, flows: Partners, gone: set[tuple[str, str]], pick: Callable[..., str]
) -> Carried | None:
    """With its best (``max``) or worst partner; None: nothing was measured, or the port is left out already."""
    of_port = {} if (name, rail) in gone else flows.get((name, rail), {})
    rates = {
        other: rate
        for other, each in of_port.items()
        if (other, rail) not in gone and (rate := _of_pair(each)) is not None
    }
    if not rates:
        return None
    other = pick(rates, key=lambda each: rates[each])
    alone = pick is max and len(rates) > 1
    return Carried(rates[other], f"on {name}" if alone else f"between {' and '.join(sorted((name, other)))}")


def _of_pair(flows: Sequence[Flow]) -> float | None:
    """Of the slower direction."""
    ways: dict[str, list[float]] = defaultdict(list)
    for flow in flows:
        if is_known(flow, "bytes_per_s"):
            ways[flow.source].append(flow.bytes_per_s)
    return min((median(rates) for rates in ways.values()), default=None)


def _slow(found: Mapping[tuple[str, int], Carried | None], share: float) -> dict[tuple[str, int], str]:
    """Channels are as many on each port, so all wait for the slowest: n · slowest against (n − 1) · the others."""
    carried = {key: each for key, each in found.items() if each is not None}
    if len(carried) < 2:  # noqa: PLR2004 - nothing would be left
        return {}
    slowest = min(carried, key=lambda key: carried[key].rate)
    rest = median(each.rate for key, each in carried.items() if key != slowest)
    rate, where = carried[slowest]
    if (len(carried) - 1) * rest <= len(carried) * rate * WORTH or rate > share * rest:
        return {}
    told = f"carried {gbit_per_s(rate)} {where}, its other ports {gbit_per_s(rest)}"
    left = {key: each for key, each in carried.items() if key != slowest}
    return {slowest: told} | _slow(left, share)


def _failed(flows: Sequence[Flow]) -> str:
    """Why all of them failed; empty: one did not, or nobody knows why."""
    if not flows or any(is_known(one, "bytes_per_s") or not one.cause for one in flows):
        return ""
    first = flows[0]
    return f"{first.method} from {first.source} to {first.target}: {why_failed(first)}"


def why_failed(flow: Flow) -> str:
    try:
        return f"{flow.bytes_per_s}"
    except NotMeasured as why:
        return str(why)


def _aligned(own: Mapping[str, Sequence[Port]], out: Out) -> Out:
    """Where ports have the same names on all nodes, a rail that one node leaves out all do: so rails stay rails."""
    if len({frozenset(port.key for port in ports) for ports in own.values()}) > 1:
        return out
    every: dict[tuple[str, int], str] = {}
    for found in out.values():
        every = found | every
    return {name: dict(every) for name in out}
