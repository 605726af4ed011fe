"""Which versions, settings and processes are on a node?"""

from __future__ import annotations

from diag.facts.record import UNASKED, Known, Record

BUILDS = ("rocm", "metax", "das")
"""In the versions of torch that compute through torch.cuda and may name no CUDA: AMD's, MetaX's, Hygon's."""


class Package(Record, frozen=True, kw_only=True):
    """An installed Python distribution, from its metadata (nothing is imported). ``version`` None: not installed."""

    name: str
    version: str | None


class Software(Record, frozen=True, kw_only=True):
    """What the agent's interpreter would load."""

    python: Known[str] = UNASKED
    packages: Known[tuple[Package, ...]] = UNASKED
    """torch, vllm, sglang, lmdeploy, ray, transformers, numpy, nvidia-nccl-*, nvidia-cuda-runtime-*, triton, …"""
    torch: Known[str | None] = UNASKED
    """Version, None: not installed under this interpreter."""
    nccl: Known[str | None] = UNASKED
    """From the nvidia-nccl-cu* distribution or a libnccl on the loader's path; None: neither."""
    cuda: Known[str | None] = UNASKED
    """CUDA that torch was built for (``+cu128`` or nvidia-cuda-runtime); None: a CPU build or no torch."""
    hip: Known[str | None] = UNASKED
    """HIP of ROCm that torch was built for, by its own files; None: another build or no torch."""
    ollama: Known[str | None] = UNASKED
    driver: Known[str | None] = UNASKED
    """Kernel module version of the GPU driver (``/sys/module/nvidia/version``); None: no such module."""


class Setting(Record, frozen=True, kw_only=True):
    """An environment variable or a line of a file that steers NCCL, GLOO, CUDA, Ray or an engine; secrets masked."""

    name: str
    """Empty: stands for whatever the file sets that could not be read; its value is Missing."""
    value: Known[str]
    source: str
    """``environment`` or the file's path."""


class Process(Record, frozen=True, kw_only=True):
    """A running engine or GPU process; ``kind``: ``vllm``, ``sglang``, ``lmdeploy``, ``ollama``, ``ray``, ``gpu``."""

    pid: int
    kind: str
    name: str
    user: str | None = None
    started_s_ago: float | None = None
