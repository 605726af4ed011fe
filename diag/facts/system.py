"""What is known of a node's operating system, memory, limits, clock and file systems?"""

from __future__ import annotations

from diag.facts.record import UNASKED, Known, Record


class System(Record, frozen=True, kw_only=True):
    """OS and CPU. ``kernel`` as ``uname -r`` prints it."""

    os: Known[str] = UNASKED
    """``PRETTY_NAME`` of os-release."""
    kernel: Known[str] = UNASKED
    machine: Known[str] = UNASKED
    """``x86_64``, ``aarch64``."""
    cpu_model: Known[str] = UNASKED
    cpus: Known[int] = UNASKED
    """Logical CPUs this process may run on."""
    cores: Known[int] = UNASKED
    """Physical cores on the machine."""
    numa_nodes: Known[int] = UNASKED
    boot_id: Known[str] = UNASKED
    uptime_s: Known[float] = UNASKED


class Memory(Record, frozen=True, kw_only=True):
    """RAM, and the cgroup's limit on it (None: the cgroup sets none)."""

    total_bytes: Known[int] = UNASKED
    available_bytes: Known[int] = UNASKED
    cgroup_limit_bytes: Known[int | None] = UNASKED
    cgroup_used_bytes: Known[int | None] = UNASKED
    numa_available_bytes: Known[tuple[int, ...]] = UNASKED
    """Of each NUMA node with memory: free, file-backed and reclaimable (its ``meminfo``)."""


class Limits(Record, frozen=True, kw_only=True):
    """Resource limits as the agent's own process sees them; None: unlimited."""

    memlock_soft_bytes: Known[int | None] = UNASKED
    memlock_hard_bytes: Known[int | None] = UNASKED
    nofile_soft: Known[int | None] = UNASKED
    nofile_hard: Known[int | None] = UNASKED
    nproc_soft: Known[int | None] = UNASKED
    stack_soft_bytes: Known[int | None] = UNASKED
    ipc_lock: Known[bool] = UNASKED
    """Whether it may lock all memory in spite of ``memlock`` (CAP_IPC_LOCK: root, outside a container)."""


class Clock(Record, frozen=True, kw_only=True):
    """Node's clock minus the controller's; the true offset lies within ± ``uncertainty_s``."""

    offset_s: float
    uncertainty_s: float


class Filesystem(Record, frozen=True, kw_only=True):
    """The file system under a path that engines use."""

    path: str
    """What was asked: ``/dev/shm``, ``/tmp``, ``/``, the model path, the container runtime's root."""
    use: str
    """``shm``, ``tmp``, ``root``, ``model``, ``containers``."""
    mount_point: Known[str] = UNASKED
    source: Known[str] = UNASKED
    kind: Known[str] = UNASKED
    """``ext4``, ``tmpfs``, ``nfs4``, ``lustre``, …"""
    shared: Known[bool] = UNASKED
    """Whether several nodes see the same files (a network or cluster file system)."""
    total_bytes: Known[int] = UNASKED
    free_bytes: Known[int] = UNASKED
    """Free to an ordinary process."""
    free_inodes: Known[int | None] = UNASKED
    read_only: Known[bool] = UNASKED
