"""Which versions would the node's interpreter load? From package metadata; nothing is imported."""

from __future__ import annotations

import re

import msgspec

from diag.facts.record import NotMeasured
from diag.facts.software import Package, Software
from diag.probes.probe import Answers, Probe, always, maybe, told
from diag.probes.verbs import Ask, Request

ENGINES = ("torch", "vllm", "sglang", "lmdeploy", "ray")
"""Reported as absent too."""
OTHERS = (
    "bitsandbytes", "compressed-tensors", "cupy-cuda12x", "deep-ep", "deep-gemm", "deepspeed", "dlinfer-ascend",
    "flash-attn", "flashinfer-python", "huggingface-hub", "mooncake-transfer-engine", "nixl", "numpy", "safetensors",
    "sgl-kernel", "tensorrt-llm", "tokenizers", "torch-npu", "torchaudio", "torchvision", "transformers", "triton",
    "vllm-ascend", "vllm-metax", "xformers",
)  # fmt: skip
PREFIXES = (
    "nvidia-nccl-",
    "nvidia-cuda-runtime",
    "nvidia-cublas",
    "nvidia-cudnn-",
    "nvidia-nvshmem-",
    "pytorch-triton",
)


class _Torch(msgspec.Struct, frozen=True):
    version: str | None
    cuda: str | None
    hip: str | None


class _Software(msgspec.Struct, frozen=True):
    python: str
    packages: dict[str, str]
    torch: _Torch | None
    nccl_files: tuple[str, ...]
    driver: str | None
    ollama: str | None


def read(answers: Answers) -> Software:
    found = told(answers, "software", _Software)
    packages = {**dict.fromkeys(ENGINES), **found.packages}
    torch = found.packages.get("torch") or (found.torch.version if found.torch else None)
    return Software(
        python=found.python,
        packages=tuple(Package(name=name, version=version) for name, version in sorted(packages.items())),
        torch=torch,
        nccl=_nccl(found),
        cuda=_cuda(found, torch),
        hip=maybe(lambda: _hip(found, torch)),
        ollama=_ollama(found.ollama),
        driver=found.driver,
    )


def _nccl(found: _Software) -> str | None:
    """The library of torch's own wheel goes before the system's: so does torch."""
    for name, version in sorted(found.packages.items(), reverse=True):
        if name.startswith("nvidia-nccl-"):
            return version
    for file in found.nccl_files:
        match = re.search(r"libnccl\.so\.([0-9]+\.[0-9]+\.[0-9]+)", file)
        if match:
            return match[1]
    return None


def _cuda(found: _Software, torch: str | None) -> str | None:
    """What torch says it was built for, else its version's suffix (``+cu128``), else the runtime's wheel beside it."""
    if torch is None:
        return None
    if found.torch is not None:
        return found.torch.cuda
    match = re.search(r"\+cu([0-9]+)([0-9])$", torch)
    if match:
        return f"{match[1]}.{match[2]}"
    runtime = next((v for name, v in found.packages.items() if name.startswith("nvidia-cuda-runtime")), None)
    return ".".join(runtime.split(".")[:2]) if runtime and "+cpu" not in torch else None


def _hip(found: _Software, torch: str | None) -> str | None:
    if found.torch is not None:
        return found.torch.hip
    if torch is not None:
        raise NotMeasured("torch's version.py cannot be read")
    return None


def _ollama(said: str | None) -> str | None:
    match = re.search(r"version is ([0-9][\w.+-]*)", said or "")
    return match[1] if match else (said or None)


PROBE = Probe(
    topic="software",
    requests=always(
        Request(
            name="software", verb=Ask("packages:software", {"names": [*ENGINES, *OTHERS], "prefixes": list(PREFIXES)})
        )
    ),
    read=read,
)
