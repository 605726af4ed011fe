"""What do the nodes' NICs and HCAs count, and how fast do others' bytes pass them? Asked of all nodes at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from diag.errors import NodeError
from diag.probes.increases import Reading, request
from diag.remote.pairs import ask
from diag.remote.session import Session

READ_S = 5.0


def read(
    sessions: Mapping[str, Session], interfaces: Mapping[str, Sequence[str] | None]
) -> tuple[dict[str, Reading], dict[str, str], dict[str, NodeError]]:
    """Of each node those ``interfaces`` (None: all), or why not, or that it is lost."""
    requests = {
        name: msgspec.structs.replace(request(names), deadline_s=READ_S - 1) for name, names in interfaces.items()
    }
    return ask(sessions, requests, READ_S, Reading)


def rates(
    sessions: Mapping[str, Session], interfaces: Mapping[str, str], seconds: float, meanwhile: Callable[[], None]
) -> tuple[dict[str, float], dict[str, str], dict[str, NodeError]]:
    """Bytes per second that each interface carried for at least ``seconds``, of its directions the busier one."""
    wanted: dict[str, Sequence[str] | None] = {name: [interface] for name, interface in interfaces.items()}
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
