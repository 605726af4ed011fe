"""How fast are the parts of a node, and was what they computed and carried right?

Bytes, seconds and operations per second; every repetition is kept. A figure whose payload was wrong stays, with
``verified`` False: it is no speed. What could not be measured stands in ``lost`` with its reason, never as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TypeVar

from diag.facts.record import UNASKED, Known, NotMeasured, Record


class Gemm(Record, frozen=True, kw_only=True):
    """Square matrix products of one dtype, long enough to see throttling. ``wrong``: what the check of C found."""

    gpu: int
    dtype: str
    """``bf16``, ``fp16``, ``fp8``, ``tf32``, ``fp32``."""
    n: int
    """C(n, n) = A(n, n) · B(n, n): 2n³ operations."""
    flops_per_s: tuple[float, ...]
    """Of each stretch of time, in order."""
    verified: bool
    wrong: str = ""

    @property
    def sustained_flops_per_s(self) -> float:
        """Of the later half: what is left once it is warm."""
        return median(self.flops_per_s[len(self.flops_per_s) // 2 :])


class Bandwidth(Record, frozen=True, kw_only=True):
    """Copies of one kind. ``hbm`` counts what is read and what is written; the others what crosses the bus."""

    gpu: int
    kind: str
    """``hbm``, ``h2d``, ``d2h``; ``h2d_all``, ``d2h_all``: all GPUs of the node at once."""
    size_bytes: int
    """Counted in each repetition."""
    times_s: tuple[float, ...]
    verified: bool
    numa: int | None = None
    """The host memory's node; None: the kernel shows none, or it is not from the host."""
    near: bool | None = None
    """Whether that is the GPU's own node; None: not known."""

    @property
    def bytes_per_s(self) -> float:
        return self.size_bytes / median(self.times_s)


class P2p(Record, frozen=True, kw_only=True):
    """One direction between two GPUs of a node: ``source`` writes into ``target``. GPUs by their index."""

    source: int
    target: int
    direct: bool
    """Whether the driver lets one reach the other's memory; else the copy goes through the host."""
    size_bytes: int
    times_s: tuple[float, ...]
    verified: bool
    """Both what the copy engine and what a kernel carried."""
    wrong: str = ""

    @property
    def bytes_per_s(self) -> float:
        return self.size_bytes / median(self.times_s)


class Fill(Record, frozen=True, kw_only=True):
    """How much of a GPU's memory a program could allocate, write, and read back. ``told_bytes``: was free before."""

    gpu: int
    told_bytes: int
    allocatable_bytes: int
    verified: bool


class Context(Record, frozen=True, kw_only=True):
    """What a process holds of a GPU's memory before its first tensor, and with a matrix product's workspace."""

    gpu: int
    context_bytes: int
    with_gemm_bytes: int


class Fingerprint(Record, frozen=True, kw_only=True):
    """Digests of computations from one seed. ``exact``: sums that every order of adding makes the same, so every right
    device of any model has it; ``rounded``: the same on devices of one ``kind`` (model and software).
    """

    gpu: int
    kind: str
    exact: str
    expected: str
    """Of the same sums done with integers on the CPU."""
    rounded: str
    repeated: bool
    """Whether it found the same each time."""


class Lost(Record, frozen=True, kw_only=True):
    """A measurement that gave nothing: it failed, was killed at its deadline, or was not begun."""

    topic: str
    gpus: tuple[int, ...]
    dtype: str = ""
    """Of products; empty: of no one dtype."""
    how: str
    """``failed``, ``killed``, ``skipped``: not begun, or stopped for the sake of others or for want of time."""
    why: str


class GpuRise(Record, frozen=True, kw_only=True):
    """A count of errors that rose while the GPUs were measured. ``gpu`` None: of an NVSwitch, or not known which."""

    gpu: int | None
    counter: str
    """In words: ``corrected memory errors``, ``Xid 74 in the kernel log``."""
    by: int
    grave: bool
    """Whether it is a fault: corrected errors, few packets sent again or damaged, a program's own Xids are none."""


class Load(Record, frozen=True, kw_only=True):
    """What a GPU said of itself while something was measured on it. None: it did not say, or was not seen busy."""

    gpu: int
    during: str
    """``gemm bf16``, ``hbm``, ``host copies``, …"""
    looks: int
    """So often NVML was asked, twice a second."""
    busy: int
    """Looks at which kernels ran 90 % of the time; clocks, power and ``slowed_by`` are of those."""
    told: int = 0
    """Busy looks at which it said what held its clocks back, or that nothing did."""
    sm_mhz: int | None = None
    """In the middle of them."""
    power_w: float | None = None
    """At most."""
    temperature_c: int | None = None
    """At most."""
    slowed_by: tuple[tuple[str, int], ...] = ()
    """Reason, as ``Gpu.throttled_by`` names it -> looks."""
    pcie_generation: int | None = None
    pcie_width: int | None = None
    """The most that its link was seen at."""


class CollectiveTime(Record, frozen=True, kw_only=True):
    """One collective of one size among the GPUs of a node. busbw as nccl-tests define it, from the median."""

    collective: str
    """``all_reduce``, ``all_gather``, ``reduce_scatter``, ``all_to_all``, ``broadcast``; ``vllm_custom`` and
    ``vllm_pynccl``: vLLM's own all-reduces."""
    environment: str
    """``engine`` or ``default``: whose variables were set."""
    captured: bool
    """Replayed from a CUDA graph."""
    size_bytes: int
    times_s: tuple[float, ...]
    busbw_bytes_per_s: float
    verified: bool


