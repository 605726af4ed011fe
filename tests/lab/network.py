"""How are the hosts wired, and how is a wire made slow, lossy or dead?

Every host's ``eth0`` ends in a bridge in a network namespace of its own; one more wire ends in this machine. There is
no default route and no forwarding: what the hosts send stays between them and this machine.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.lab.blueprint import (
    PREFIX,
    PREFIX_LENGTH,
    HostPlan,
    controller_address,
    interface,
    switch,
)

NAMESPACES = Path("/run/netns")
TABLE = "diaglab"
# A host's neighbours count for the whole machine: with 256 hosts the table of 1,024 that Linux allows is too small.
NEIGHBOUR_LIMITS = {"gc_thresh1": 8192, "gc_thresh2": 16384, "gc_thresh3": 32768}
NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default")


def command(*argv: str, text: str | None = None) -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()[:300]}")


def _batch(lines: Iterable[str], *where: str) -> None:
    command("ip", *where, "-batch", "-", text="\n".join(lines))


def build(lab: int, hosts: Sequence[HostPlan]) -> None:
    middle, here = switch(lab), interface(lab)
    _batch([f"netns add {middle}", *(f"netns add {host.namespace}" for host in hosts)])
    _batch([f"link add {here} type veth peer name controller netns {middle}"])
    Path(f"/proc/sys/net/ipv4/conf/{here}/forwarding").write_text("0")
    ports = ["link add bridge type bridge mcast_snooping 0", "link set bridge up"]
    for number, host in enumerate(hosts):
        ports.append(f"link add {_port(number)} type veth peer name eth0 netns {host.namespace}")
    names = ("controller", *(_port(number) for number in range(len(hosts))))
    ports += [f"link set {name} master bridge addrgenmode none up" for name in names]
    _batch(ports, "-n", middle)
    address = f"{controller_address(lab)}/{PREFIX_LENGTH}"
    _batch([f"addr add {address} dev {here}", f"link set {here} addrgenmode none up"])


def remove(lab: int) -> None:
    """Remove all that carries the lab's name, also what an interrupted build left."""
    subprocess.run(("ip", "link", "del", interface(lab)), capture_output=True, check=False)
    names = [path.name for path in namespaces(lab)]
    if names:
        _batch(f"netns del {name}" for name in names)


def namespaces(lab: int) -> list[Path]:
    return sorted(NAMESPACES.glob(f"{PREFIX}{lab}-*"))


def _port(number: int) -> str:
    return f"port{number}"


def set_rate(lab: int, number: int, host: HostPlan, rate: str) -> None:
    """Limit both directions to a rate as ``tc`` spells it (``1gbit``)."""
    for where, device in ((host.namespace, "eth0"), (switch(lab), _port(number))):
        limit = ("tbf", "rate", rate, "burst", "256k", "latency", "50ms")
        command("tc", "-n", where, "qdisc", "replace", "dev", device, "root", *limit)


def clear_rate(lab: int, number: int, host: HostPlan) -> None:
    for where, device in ((host.namespace, "eth0"), (switch(lab), _port(number))):
        argv = ("tc", "-n", where, "qdisc", "del", "dev", device, "root")
        subprocess.run(argv, capture_output=True, check=False)  # there may be none


def slow_towards(host: HostPlan, address: str, rate: str, others: str) -> None:
    """Limit what leaves for one address to a rate, and what leaves for ``others`` to theirs."""
    where, device = ("-n", host.namespace), ("dev", "eth0")
    command("tc", *where, "qdisc", "replace", *device, "root", "handle", "1:", "htb", "default", "10", "r2q", "1000")
    for number, limit in (("1:10", others), ("1:20", rate)):
        shape = ("htb", "rate", limit, "burst", "256k")
        command("tc", *where, "class", "add", *device, "parent", "1:", "classid", number, *shape)
    match = ("u32", "match", "ip", "dst", f"{address}/32", "flowid", "1:20")
    command("tc", *where, "filter", "add", *device, "parent", "1:", "protocol", "ip", *match)


def set_mtu(host: HostPlan, mtu: int) -> None:
    command("ip", "-n", host.namespace, "link", "set", "eth0", "mtu", str(mtu))


def add_bridge(host: HostPlan, name: str, address: str) -> None:
    lines = [f"link add {name} type bridge", f"addr add {address} dev {name}", f"link set {name} up"]
    _batch(lines, "-n", host.namespace)


def clear_additions(host: HostPlan, own: str) -> None:
    """Bridges, and addresses of eth0 that are not its own."""
    shown = subprocess.run(
        ("ip", "-n", host.namespace, "-j", "address"), capture_output=True, text=True, check=True
    ).stdout
    for link in json.loads(shown):
        if link["ifname"] not in ("lo", "eth0"):
            command("ip", "-n", host.namespace, "link", "delete", link["ifname"])
    for held in next(link["addr_info"] for link in json.loads(shown) if link["ifname"] == "eth0"):
        if held["family"] == "inet" and held["local"] != own:
            text = f"{held['local']}/{held['prefixlen']}"
            command("ip", "-n", host.namespace, "address", "del", text, "dev", "eth0")


def add_filter(host: HostPlan, *rules: str) -> None:
    """Add nft rules; each begins with the chain, ``in`` or ``out``."""
    lines = [f"add table inet {TABLE}"]
    for chain, hook in (("in", "input"), ("out", "output")):
        lines.append(f"add chain inet {TABLE} {chain} {{ type filter hook {hook} priority 0; }}")
    lines += [f"add rule inet {TABLE} {rule}" for rule in rules]
    command("ip", "netns", "exec", host.namespace, "nft", "-f", "-", text="\n".join(lines))


def clear_filter(host: HostPlan) -> None:
    command("ip", "netns", "exec", host.namespace, "nft", "flush", "ruleset")


def raise_neighbour_limits() -> dict[str, int]:
    """Make room for hundreds of hosts that all know each other; return what was there before."""
    before = {name: int((NEIGHBOURS / name).read_text()) for name in NEIGHBOUR_LIMITS}
    set_neighbour_limits({name: max(limit, before[name]) for name, limit in NEIGHBOUR_LIMITS.items()})
    return before


def set_neighbour_limits(limits: dict[str, int]) -> None:
    for name, limit in limits.items():
        (NEIGHBOURS / name).write_text(str(limit))
