"""Which network interfaces does a node have, and which of them can carry traffic between nodes?"""

from __future__ import annotations

import re

import msgspec

from diag.facts.network import Interface
from diag.probes.probe import Answers, Probe, always, gap, told
from diag.probes.verbs import Ask, Request

ETHERNET, INFINIBAND = 1, 32
"""ARPHRD_* of linux/if_arp.h."""
TUNNELS = frozenset({
    "tun", "wireguard", "vxlan", "geneve", "gre", "gretap", "ip6gre", "ip6gretap", "ipip", "sit", "ip6tnl", "vti",
    "vti6", "xfrm", "erspan", "amt", "bareudp",
})  # fmt: skip
VIRTUAL_BRIDGE = re.compile(r"(docker|virbr|cni|lxcbr|lxdbr|podman|cbr|nerdctl|incusbr|vmbr-?nat|br-[0-9a-f]{12}$)")
"""Bridges that container engines and libvirt make for what runs on the node itself."""


class _Interface(msgspec.Struct, frozen=True):
    name: str
    link: str
    hardware: int
    loopback: bool
    device: bool
    state: str
    mtu: int
    addresses: tuple[str, ...]
    mac: str | None = None
    speed: str | None = None


def read(answers: Answers) -> tuple[Interface, ...]:
    return tuple(_interface(row) for row in told(answers, "interfaces", tuple[_Interface, ...]))


def _interface(row: _Interface) -> Interface:
    kind = _kind(row)
    return Interface(
        name=row.name,
        kind=kind,
        state=row.state,
        mtu_bytes=row.mtu,
        addresses=tuple(sorted(row.addresses, key=lambda address: ":" in address)),
        speed_bits_per_s=_speed(row, kind),
        mac=row.mac,
        virtual_bridge=kind == "bridge" and VIRTUAL_BRIDGE.match(row.name) is not None,
    )


def _kind(row: _Interface) -> str:
    if row.loopback:
        return "loopback"
    if row.hardware == INFINIBAND:
        return "infiniband"
    if row.link in ("bridge", "veth", "bond", "vlan"):
        return row.link
    if row.link in TUNNELS or (row.link == "" and row.hardware not in (ETHERNET, INFINIBAND) and not row.device):
        return "tunnel"
    return "physical" if row.device and not row.link else "virtual"


def _speed(row: _Interface, kind: str) -> int | None:
    """The driver's Mbit/s; -1 and an unreadable file are how virtual devices say that they have none."""
    if row.speed is not None and row.speed.isdigit() and int(row.speed) < 1 << 31:
        return int(row.speed) * 10**6
    if kind in ("physical", "infiniband", "bond") and row.state != "up":
        agreed: int = gap(f"{row.name} is {row.state}: no speed is agreed")
        return agreed
    return None


PROBE = Probe(topic="interfaces", requests=always(Request(name="interfaces", verb=Ask("links:interfaces"))), read=read)
