"""Snapshots and configs to plan with: what published models say of themselves, nodes as a run would record them."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from diag.facts.collective import Collective, Step
from diag.facts.device import Gpu, GpuProcess
from diag.facts.model import ModelFiles, ReadSpeed, TensorGroup
from diag.facts.node import Node, Reach
from diag.facts.snapshot import SCHEMA, Controller, Snapshot
from diag.facts.software import Package, Software
from diag.facts.system import Memory, System
from diag.units import GIB

H100, MXC500, UNNAMED = "NVIDIA H100 80GB HBM3", "MetaX MXC500", "NVIDIA Nameless"
"""As their drivers name them; of the last only the compute capability is known, so that all its memory can be had."""
H100_TOTAL = 81559 * 1024**2
H100_USABLE = 81080 * 1024**2
"""The driver keeps the rest for itself."""
MXC500_TOTAL = 64 * GIB

_LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 128256,
          "max_position_embeddings": 131072, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}  # fmt: skip
_QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 151936, "head_dim": 128,
          "max_position_embeddings": 40960, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
          "sliding_window": None, "use_sliding_window": False}  # fmt: skip


def _dense(base: dict[str, Any], *sizes: int) -> dict[str, Any]:
    layers, hidden, heads, kv_heads, intermediate = sizes
    return base | {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads,
                   "num_key_value_heads": kv_heads, "intermediate_size": intermediate}  # fmt: skip


CONFIGS: dict[str, dict[str, Any]] = {
    "llama-8b": _dense(_LLAMA, 32, 4096, 32, 8, 14336),
    "llama-1b with biases": _dense(_LLAMA, 16, 2048, 32, 8, 8192)
    | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    "llama-70b": _dense(_LLAMA, 80, 8192, 64, 8, 28672),
    "llama-405b": _dense(_LLAMA, 126, 16384, 128, 8, 53248),
    "qwen3-0.6b": _dense(_QWEN3, 28, 1024, 16, 8, 3072) | {"tie_word_embeddings": True},
    "qwen3-8b": _dense(_QWEN3, 36, 4096, 32, 8, 12288),
    "qwen3-32b": _dense(_QWEN3, 64, 5120, 64, 8, 25600),
    "qwen2-7b": _dense(_LLAMA, 28, 3584, 28, 4, 18944)
    | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 152064,
       "max_position_embeddings": 32768, "sliding_window": 131072, "use_sliding_window": False},
    "mistral-7b": _dense(_LLAMA, 32, 4096, 32, 8, 14336)
    | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "vocab_size": 32768, "sliding_window": None},
    "mixtral-8x7b": _dense(_LLAMA, 32, 4096, 32, 8, 14336)
    | {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "vocab_size": 32000,
       "num_local_experts": 8, "num_experts_per_tok": 2, "max_position_embeddings": 32768},
    "qwen3-30b-a3b": _dense(_QWEN3, 48, 2048, 32, 4, 6144)
    | {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "moe_intermediate_size": 768,
       "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1, "mlp_only_layers": []},
}  # fmt: skip


def config(name: str, **changes: Any) -> str:
    """The text of a ``config.json``, with named changes."""
    return json.dumps(CONFIGS[name] | changes)


def gpu_node(
    name: str, *, free_gib: tuple[float, ...], total: int = H100_TOTAL, kind: str = H100, **facts: Any
) -> Node:
    known: dict[str, Any] = {"compute_capability": "9.0"} if kind == UNNAMED else {}
    gpus = tuple(
        Gpu(index=index, name=kind, vendor=kind.split(maxsplit=1)[0].lower(), total_bytes=total,
            free_bytes=int(free * GIB), mig=False, processes=(), **known)
        for index, free in enumerate(free_gib)
    )  # fmt: skip
    return Node(name=name, address=f"10.0.0.{name[-1]}", reach=Reach(outcome="answered"), **({"gpus": gpus} | facts))


def eight_h100(name: str = "gpu01", free: float = 79.0, **facts: Any) -> Node:
    return gpu_node(name, free_gib=(free,) * 8, **facts)


def eight_mxc500(name: str = "mx01", free: float = 63.2, **facts: Any) -> Node:
    return gpu_node(name, free_gib=(free,) * 8, total=MXC500_TOTAL, kind=MXC500, **facts)


def with_process(node: Node, index: int, free_gib: float, *, pid: int, name: str) -> Node:
    """The same node with another process on one of its GPUs."""
    held = GpuProcess(pid=pid, name=name)
    gpus = tuple(
        msgspec.structs.replace(gpu, free_bytes=int(free_gib * GIB), processes=(held,)) if gpu.index == index else gpu
        for gpu in node.gpus
    )
    return msgspec.structs.replace(node, gpus=gpus)


def cpu_node(name: str, *, available_gib: float, numa_nodes: int = 1, **memory: Any) -> Node:
    return Node(
        name=name, address="127.0.0.1", reach=Reach(outcome="answered"), devices=(), gpus=(),
        memory=Memory(total_bytes=int(2 * available_gib * GIB), available_bytes=int(available_gib * GIB), **memory),
        system=System(cpus=8, cores=4, numa_nodes=numa_nodes),
    )  # fmt: skip


def model_files(config_json: str, *, parameters: int, dtype: str = "BF16", **facts: Any) -> ModelFiles:
    group = TensorGroup(dtype=dtype, tensors=1, parameters=parameters, size_bytes=2 * parameters)
    found = {"path": "/models/m", "exists": True, "config_json": config_json, "tensor_groups": (group,),
             "weights_bytes": 2 * parameters, "digest": "d"}  # fmt: skip
    return ModelFiles(**(found | facts))


def read_speed(bytes_per_s: float, *, readers: int = 1) -> ReadSpeed:
    return ReadSpeed(path="/models/m", bytes_per_s=bytes_per_s, read_bytes=GIB,
                     repetitions_bytes_per_s=(bytes_per_s,), direct=True, readers=readers)  # fmt: skip


def all_reduce(nodes: tuple[str, ...], busbw: float) -> Collective:
    step = Step(
        size_bytes=64 * 1024**2, times_s=(0.1,), algbw_bytes_per_s=busbw, busbw_bytes_per_s=busbw, verified=True
    )
    return Collective(
        backend="nccl",
        nodes=nodes,
        world_size=8 * len(nodes),
        finished=True,
        seconds=1.0,
        steps=(step,),
        interface="bond0",
    )


def installed(version: str | None) -> Software:
    return Software(packages=(Package(name="vllm", version=version),))


def snapshot(*nodes: Node, **fields: Any) -> Snapshot:
    return Snapshot(
        schema=SCHEMA, taken_at="2026-01-01T00:00:00+00:00", run_id="r1", level="normal",
        controller=Controller(hostname="laptop", python="3.11.7", diag="0.1.0"), nodes=nodes, **fields,
    )  # fmt: skip


def write_model(folder: Any, name: str, **changes: Any) -> str:
    """A local model directory with nothing but its config."""
    (folder / "config.json").write_text(config(name, **changes))
    return str(folder)
