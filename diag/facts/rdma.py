"""What is known of a node's RDMA devices (HCAs), their ports and GIDs, and of what counts errors on them?"""

from __future__ import annotations

from diag.facts.record import UNASKED, Known, Record


class Gid(Record, frozen=True, kw_only=True):
    """One entry of a port's GID table that is set. ``kind``: ``ib``, ``roce_v1`` or ``roce_v2``."""

    index: int
    gid: str
    """As sysfs writes it: ``0000:0000:0000:0000:0000:ffff:0a4d:0002``."""
    kind: str
    interface: str | None = None
    """The network interface that it belongs to; None: none, or one that this network namespace does not show."""
    ipv4: str | None = None
    """The address that it maps; None: it is none of IPv4."""

    @property
    def link_local(self) -> bool:
        return self.gid.startswith("fe80:")


class RdmaPort(Record, frozen=True, kw_only=True):
    """One port of an HCA. ``link_layer``: ``InfiniBand`` or ``Ethernet``; states as sysfs names them, lower case."""

    number: int
    link_layer: str
    state: str
    """``active``, ``init``, ``armed``, ``down``."""
    physical_state: str
    """``linkup``, ``disabled``, ``polling``, …"""
    rate_bits_per_s: Known[int] = UNASKED
    width: Known[int] = UNASKED
    """Lanes."""
    lid: int | None = None
    sm_lid: int | None = None
    """None: no subnet manager is known, or the link has none."""
    interfaces: tuple[str, ...] = ()
    """Network interfaces on it: of RoCE those of its GIDs, of InfiniBand the IPoIB ones."""
    gids: Known[tuple[Gid, ...]] = UNASKED
    pkeys: Known[tuple[int, ...]] = UNASKED
    """Those set in its table, e.g. 0xffff."""
    mtu_active_bytes: Known[int] = UNASKED
    mtu_max_bytes: Known[int] = UNASKED
    mtu_told_by: str = ""
    """``ibv_devinfo``, or the interface from whose MTU the active one follows."""
    counters: Known[tuple[tuple[str, int], ...]] = UNASKED
    """Name -> value when the facts were taken: those of ``facts.counters``, and the bytes."""


class Hca(Record, frozen=True, kw_only=True):
    """One RDMA device. ``name``: ``mlx5_0``, ``bnxt_re0``, ``rxe0``, …"""

    name: str
    driver: str | None = None
    vendor: str | None = None
    """``mellanox``, ``broadcom``, …; None: no PCI device (soft-RoCE)."""
    pci_address: str | None = None
    firmware: str | None = None
    board: str | None = None
    numa_node: int | None = None
    virtual_function: bool = False
    pcie_speed_gt_per_s: Known[float | None] = UNASKED
    pcie_width: Known[int | None] = UNASKED
    pcie_max_speed_gt_per_s: Known[float | None] = UNASKED
    pcie_max_width: Known[int | None] = UNASKED
    """Of the PCIe link now and at most; None: not on PCI."""
    bond: str | None = None
    """The bond whose ports it carries; None: none."""
    device_file: str | None = None
    """``/dev/infiniband/uverbs0``; None: this node or container does not have it."""
    permitted: bool | None = None
    """Whether the agent may open it for reading and writing; None: there is no file."""
    ports: tuple[RdmaPort, ...] = ()


class RdmaSystem(Record, frozen=True, kw_only=True):
    """What all RDMA devices of a node share."""

    core_loaded: bool
    """Whether the kernel's RDMA core is there (``/sys/class/infiniband``)."""
    ofed: str | None = None
    """Version of MLNX_OFED or DOCA-OFED; None: the kernel's own drivers."""
    rdma_core: Known[str | None] = UNASKED
    """Version of libibverbs; None: not installed."""
    perftest: Known[str | None] = UNASKED
    """Version of perftest; None: not installed."""
    perftest_cuda: bool = False
    """Whether it was built to take GPU memory."""
    perftest_ipv6: bool = False
    """Whether its two ends can find each other over IPv6."""
    perftest_source_option: str | None = None
    """How it is told which of its addresses to use; None: it cannot be."""
    pfc: Known[tuple[tuple[str, str], ...]] = UNASKED
    """Interface -> its priorities with PFC, trust mode (pcp or dscp) and ECN, in the words of what told it."""
    network_namespaces: Known[str] = UNASKED
    """``shared`` or ``exclusive``: whether a device is seen from namespaces other than its own."""


class Increase(Record, frozen=True, kw_only=True):
    """A counter of a port or NIC that rose during the run, one of ``facts.counters``. ``during``: the stage."""

    device: str
    """``mlx5_0``, ``eth0``."""
    port: int | None = None
    """None: a network interface."""
    counter: str
    by: int
    during: str
