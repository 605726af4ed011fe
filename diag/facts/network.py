"""What is known of a node's names, interfaces, routes and ports?"""

from __future__ import annotations

from diag.facts.record import UNASKED, Known, Record


class Hostname(Record, frozen=True, kw_only=True):
    """A node's own name and what it resolves to on that node (``getaddrinfo``, in its order; empty: does not)."""

    name: str
    addresses: Known[tuple[str, ...]] = UNASKED


class Resolution(Record, frozen=True, kw_only=True):
    """Who resolves ``name`` to ``addresses``: folded over nodes, since N names on N nodes are N² answers."""

    name: str
    addresses: Known[tuple[str, ...]]
    """Empty: the name does not resolve there. Missing: those nodes could not ask, or nobody answered them."""
    nodes: tuple[str, ...]


class Interface(Record, frozen=True, kw_only=True):
    """One network interface. ``speed_bits_per_s`` None: the driver reports none (virtual devices)."""

    name: str
    kind: str
    """``physical``, ``bridge``, ``veth``, ``bond``, ``vlan``, ``loopback``, ``tunnel``, ``infiniband``, ``virtual``."""
    state: str
    """``operstate``: up, down, unknown, …"""
    mtu_bytes: int
    addresses: tuple[str, ...] = ()
    """CIDR, IPv4 first: ``10.0.0.3/16``."""
    speed_bits_per_s: Known[int | None] = UNASKED
    mac: str | None = None
    virtual_bridge: bool = False
    """docker0, virbr0, cni0, …: never carries traffic between nodes."""


class Route(Record, frozen=True, kw_only=True):
    """One IPv4 or IPv6 route. ``destination`` ``default`` or CIDR; ``gateway`` None: directly connected."""

    destination: str
    interface: str
    gateway: str | None = None
    metric: int = 0
    source: str | None = None


class Listener(Record, frozen=True, kw_only=True):
    """A listening TCP port; ``process`` None: not visible to this user."""

    port: int
    address: str
    process: str | None = None
    pid: int | None = None


class EphemeralPorts(Record, frozen=True, kw_only=True):
    """``ip_local_port_range`` and the ports reserved out of it."""

    low: int
    high: int
    reserved: tuple[str, ...] = ()
