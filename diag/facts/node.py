"""What is known of one node: one record, a field for each topic, ``Missing`` where a topic was not measured."""

from __future__ import annotations

from collections.abc import Iterable

from diag.facts.container import Container
from diag.facts.device import Between, Gpu, GpuSystem, PciDevice, TorchView, Xid
from diag.facts.inside import Inside
from diag.facts.model import ModelFiles, ReadSpeed
from diag.facts.network import EphemeralPorts, Hostname, Interface, Listener, Route
from diag.facts.rdma import Hca, Increase, RdmaSystem
from diag.facts.record import UNASKED, Known, Record
from diag.facts.software import Process, Setting, Software
from diag.facts.speed import Speed
from diag.facts.system import Clock, Filesystem, Limits, Memory, System


class Reach(Record, frozen=True, kw_only=True):
    """How the controller reached the node. ``outcome``: ``answered``, ``not_tried`` or a cause id."""

    outcome: str
    summary: str = ""
    do: str = ""
    seconds: float | None = None
    login_noise_bytes: int = 0
    """What the login shell printed before the agent's first byte (0: silent)."""
    advice: tuple[str, ...] = ()
    """One line each for what was not obeyed or looks wrong in the SSH settings of this host."""


class Agent(Record, frozen=True, kw_only=True):
    """Who answered: the interpreter under which everything on this node was measured."""

    pid: int
    python: str
    """Version, e.g. ``3.11.2``."""
    executable: str
    user: str
    wrapper: tuple[str, ...] = ()
    """The exec wrapper's argv, e.g. ``docker exec -i vllm``; empty: the host itself."""
    same_machine_as: tuple[str, ...] = ()
    """Other nodes of the run that met this one's agent on its machine."""


class Evidence(Record, frozen=True, kw_only=True):
    """Raw output behind a topic: ``sha256`` names the file under ``evidence/``."""

    topic: str
    sha256: str
    size_bytes: int
    """Length before any cut."""


class Node(Record, frozen=True, kw_only=True):
    """One selected host, whatever became of it. ``name`` is what the user called it.

    Its topics are what the engine gets there. Where that is a container, ``inside`` names it, and the same node as its
    host sees it, topic by topic, is ``host_side``: a check of what an engine needs reads ``node``, whoever compares
    both reads ``node.host_side`` too. A few topics are the machine's and can be seen from the host alone
    (``diag.columns``); those are the host's in both.
    """

    name: str
    address: str
    """What was connected to."""
    data_interface: str | None = None
    """What the inventory names as ``interface=``; None: not named."""
    leaf: str | None = None
    """The switch that it hangs on, as the inventory names it with ``leaf=``; None: not named."""
    reach: Reach
    agent: Known[Agent] = UNASKED
    system: Known[System] = UNASKED
    memory: Known[Memory] = UNASKED
    limits: Known[Limits] = UNASKED
    clock: Known[Clock] = UNASKED
    container: Known[Container] = UNASKED
    filesystems: Known[tuple[Filesystem, ...]] = UNASKED
    hostname: Known[Hostname] = UNASKED
    interfaces: Known[tuple[Interface, ...]] = UNASKED
    routes: Known[tuple[Route, ...]] = UNASKED
    listeners: Known[tuple[Listener, ...]] = UNASKED
    ephemeral_ports: Known[EphemeralPorts] = UNASKED
    devices: Known[tuple[PciDevice, ...]] = UNASKED
    gpus: Known[tuple[Gpu, ...]] = UNASKED
    between: Known[tuple[Between, ...]] = UNASKED
    """Each pair of GPUs, and of a GPU and an HCA."""
    gpu_system: Known[GpuSystem | None] = UNASKED
    """None: no accelerator."""
    hcas: Known[tuple[Hca, ...]] = UNASKED
    """RDMA devices that have a driver; the bus may hold more (``devices``)."""
    rdma_system: Known[RdmaSystem | None] = UNASKED
    """None: no RDMA device, and none on the bus."""
    increases: Known[tuple[Increase, ...]] = UNASKED
    """Counters of its NICs and HCAs that rose while diag measured; empty: none did."""
    xids: Known[tuple[Xid, ...]] = UNASKED
    torch_view: Known[TorchView | None] = UNASKED
    """None: no accelerator for it to see, or no torch under this interpreter."""
    processes: Known[tuple[Process, ...]] = UNASKED
    software: Known[Software] = UNASKED
    settings: Known[tuple[Setting, ...]] = UNASKED
    model: Known[ModelFiles] = UNASKED
    read_speed: Known[ReadSpeed] = UNASKED
    speed: Known[Speed] = UNASKED
    """Of its GPUs."""
    inside: Inside | None = None
    host_side: Known[Node | None] = None
    evidence: tuple[Evidence, ...] = ()
    left_behind: Known[tuple[str, ...]] = ()
    """What could not be removed or killed, e.g. ``pid 4121 (D state)``; empty: its agent said that nothing is."""


def leaves_of(nodes: Iterable[Node]) -> dict[str, str] | None:
    """Node -> the leaf switch that the inventory names; None: it names none."""
    return {node.name: node.leaf for node in nodes if node.leaf is not None} or None
