"""Does the agent run in a container, and in which kind?"""

from __future__ import annotations

from diag.facts.record import UNASKED, Known, Record


class Container(Record, frozen=True, kw_only=True):
    """``kind``: ``docker``, ``podman``, ``kubernetes``, ``lxc``, ``other``; None: the host itself."""

    kind: Known[str | None] = UNASKED
    told_by: str = ""
    """Which file or variable says so."""
    pids_of_machine: Known[bool] = UNASKED
    """Whether its pids are the machine's own, of which drivers speak; in a pid namespace ours look like strangers."""
    rdma_files: Known[tuple[str, ...]] = UNASKED
    """Those of the HCAs' verbs, ``uverbs0``, that are under ``/dev/infiniband`` for the agent."""
    verbs_library: Known[bool] = UNASKED
    """Whether the loader finds libibverbs, without which NCCL sees no HCA."""
