"""Plans written by hand: Qwen2.5-72B in bf16 on eight H100 of 80 GB, its arithmetic done by hand.

135.4 GiB of weights; a token takes 2 (K, V) · 80 layers · 8 KV heads · 128 · 2 bytes = 327,680 bytes, over TP ranks.
"""

from __future__ import annotations

from diag.facts.plan import (
    Discarded,
    EngineName,
    Estimate,
    KvCache,
    MemorySplit,
    Parameters,
    Plan,
    PlanVerdict,
    Recipe,
)

GIB = 1024**3
TOKEN_BYTES = 327_680
LENGTH = 32_768


def around(mid_gib: float, spread: float = 0.0) -> Estimate:
    low, mid, high = (round(mid_gib * GIB * factor) for factor in (1 - spread, 1, 1 + spread))
    return Estimate(low=low, mid=mid, high=high)


def split(weights_gib: float, kv_gib: float, *, total_gib: float = 79.2) -> MemorySplit:
    return MemorySplit(
        total_bytes=round(total_gib * GIB), held_bytes=round(0.6 * GIB),
        weights_bytes=around(weights_gib), kv_cache_bytes=around(kv_gib, 0.04), activation_bytes=around(2.1, 0.3),
        cuda_graph_bytes=around(0.9, 0.4), non_torch_bytes=around(1.4, 0.2),
    )  # fmt: skip


def cache(tp: int, kv_gib: float, length: int = LENGTH) -> KvCache:
    per_token = TOKEN_BYTES // tp
    blocks = int(kv_gib * GIB) // (per_token * 16)
    capacity = max(0, blocks - 1) * 16
    return KvCache(
        bytes_per_token=per_token, capacity_tokens=capacity, printed_tokens=blocks * 16, blocks=blocks, block_size=16,
        max_concurrency=blocks * 16 / length,
    )  # fmt: skip


def asked(tp: int, *, pp: int = 1, dp: int = 1, length: int = LENGTH, seqs: int = 64) -> Parameters:
    return Parameters(
        tensor_parallel_size=tp, pipeline_parallel_size=pp, data_parallel_size=dp, max_model_len=length,
        max_num_seqs=seqs, expert_parallel=False, kv_cache_dtype="auto", dtype="bfloat16", enforce_eager=False,
    )  # fmt: skip


def lost(parameters: Parameters, verdict: PlanVerdict, weights_gib: float, kv_gib: float, reason: str) -> Discarded:
    tp = parameters.tensor_parallel_size or 1
    return Discarded(
        parameters=parameters, reason=reason, verdict=verdict, memory=split(weights_gib, kv_gib),
        kv=cache(tp, kv_gib, parameters.max_model_len or LENGTH),
    )  # fmt: skip


OTHERS = (
    lost(asked(8, seqs=256), "RISKY", 17.0, 46.3, "activation at its high estimate leaves no room beside the share"),
    lost(asked(4, dp=2), "FITS", 33.9, 30.6, "4 GPUs a replica hold 12.2 requests of 32k, TP 8 holds 38.5"),
    lost(asked(4, pp=2), "FITS", 17.3, 47.4, "as many GPUs as TP 8, a pipeline step more for every token"),
    lost(asked(2, dp=4), "NO", 67.7, 0.0, "weights leave 6.5 GiB less than nothing: 67.7 GiB of the 67.3 GiB share"),
    lost(
        asked(16), "FITS", 8.6, 56.1,
        "crosses bond0: an all-reduce of 64 MiB takes 11.2 GB/s, 476 inside; 8 KV heads are replicated twice",
    ),
    Discarded(parameters=Parameters(tensor_parallel_size=3), reason="64 heads do not divide by 3"),
    Discarded(parameters=Parameters(tensor_parallel_size=5), reason="64 heads do not divide by 5"),
    Discarded(parameters=Parameters(tensor_parallel_size=6), reason="64 heads do not divide by 6"),
    Discarded(parameters=Parameters(tensor_parallel_size=7), reason="64 heads do not divide by 7"),
    Discarded(parameters=asked(8, pp=3), reason="24 ranks, there are 16 GPUs"),
    Discarded(parameters=asked(16, pp=2), reason="32 ranks, there are 16 GPUs"),
    Discarded(parameters=asked(16, pp=4), reason="32 ranks, there are 16 GPUs"),
)  # fmt: skip
FITS = Plan(
    verdict="FITS",
    reason="TP 8 inside a node; 2 replicas on 2 nodes, even if every overhead is at its high estimate",
    notes=(
        "weights take 21 % of a GPU's memory: below the rule of thumb (60–80 %), the rest is KV cache",
        "for throughput: --max-num-seqs 256 costs 1.8 GiB of KV cache (48.1 to 46.3 GiB)",
    ),
    engine=EngineName(name="vllm", version="0.33.0"),
    parameters=asked(8),
    memory=split(17.0, 48.1),
    kv=cache(8, 48.1),
    load_seconds=222.0,
    recipe=Recipe(
        argv=(
            "vllm", "serve", "/models/Qwen2.5-72B", "--tensor-parallel-size", "8", "--max-model-len", "32768",
            "--gpu-memory-utilization", "0.86", "--max-num-seqs", "64",
        ),
    ),
    discarded=OTHERS,
    sources={
        "goal": "stable",
        "model": "/models/Qwen2.5-72B on gpu01",
        "recipe": "once on each node",
        "weights_bytes": "72,706,203,648 parameters in the safetensors headers, divided as TP 8 divides its layers",
        "--tensor-parallel-size": "weights are then 17.0 GiB a GPU, of 79.2",
        "--gpu-memory-utilization": "gpu03:2 has 68.9 of 79.2 GiB free (pid 4121, nvidia-smi dmon)",
        "--max-num-seqs": "stable: leaves 10 GiB for the high estimate of activation",
    },
)  # fmt: skip
NO = Plan(
    verdict="NO",
    reason="does not fit: weights take 69.8 GiB of the 64.0 GiB of a GPU (TP 8)",
    lever="a checkpoint in 8 bit: 34.9 GiB a GPU, 21.3 GiB of KV cache",
    engine=EngineName(name="vllm", version="0.33.0"),
    parameters=asked(8),
    memory=split(69.8, 0, total_gib=64),
    kv=KvCache(bytes_per_token=40_960),
    discarded=(
        Discarded(
            parameters=asked(4), reason="weights of 139.6 GiB a GPU", verdict="NO", memory=split(139.6, 0, total_gib=64)
        ),
    ),
)
HYBRID = Plan(
    verdict="RISKY",
    reason="TP 1 inside a node; 1 replica on 1 node, but only if overheads stay below their high estimates",
    engine=EngineName(name="sglang", version="0.5.23"),
    parameters=asked(1),
    memory=split(13.0, 55.2),
    kv=KvCache(
        bytes_per_token=49_152, capacity_tokens=1_205_862, printed_tokens=602_112, blocks=37_632, block_size=16,
        max_concurrency=18.375,
    ),
    recipe=Recipe(argv=("python3", "-m", "sglang.launch_server", "--model-path", "openai/gpt-oss-20b")),
)  # fmt: skip
UNKNOWN = Plan(
    verdict="UNKNOWN",
    reason="not known: MambaForCausalLM in ollama; weights take at most 2.6 GiB, a token at most 64 KiB",
    lever="name another engine",
    engine=EngineName(name="ollama", version="0.13"),
)
