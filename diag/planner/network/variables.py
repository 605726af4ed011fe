"""What is set for the communication library, on which node, and why? And how does each vendor's library spell it?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """``values``: node -> value, for every node that a command is given on. ``why`` cites what was measured."""

    name: str
    values: tuple[tuple[str, str], ...]
    why: str

    @property
    def common(self) -> str | None:
        """What it is on all nodes; None: it differs."""
        found = {value for _, value in self.values}
        return found.pop() if len(found) == 1 else None

    def of(self, node: str) -> str | None:
        return dict(self.values).get(node)


class Library(msgspec.Struct, frozen=True, kw_only=True):
    """``exact``: the sign before exact names; empty: none is known. ``source``: where its names were read."""

    prefix: str
    exact: str = "="
    chooses_ports: bool = True
    """Whether it has a list of HCAs of the host's."""
    chooses_gids: bool = True
    """Whether NCCL's rules for GIDs are known to be its own."""
    source: str

    def named(self, names: Iterable[str]) -> str:
        return self.exact + ",".join(names)


_RCCL = "RCCL environment variables, rocm.docs.amd.com"
LIBRARIES: Mapping[str, Library] = {
    "nvidia": Library(prefix="NCCL_", source="NCCL environment variables, docs.nvidia.com; source of 2.30.7"),
    "amd": Library(prefix="NCCL_", source=_RCCL),
    "hygon": Library(prefix="NCCL_", source=f"{_RCCL}: its library is made from RCCL; its own pages were not read"),
    "metax": Library(
        prefix="MCCL_",
        exact="",
        chooses_gids=False,
        source="MCCL environment variables, developer.metax-tech.com: MCCL_IB_HCA=mlx5_0,mlx5_1; whether = is known to "
        "it was not read, and MCCL_SOCKET_IFNAME only in published start scripts",
    ),
    "ascend": Library(
        prefix="HCCL_",
        chooses_ports=False,
        chooses_gids=False,
        source="HCCL_SOCKET_IFNAME and HCCL_IF_IP, hiascend.com: RDMA leaves from NICs of the NPUs themselves",
    ),
}
"""By the vendor of the GPUs. Of others nothing was read: only GLOO's variable is known."""
