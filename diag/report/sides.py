"""In what do the containers of engines differ from their hosts? One line for all nodes that differ alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from diag.facts.derived import filesystem, is_local_only, own_addresses
from diag.facts.inside import Inside
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known, peek
from diag.facts.snapshot import Snapshot
from diag.inventory import fold
from diag.units import size

UNKNOWN = "not known"


def _bytes(limit: int | None) -> str:
    return "unlimited" if limit is None else size(limit)


def _shm(node: Node) -> str:
    found = filesystem(node, "shm")
    return "none" if found is None else size(found.total_bytes)


def _addresses(node: Node) -> str:
    return ", ".join(sorted(address for address in own_addresses(node) if not is_local_only(address))) or "none"


ROWS: tuple[tuple[str, Callable[[Node], str]], ...] = (
    ("memlock", lambda node: _bytes(node.limits.memlock_soft_bytes)),
    ("open files", lambda node: str(node.limits.nofile_hard or "unlimited")),
    ("/dev/shm", _shm),  # noqa: S108 - a name in a line
    ("memory limit", lambda node: _bytes(node.memory.cgroup_limit_bytes)),
    ("GPUs", lambda node: str(len(node.gpus))),
    ("RDMA devices", lambda node: str(len(node.container.rdma_files))),
    ("addresses", _addresses),
    ("OS", lambda node: node.system.os),
    ("Python", lambda node: node.software.python),
    ("torch", lambda node: node.software.torch or "none"),
    ("NCCL", lambda node: node.software.nccl or "none"),
)
"""What is compared, as it is shown."""


def side_lines(snapshot: Snapshot) -> list[str]:
    """``gpu[01-04]: in container vllm (docker): /dev/shm 64.0 MiB (host 62.9 GiB), torch 2.8.0 (host none)``."""
    alike: dict[str, list[str]] = defaultdict(list)
    for node in snapshot.nodes:
        if node.inside is not None and is_known(node, "host_side") and node.host_side is not None:
            alike[f"{_place(node.inside)}: {_differences(node, node.host_side)}"].append(node.name)
    return [f"{fold(names)}: {text}" for text, names in alike.items()]


def _place(inside: Inside) -> str:
    if inside.container is not None:
        return f"in container {inside.container} ({inside.runtime})"
    return f"in a container of {peek(inside, 'image')} ({inside.runtime})"


def _differences(node: Node, host: Node) -> str:
    rows = [(name, _shown(value, node), _shown(value, host)) for name, value in ROWS]
    told = [f"{name} {inside} (host {outside})" for name, inside, outside in rows if inside != outside]
    without = node.inside.without if node.inside is not None else ()
    return ", ".join((*told, *(f"without {line}" for line in without))) or "as on the host"


def _shown(value: Callable[[Node], str], node: Node) -> str:
    try:
        return value(node)
    except NotMeasured:
        return UNKNOWN
