"""What do the nodes' NICs and HCAs count, and how fast do others' bytes pass them? Asked of all nodes at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from diag.errors import NodeError
from diag.probes.verbs import Ask, Request
from diag.remote.pairs import ask
from diag.remote.session import Session

READ_S = 5.0


class Counted(msgspec.Struct, frozen=True):
    """Name -> counter -> value; ``hcas`` by device and port (``mlx5_0/1``). ``at_s``: by the node's own clock."""

    nics: dict[str, dict[str, int]]
    hcas: dict[str, dict[str, int]]
    at_s: float


def read(
    sessions: Mapping[str, Session], interfaces: Mapping[str, list[str] | None]
) -> tuple[dict[str, Counted], dict[str, str], dict[str, NodeError]]:
    """Of each node those ``interfaces`` (None: all), or why not, or that it is lost."""
    requests = {
        name: Request(name="counters", verb=Ask("nic_counters:read", {"interfaces": names}), deadline_s=READ_S - 1)
        for name, names in interfaces.items()
    }
    return ask(sessions, requests, READ_S, Counted)


def rates(
    sessions: Mapping[str, Session], interfaces: Mapping[str, str], seconds: float, meanwhile: Callable[[], None]
) -> tuple[dict[str, float], dict[str, str], dict[str, NodeError]]:
    """Bytes per second that each interface carried for at least ``seconds``, of its directions the busier one."""
    wanted: dict[str, list[str] | None] = {name: [interface] for name, interface in interfaces.items()}
    before, failed, lost = read(sessions, wanted)
    until = time.monotonic() + seconds
    meanwhile()
    time.sleep(max(0.0, until - time.monotonic()))
    after, failed_then, lost_then = read(sessions, {name: wanted[name] for name in before})
    found: dict[str, float] = {}
    for name in after:
        interface = interfaces[name]
        first, last = before[name].nics.get(interface), after[name].nics.get(interface)
        if first is None or last is None:
            failed[name] = f"{interface} counts no bytes"
            continue
        passed_s = max(1e-3, after[name].at_s - before[name].at_s)
        found[name] = max(last.get(way, 0) - first.get(way, 0) for way in ("rx_bytes", "tx_bytes")) / passed_s
    return found, {**failed, **failed_then}, {**lost, **lost_then}
