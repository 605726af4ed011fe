"""Are the ports free that engines will ask for, and are there enough for outgoing connections?"""

import pytest

from diag.facts.network import EphemeralPorts
from diag.facts.node import Node
from diag.facts.verdict import finding

ENGINE_PORTS = {
    8000: "vLLM", 30000: "SGLang", 23333: "LMDeploy", 11434: "Ollama", 29500: "torchrun",
    6379: "Ray", 8265: "Ray dashboard",
}  # fmt: skip
"""Defaults of the engines' own command lines."""
EPHEMERAL_FLOOR = 10_000
"""A third of Linux's default range (32768-60999, ip-sysctl): NCCL and Ray open several connections a pair of ranks."""


@pytest.mark.advice
@pytest.mark.cause("port_in_use")
def check_engine_ports_are_free(node: Node) -> None:
    """An engine that finds its default port taken ends at once, or takes the next one and is not found there.

    Do: end the old server, or start with another port.
    $ ssh {node} 'ss -ltnp'
    """
    taken = {listener.port: listener for listener in node.listeners if listener.port in ENGINE_PORTS}
    shown = [f"{port} ({ENGINE_PORTS[port]}) by {taken[port].process or 'an unseen process'}" for port in sorted(taken)]
    assert not taken, finding(f"taken: {', '.join(shown)}", "the engines' default ports free")


def check_ephemeral_ports_are_many(node: Node) -> None:
    """Every outgoing connection takes a port of this range; when it is used up, connect fails with EADDRNOTAVAIL.

    Do: sysctl -w net.ipv4.ip_local_port_range="32768 60999" (needs root).
    $ ssh {node} cat /proc/sys/net/ipv4/ip_local_port_range
    """
    ports = node.ephemeral_ports
    found = f"{ports.high - ports.low + 1} ports, {ports.low} to {ports.high}"
    assert ports.high - ports.low + 1 >= EPHEMERAL_FLOOR, finding(found, f"at least {EPHEMERAL_FLOOR}")


def is_reserved(port: int, ports: EphemeralPorts) -> bool:
    """``reserved`` holds ports and ranges: 8000, 29500-29600."""
    bounds = [entry.partition("-") for entry in ports.reserved]
    return any(int(low) <= port <= int(high or low) for low, _, high in bounds)


@pytest.mark.advice
@pytest.mark.cause("port_in_use")
def check_ephemeral_ports_spare_the_engines(node: Node) -> None:
    """Where outgoing connections take their ports from a range with an engine's port, one may hold it at start.

    Do: reserve them: sysctl -w net.ipv4.ip_local_reserved_ports=6379,8000,8265,23333,29500,30000 (needs root).
    $ ssh {node} 'sysctl net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports'
    """
    ports = node.ephemeral_ports
    inside = [port for port in sorted(ENGINE_PORTS) if ports.low <= port <= ports.high and not is_reserved(port, ports)]
    found = f"{', '.join(map(str, inside))} in the range {ports.low} to {ports.high}"
    assert not inside, finding(found, "the engines' ports outside of it, or reserved")
