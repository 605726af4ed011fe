"""What do the nodes' NICs and HCAs count, and how fast do others' bytes pass them? Asked of all nodes at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from diag.errors import NodeError
from diag.probes import increases
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
) -> tuple[dict[str, dict[str, float]], dict[str, str], dict[str, NodeError]]:
    """Of each node what its interface and its HCAs (``mlx5_0/1``) carried, for at least ``seconds``.

    Bytes per second, of both directions the busier one. RDMA passes no interface's counters. What counts no bytes has
    no rate; a node whose interface has none is among those with a reason.
    """
    wanted: dict[str, Sequence[str] | None] = {name: [interface] for name, interface in interfaces.items()}
    before, failed, lost = read(sessions, wanted)
    until = time.monotonic() + seconds
    meanwhile()
    time.sleep(max(0.0, until - time.monotonic()))
    after, failed_then, lost_then = read(sessions, {name: wanted[name] for name in before})
    found: dict[str, dict[str, float]] = {}
    for name in after:
        carried = increases.carried(before[name], after[name])
        if interfaces[name] in carried:
            found[name] = carried
        else:
            failed[name] = f"{interfaces[name]} counts no bytes"
    return found, {**failed, **failed_then}, {**lost, **lost_then}
