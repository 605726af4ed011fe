"""TurboMind, the engine that LMDeploy starts by itself for the models it knows: which memory rules has a version?

Read in its sources, tags 0.9.0 to 0.16.0, and in the wheels of 0.17 and 0.18 (messages, utils.get_max_batch_size, what
its library prints). KV blocks get a fraction of what is free, the least of the ranks':
 - 0.9: once the weights are loaded; buffers of fixed size come afterwards;
 - 0.12: once these are there, too (Engine::Impl::CreateSequenceManager);
 - 0.15: before them again (TurboMind::Impl::CreateEngine).
No log is known that names versions, flags and memory: what is no formula is an estimate, and wide. What loading holds
back at most is from one of InternVL2.5-8B: 3.4 GiB more than its weights were taken on an A100.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from diag.engines.eras import Version, rules_of
from diag.planner.memory.buffers import Buffers
from diag.planner.memory.paging.turbomind import TurbomindPaging
from diag.planner.rules import NOTHING, BatchRow, EngineRules, Spread, gib

NEWEST: Version = (0, 18, 0)
THREE_POSITIONS = (
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3_5ForConditionalGeneration",
    "Qwen3_5MoeForConditionalGeneration",
)
"""Their buffers of positions are of the whole context until 0.13 (unified_attention_layer.cc)."""


def _rows(most: int, wide: int, *names: str) -> tuple[BatchRow, ...]:
    """``names`` beside H100 and H800 take the most requests, A100 and A800 the second number, others 128."""
    every = ((most, ("h100", "h800", *names)), (wide, ("a100", "a800")), (128, ()))
    return tuple(
        BatchRow(total_bytes=0, max_num_batched_tokens=8192, max_num_seqs=seqs, names=which) for seqs, which in every
    )


_V0_15 = EngineRules(
    engine="lmdeploy",
    fork_of="turbomind",
    backend="turbomind",
    version="0.18",
    fraction_of="free after load",
    utilization=0.8,
    inside=("context", "fragmentation"),
    checks_free=False,
    block_size=64,
    batches=_rows(1024, 384, "h200", "l20y"),
    turbomind=TurbomindPaging(),
    buffers=Buffers(token_bytes=4.25),
    context=gib(0.2, 0.5, 1.0, "a CUDA context with the kernels of torch and TurboMind: an estimate"),
    communicator=gib(0.1, 0.5, 1.1, "NCCL as vLLM's logs show it: it is there before the weights"),
    sampler=Spread(low=6, mid=14, high=26, source="logits in 16 and 32 bits, indices and sorted copies: an estimate"),
    graphs=NOTHING,
    graphs_inside_budget=False,
    non_torch_alone=gib(0.03, 0.15, 0.5, "cuBLAS and kernels loaded when first used: an estimate"),
    non_torch_several=gib(0.05, 0.4, 1.2, "the same and NCCL's buffers: an estimate"),
    fragmentation=gib(0, 0.5, 2.3, "what converting weights and a vision tower in torch hold back: an estimate"),
    spans_nodes=False,
    pipelines=False,
    shares_experts=False,
)
_V0_14 = replace(
    _V0_15,
    version="0.14",
    inside=("context", "fragmentation", "kept"),
    turbomind=TurbomindPaging(slabs=False, states="pool"),
)
_V0_12_3 = replace(
    _V0_14,
    version="0.12.3",
    buffers=Buffers(token_bytes=4.25, position_bytes=24, position_names=THREE_POSITIONS),
)
_V0_12_2 = replace(_V0_12_3, version="0.12.2", turbomind=TurbomindPaging(slabs=False, states="none"))
_V0_12 = replace(
    _V0_12_2,
    version="0.12",
    turbomind=TurbomindPaging(slabs=False, states="none", latent_heads=True, divides_heads=False, head_dims=(64, 128)),
)
_V0_11 = replace(
    _V0_12,
    version="0.11",
    inside=("context", "fragmentation"),
    turbomind=TurbomindPaging(slabs=False, states="none", latent_heads=True, head_dims=(64, 128)),
    buffers=Buffers(token_bytes=20.125, word_bytes=6),
)
_V0_10 = replace(_V0_11, version="0.10", starts_copies=False)
_V0_9 = replace(_V0_10, version="0.9", batches=_rows(512, 256))

ERAS: Mapping[Version, EngineRules] = {
    (0, 15, 0): _V0_15,
    (0, 14, 0): _V0_14,
    (0, 12, 3): _V0_12_3,
    (0, 12, 2): _V0_12_2,
    (0, 12, 0): _V0_12,
    (0, 11, 0): _V0_11,
    (0, 10, 0): _V0_10,
    (0, 9, 0): _V0_9,
}


def rules(version: str | None) -> EngineRules:
    return rules_of("lmdeploy", version, ERAS, NEWEST)
