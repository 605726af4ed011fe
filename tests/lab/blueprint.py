"""What is to be built? The records that travel to the process that makes the hosts, and the addresses in them."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "diaglab"  # of every interface, namespace and folder: what carries it may be removed
NETMASK = "255.255.240.0"
PREFIX_LENGTH = 20
MOST_LABS, MOST_HOSTS = 16, 3750  # 10.77.0.0/16 in sixteen parts of fifteen times 250 hosts


@dataclass(frozen=True, kw_only=True)
class HostPlan:
    """One host to be: ``namespace`` is its network namespace, ``faults`` are names of ``faults.FAULTS``."""

    name: str
    address: str
    namespace: str
    host_key: str
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Share:
    """A folder of this machine (``source``) that hosts see at ``path``; what they write there stays theirs."""

    source: str
    path: str
    optional: bool = False  # absent on a host with the fault noshare


@dataclass(frozen=True, kw_only=True)
class LabPlan:
    """All hosts of a lab, and what they have in common; ``folder`` is the lab's own on this machine."""

    folder: str
    hosts: tuple[HostPlan, ...]
    shares: tuple[Share, ...]
    authorized_key: str
    venv: str


def host_address(lab: int, host: int) -> str:
    return f"10.77.{16 * lab + host // 250}.{host % 250 + 2}"


def controller_address(lab: int) -> str:
    return f"10.77.{16 * lab + 15}.254"


def interface(lab: int) -> str:
    """This machine's own interface to the lab."""
    return f"{PREFIX}{lab}"


def switch(lab: int) -> str:
    """The network namespace of the switch; the bridge lives there, so this machine's filters do not see it."""
    return f"{PREFIX}{lab}-switch"


def namespace(lab: int, name: str) -> str:
    return f"{PREFIX}{lab}-host-{name}"
