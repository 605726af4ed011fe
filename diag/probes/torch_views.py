"""What does torch see under the engine's interpreter? None: no accelerator for it to see, or no torch."""

from __future__ import annotations

from typing import Any

import msgspec

from diag.facts.device import Gpu, TorchView
from diag.facts.record import Missing, is_known, peek
from diag.facts.software import BUILDS
from diag.probes import gpus
from diag.probes.probe import Answers, Probe, always, maybe, told
from diag.probes.verbs import Ask, Request

TORCH_S = 15.0
"""Importing it takes seconds, from a cold disk more."""
BF16_FROM, FP8_FROM = (8, 0), (8, 9)
"""Compute capability from which a GPU computes so: tables of the CUDA C++ Programming Guide, 'Compute Capabilities'."""


class _Npu(msgspec.Struct, frozen=True):
    """Of torch_npu; ``version`` None: it cannot be imported."""

    version: str | None
    count: int
    why_not: str


class _Seen(msgspec.Struct, frozen=True):
    absent: bool = False
    torch: str | None = None
    cuda: str | None = None
    hip: str | None = None
    count: int = 0
    why_not: str = ""
    indices: tuple[int, ...] | None = None
    architectures: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    nccl: str | None = None
    libcuda: int | None = None
    npu: _Npu | None = None


def read(answers: Answers) -> TorchView | None:
    seen = told(answers, "torch", _Seen)
    if seen.absent or seen.torch is None:
        return None
    known = maybe(lambda: gpus.read(answers))
    devices = _devices(seen, () if isinstance(known, Missing) else known)
    available = seen.count > 0 or (seen.npu is not None and seen.npu.count > 0)
    return TorchView(
        available=available,
        why_not="" if available else _why_not(seen, () if isinstance(known, Missing) else known),
        version=seen.torch,
        built_for=_built_for(seen),
        architectures=seen.architectures,
        devices=tuple("unknown" if gpu is None else gpu.name for gpu in devices),
        uuids=tuple(peek(gpu, "uuid") for gpu in devices if gpu is not None and is_known(gpu, "uuid")),
        bf16=_computes("bfloat16", BF16_FROM, seen, devices),
        fp8=_computes("float8_e4m3fn", FP8_FROM, seen, devices),
        nccl=seen.nccl,
        libcuda=f"{seen.libcuda // 1000}.{seen.libcuda % 1000 // 10}" if seen.libcuda else None,
    )


def _built_for(seen: _Seen) -> str | None:
    """As torch says; what names neither CUDA nor ROCm, by its version, or by the extension beside it."""
    if seen.cuda or seen.hip:
        return f"cuda {seen.cuda}" if seen.cuda else f"rocm {seen.hip}"
    if build := next((build for build in BUILDS if build in str(seen.torch)), None):
        return build
    return f"torch_npu {seen.npu.version}" if seen.npu and seen.npu.version else None


def _why_not_npu(seen: _Seen) -> str:
    if seen.npu is None:
        return f"torch {seen.torch} without torch_npu, which NPUs of Ascend need"
    return seen.npu.why_not or "torch_npu sees no device; ASCEND_RT_VISIBLE_DEVICES may hide them"


def _why_not(seen: _Seen, known: tuple[Gpu, ...]) -> str:
    """In its own words where it has some for the devices that are here."""
    if any(gpu.vendor == "ascend" for gpu in known) or (seen.npu and not (seen.cuda or seen.hip)):
        return _why_not_npu(seen)
    if seen.why_not:
        return seen.why_not
    if _built_for(seen) is None:
        return f"torch {seen.torch} is built for the CPU"
    return "it sees no device and gives no reason; CUDA_VISIBLE_DEVICES may hide them"


def _devices(seen: _Seen, known: tuple[Gpu, ...]) -> tuple[Gpu | None, ...]:
    """Those of torch, in its order, as the driver describes them; None: which one it is is not known."""
    named = {gpu.index: gpu for gpu in known}
    indices: tuple[int, ...] = () if seen.indices is None else seen.indices
    count = seen.count or (seen.npu.count if seen.npu else 0)
    padded = (*indices, *(-1 for _ in range(count - len(indices))))
    return tuple(named.get(index) for index in padded)


def _computes(kind: str, since: tuple[int, int], seen: _Seen, devices: tuple[Gpu | None, ...]) -> bool | None:
    """None: there is no device, or how new one is is not known."""
    if kind not in seen.types:
        return False
    capabilities: list[Any] = [gpu and peek(gpu, "compute_capability") for gpu in devices]
    if not capabilities or not all(isinstance(each, str) for each in capabilities):
        return None
    return all(tuple(map(int, each.split("."))) >= since for each in capabilities)


PROBE = Probe(
    topic="torch_view",
    requests=always(
        Request(name="torch", verb=Ask("torch_view:view", {"seconds": TORCH_S}), deadline_s=TORCH_S + 1),
    ),
    read=read,
)