class Transport(Record, frozen=True, kw_only=True):
    """What carries data between two ranks, as NCCL says. ``hca``: by its name, or its number where no list was seen."""

    source: int
    target: int
    kind: str
    """``P2P``, ``SHM``, ``NET/IB``, ``NET/Socket``, ``NET/…`` of a plugin, ``COLLNET``."""
    detail: str = ""
    """``CUMEM``, ``IPC``, ``direct/direct``, …"""
    hca: str | None = None
    gpu_direct: bool | None = None
    """None: nothing leaves the node on it."""
    channels: int = 1


class NcclLog(Record, frozen=True, kw_only=True):
    """What NCCL said of itself while it was initialised (``NCCL_DEBUG=INFO``), over all ranks of a node."""

    version: str | None = None
    network: str | None = None
    """``IB``, ``Socket``, a plugin's name."""
    plugin: str | None = None
    """An external network plugin; None: none was loaded."""
    hcas: tuple[str, ...] = ()
    """``mlx5_0:1/RoCE``."""
    gids: tuple[int, ...] = ()
    """GID indices that queue pairs used."""
    gpu_direct: tuple[tuple[str, bool], ...] = ()
    """HCA -> whether NCCL can register GPU memory with it."""
    gpu_direct_why: tuple[str, ...] = ()
    """Why it is off between a GPU and an HCA, in NCCL's words."""
    nvls: bool | None = None
    """Whether NVLink SHARP channels are used; None: it does not say."""
    channels: int | None = None
    transports: tuple[Transport, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    """What it says was set by environment or file."""
    warnings: tuple[str, ...] = ()


class Rung(Record, frozen=True, kw_only=True):
    """One step of the ladder: the all-reduce with something switched off. ``busbw`` None: it did not come through."""

    step: str
    variables: tuple[tuple[str, str], ...]
    busbw_bytes_per_s: float | None = None
    latency_s: float | None = None
    verified: bool = True
    why: str = ""
    known: bool = True
    """False: it ended before it could tell, e.g. before its first collective began; that is neither good nor bad."""


class NodeCollectives(Record, frozen=True, kw_only=True):
    """Collectives among the GPUs of one node. NCCL's figures bound the engines' own kernels from above."""

    backend: str
    world_size: int
    library: str | None = None
    gpus: tuple[int, ...] = ()
    """The GPU of each rank in turn, by its index; empty: not known, or no GPUs take part."""
    engine: str | None = None
    """Whose environment ``engine`` times were taken under, with its version."""
    engine_variables: tuple[tuple[str, str], ...] = ()
    times: tuple[CollectiveTime, ...] = ()
    communicator_bytes: Known[int] = UNASKED
    """Most that any rank's first collective took of its GPU's memory."""
    communicators: tuple[tuple[int, int], ...] = ()
    """So many ranks of the node -> the most that their communicator takes of a GPU, as the only one of its process."""
    log: Known[NcclLog] = UNASKED
    stopped: str = ""
    """Why it was ended early for somebody else's sake; empty: it was not."""
    left_out: tuple[tuple[str, str], ...] = ()
    """What was to be measured and was not, and why."""
    ladder: tuple[Rung, ...] = ()
    ladder_says: str = ""
    summary: str = ""

    def largest(self, collective: str, environment: str = "engine") -> CollectiveTime | None:
        """Of those not captured; None: there is none."""
        rows = [row for row in self.times if (row.collective, row.environment) == (collective, environment)]
        return max((row for row in rows if not row.captured), key=lambda row: row.size_bytes, default=None)


class Speed(Record, frozen=True, kw_only=True):
    """All of one node. A topic that was not asked for at this level is ``Missing``."""

    level: str
    seconds: float
    interpreter: str = ""
    torch: str = ""
    visible: str = ""
    """Why some GPUs were left out; empty: none was."""
    stopped: str = ""
    """Why all of it was ended early, for the sake of others; empty: it was not."""
    gemms: Known[tuple[Gemm, ...]] = UNASKED
    bandwidths: Known[tuple[Bandwidth, ...]] = UNASKED
    p2p: Known[tuple[P2p, ...]] = UNASKED
    fills: Known[tuple[Fill, ...]] = UNASKED
    contexts: Known[tuple[Context, ...]] = UNASKED
    fingerprints: Known[tuple[Fingerprint, ...]] = UNASKED
    collectives: Known[NodeCollectives] = UNASKED
    dcgm_failures: Known[tuple[str, ...] | None] = UNASKED
    """What DCGM's short diagnosis found wrong, a line each; None: DCGM is not installed."""
    dcgm_warnings: Known[tuple[str, ...] | None] = UNASKED
    """Its tests that neither passed nor failed."""
    loads: Known[tuple[Load, ...]] = UNASKED
    """Of NVIDIA's GPUs."""
    rises: Known[tuple[GpuRise, ...]] = UNASKED
    """Errors that its GPUs counted while they were measured; empty: none."""
    lost: tuple[Lost, ...] = ()


NO_TIME = "no time was left"
"""How a reason begins that says nothing against the GPUs."""
R = TypeVar("R", Gemm, Bandwidth, Fill, Context, Fingerprint)


def of_gpu(rows: Sequence[R], index: int, speed: Speed, topic: str) -> tuple[R, ...]:
    """One GPU's. Raises NotMeasured where there is none, with how it was lost."""
    found = tuple(row for row in rows if row.gpu == index)
    if not found:
        raise NotMeasured(why_lost(speed, topic, index))
    return found


def why_lost(speed: Speed, topic: str, index: int) -> str:
    lost = next((each for each in speed.lost if each.topic == topic and index in each.gpus), None)
    return f"{topic} {lost.how}: {lost.why}" if lost else f"{topic} was not measured on gpu:{index}"
