"""Which memory rules had each version of vLLM? Data.

Read in the wheels of 0.7.3, 0.8.5, 0.9.2, 0.10.2, 0.11 to 0.14, 0.16 to 0.21 and 0.24 to 0.33: arg_utils
(get_batch_defaults), worker/gpu_worker (init_device, determine_available_memory), gpu_model_runner and
gpu/model_runner (_dummy_sampler_run), sample/ops/topk_topp_sampler, gpu/sample/penalties, config/vllm. A change between
two of them is dated to the later one. V0 engines count as 0.7 and before. Figures from logs say of how many.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from diag.engines.eras import Version
from diag.engines.flags import NEVER
from diag.planner.captures import Captures
from diag.planner.memory.paging.versions import vllm_paging
from diag.planner.memory.platforms import UNIFIED
from diag.planner.rules import HIP_GRAPHS, NOTHING, BatchRow, EngineRules, SecondRunner, Spread, gib
from diag.units import GIB, MIB

_SMALL = BatchRow(total_bytes=0, max_num_batched_tokens=2048, max_num_seqs=256, offline_batched_tokens=8192)
_LARGE = BatchRow(total_bytes=70 * GIB, max_num_batched_tokens=8192, max_num_seqs=1024, offline_batched_tokens=16384)
_HUGE = BatchRow(total_bytes=160 * GIB, max_num_batched_tokens=16384, max_num_seqs=1024)
_V0_BATCH = BatchRow(total_bytes=0, max_num_batched_tokens=2048, max_num_seqs=256)

SORTED = Spread(
    low=38,
    mid=38,
    high=40,
    source="38 bytes × sequences × vocabulary where words are sorted, counted; 17 of 18 profiles within 3 %",
)
_PERHAPS_SORTED = Spread(
    low=14, mid=38, high=40, source=f"{SORTED.source}; 14 where FlashInfer is installed, 17 in one profile"
)
UNSORTED = Spread(
    low=12,
    mid=14,
    high=18,
    source="14 bytes × sequences × vocabulary, counted: logits in 16 and 32 bits, probabilities, noise",
)
_UNPROCESSED = Spread(
    low=2,
    mid=3,
    high=5,
    source="2 bytes × sequences × vocabulary, counted: logits in 16 bits, up to 5 while ranks gather them",
)
_POOL = gib(0.06, 0.14, 0.22, "a pool of graphs: 140 MiB in 47 logs of V1, 10th and 90th percentile with layers")
_GRAPH = Spread(low=135 * 1024, mid=165 * 1024, high=200 * 1024, source="165 KiB × captures × layers in 47 logs of V1")
_EXPERT_CAPTURE = Spread(
    low=0, mid=3.3 * MIB, high=6 * MIB, source="with experts 3.3 MiB more a capture: 15 logs since 0.11, 9 of 0 to 6"
)
_HIP_GRAPHS = Spread(
    low=6, mid=5.6, high=5.2, source="graphs of HIP, times those of CUDA: 1.0 to 1.4 MiB each and layer in 4 logs"
)
_GRAPH_BEFORE = Spread(
    low=160 * 1024,
    mid=170 * 1024,
    high=400 * 1024,
    source="KiB × captures × layers: as later in 7 of 10 logs of 0.8 to 0.10, in 3 far more",
)
_EXPERT_GRAPH_BEFORE = Spread(
    low=160 * 1024,
    mid=410 * 1024,
    high=580 * 1024,
    source="KiB × captures × layers with experts: median 410, 160 to 580 in 12 of 13 logs of V1",
)
_UNUSABLE = gib(0, 1.7, 1.8, "gpt-oss on Hopper: 1.62 and 1.78 GiB reserved where sampling after the capture ran out")
_PENALTIES = 4 + 1 / 8
"""A count in 32 bits and a bit, for each word of each sequence."""
_LISTED = ("DeepseekV2ForCausalLM", "GraniteMoeForCausalLM", "Qwen2MoeForCausalLM")
_LATER_LISTED = (*_LISTED, "InklingForCausalLM", "InklingForConditionalGeneration", "LongcatFlashNgramForCausalLM")
_IMAGE = 16384
"""Of 16 Mpixel in tokens of 32 × 32: the largest that Qwen3-VL takes."""
_VIDEO = 153600
"""0.11 and 0.12 count 12.5 tokens for each of 12288, and hold embeddings of that many (compute_mm_encoder_budget)."""
_JOINED = (
    (
        "nvlink",
        gib(0.9, 1.9, 2.3, "24 logs of 2 to 8 GPUs joined by NVLink, V0 and V1: 0.95 to 2.21, on H100 about 2.1"),
    ),
    ("pcie", gib(0.1, 0.3, 0.9, "4 logs of 2 to 8 GPUs on PCIe: 0.20 to 0.33, at most 0.8 in one of two RTX 5090")),
)
"""What torch does not see of ranks that divide layers: libraries, channels of NCCL, buffers of its own all-reduce."""

_V0_33 = EngineRules(
    engine="vllm",
    version="0.33",
    utilization=0.92,
    inside=("activation", "graphs", "non_torch", "fragmentation", "kept"),
    block_size=16,
    batches=(_HUGE, _LARGE, _SMALL),
    small_batch_names=("a100", *UNIFIED),
    paging=vllm_paging((0, 33)),
    context=gib(0.2, 0.45, 0.62, "total less free at the start: 0.23 to 0.61 GiB in 11 logs of one GPU"),
    communicator=gib(0.2, 0.7, 1.1, "free before the start less the context: 0.7 and 1.0 GiB in logs of 2 and 4 GPUs"),
    sampler=UNSORTED,
    second_runner=SecondRunner(every=True, sampler=UNSORTED, kept=_PENALTIES),
    graphs=NOTHING,
    graph_pool=_POOL,
    graph_per_layer=_GRAPH,
    graph_per_expert_capture=_EXPERT_CAPTURE,
    hip_graphs=_HIP_GRAPHS,
    split_kinds=("full", "latent"),
    few_graphs=gib(0.02, 0.33, 0.65, "15 logs of at most 16 captures: median 0.33, 10th and 90th percentile"),
    captures=Captures(most=512, full=True),
    captures_of=(("GptOssForCausalLM", Captures(most=1024, per_seq=0, full=True)),),
    graphs_inside_budget=True,
    state_each_sequence=True,
    non_torch_alone=gib(0.02, 0.09, 0.26, "30 logs of one GPU: median 0.09, 10th and 90th percentile"),
    non_torch_several=gib(0.13, 0.7, 2.3, "30 logs of 2 to 8 GPUs, joined by NVLink or not: 0.20 to 2.21"),
    non_torch_joined=_JOINED,
    fragmentation=gib(0, 0.1, 0.4, "reserved by the allocator, not allocated: an estimate"),
    spans_nodes=True,
    refines_blocks=True,
    divides_tokens_of=("full", "latent", "sparse", "state"),
    tokens_divided_since="0.10.2",
    compiling=gib(0, 0, 0.8, "compiled anew: 0.8 GiB more in 2 logs of each a cold and a warm start"),
    image_tokens=_IMAGE,
    video_images=7,
    rotary="dtype",
    offloads=True,
    cpu_block_size=128,
    cpu_batch=BatchRow(total_bytes=0, max_num_batched_tokens=2048, max_num_seqs=128),
    cpu_process=gib(
        1.9, 2.3, 4.0, "0.32 with Qwen3-0.6B on 2 CPUs: 2.3 GiB in its three processes after compiling; 1.9 eager"
    ),
)


def _since(rules: EngineRules, minor: int, **changes: object) -> EngineRules:
    return replace(rules, version=f"0.{minor}", paging=vllm_paging((0, minor)), **changes)


_V0_30 = _since(
    _V0_33,
    30,
    refines_blocks=False,
    small_batch_names=("a100", *UNIFIED),
    second_runner=SecondRunner(every=True, sampler=_UNPROCESSED, kept=_PENALTIES),
)
_V0_29 = _since(
    _V0_30,
    29,
    second_runner=SecondRunner(
        names=(*_LATER_LISTED, "DeepseekV4ForCausalLM", "KimiK3ForConditionalGeneration"),
        dense=True,
        sampler=_UNPROCESSED,
        kept=_PENALTIES,
    ),
)
_V0_28 = _since(_V0_29, 28, divides_tokens_of=("full", "latent", "state"))
_V0_27 = _since(
    _V0_28,
    27,
    inside=("activation", "graphs", "non_torch"),
    fragmentation=NOTHING,
    fragmentation_of=(("GptOssForCausalLM", _UNUSABLE),),
    batches=(_LARGE, _SMALL),
    second_runner=SecondRunner(names=_LATER_LISTED, dense=True, sampler=_UNPROCESSED, kept=_PENALTIES),
)
_V0_26 = _since(_V0_27, 26, keeps_streams=True)
_V0_25 = _since(
    _V0_26,
    25,
    divides_tokens_of=("full", "latent"),
    second_runner=SecondRunner(names=_LISTED, dense=True, sampler=_UNPROCESSED, kept=_PENALTIES),
)
_V0_24 = _since(
    _V0_25,
    24,
    second_runner=SecondRunner(
        names=(*_LISTED, "Qwen3ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM"),
        sampler=_UNPROCESSED,
        kept=_PENALTIES,
    ),
)
_V0_21 = _since(_V0_24, 21, second_runner=None)
_V0_20 = _since(_V0_21, 20)
_V0_17 = _since(
    _V0_20,
    17,
    utilization=0.90,
    inside=("activation", "non_torch"),
    graphs_inside_budget=False,
    state_each_sequence=False,
)
_V0_13 = _since(_V0_17, 13, sampler=SORTED, cpu_swap_bytes=4 * GIB)
_V0_12 = _since(_V0_13, 12, image_tokens=_VIDEO)
_V0_11 = _since(
    _V0_12,
    11,
    divides_tokens_of=("latent",),
    split_kinds=("full",),
    fragmentation_of=(),
    sampler=_PERHAPS_SORTED,
    captures=Captures(most=512, fine=512, full=True),
    captures_of=(("GptOssForCausalLM", Captures(most=992, per_seq=0, full=True)),),
    spans_nodes=False,
)
_V0_10_2 = _since(
    _V0_11,
    10,
    image_tokens=_IMAGE,
    video_images=8,
    captures=Captures(most=512, fine=512),
    captures_of=(("GptOssForCausalLM", Captures(most=1024, per_seq=0)),),
    graph_per_layer=_GRAPH_BEFORE,
    graph_per_expert_layer=_EXPERT_GRAPH_BEFORE,
    hip_graphs=HIP_GRAPHS,
    split_kinds=(),
    communicator=NOTHING,
    non_torch_several=gib(0.2, 1.15, 2.2, "8 logs of 2 to 16 GPUs before 0.11: median 1.15, 10th and 90th percentile"),
)
_V0_10 = replace(_V0_10_2, divides_tokens_of=())
"""``--decode-context-parallel-size`` is new in 0.10.2."""
_V0_9 = _since(_V0_10, 9, captures=Captures(most=512, per_seq=512, fine=512))
_V0_8 = _since(
    _V0_9,
    8,
    inside=("activation", "non_torch", "context"),
    checks_free=False,
    small_batch_names=(),
    sampler=SORTED,
)
_V0_8_0 = replace(_V0_8, attention_replicas=False, starts_copies=False)
"""``--data-parallel-size`` is new in 0.8.3, ``--enable-expert-parallel`` in 0.8.0."""
_V0_6 = _since(
    _V0_8_0,
    7,
    shares_experts=False,
    inside=("activation", "non_torch"),
    batches=(_V0_BATCH,),
    sampler=replace(SORTED, low=30, source=f"{SORTED.source}; 30 in a log of a V100"),
    batch_of_length=32768,
    captures=Captures(most=256, per_seq=1, fine=256),
    captures_each_stage=True,
    graphs=gib(
        0.1,
        0.28,
        1.3,
        "21 logs of V0: median 0.28, 10th and 90th percentile 0.12 and 0.6, the two largest 1.9 and 2.7",
    ),
    graphs_alone=gib(0.12, 0.28, 0.6, "19 logs of V0 on one GPU: median 0.28, 10th and 90th percentile"),
    graph_pool=NOTHING,
    graph_per_layer=NOTHING,
    graph_per_expert_layer=NOTHING,
    compiling=NOTHING,
    video_images=0,
    copies_offloaded=True,
)
_V0_3 = replace(
    _V0_6,
    version="0.3",
    inside=("activation", "non_torch", "context", "fragmentation"),
    reserved_more=Spread(
        low=0, mid=0.3, high=1, source="it profiles what the allocator reserved, not what was allocated: an estimate"
    ),
)

_V0_5_0 = replace(_V0_3, pipelines=False)
"""Pipelines are new in 0.5.1 (config.py)."""

ERAS: Mapping[Version, EngineRules] = {
    (0, 33, 0): _V0_33, (0, 30, 0): _V0_30, (0, 29, 0): _V0_29, (0, 28, 0): _V0_28, (0, 27, 0): _V0_27,
    (0, 26, 0): _V0_26, (0, 25, 0): _V0_25, (0, 24, 0): _V0_24, (0, 21, 0): _V0_21, (0, 20, 0): _V0_20,
    (0, 17, 0): _V0_17, (0, 13, 0): _V0_13, (0, 12, 0): _V0_12, (0, 11, 0): _V0_11, (0, 10, 2): _V0_10_2,
    (0, 10, 0): _V0_10, (0, 9, 0): _V0_9, (0, 8, 3): _V0_8, (0, 8, 0): _V0_8_0, (0, 6, 0): _V0_6, (0, 5, 1): _V0_3,
    (0, 3, 0): _V0_5_0,
}  # fmt: skip
"""From which version on they hold."""

METHODS: Mapping[str, tuple[Version, Version]] = {
    "mtp": ((0, 11, 0), NEVER),
    "deepseek_mtp": ((0, 9, 0), NEVER),
    "qwen3_next_mtp": ((0, 10, 2), NEVER),
    "eagle3": ((0, 9, 0), NEVER),
    "draft_model": ((0, 16, 0), NEVER),
    "ngram": ((0, 9, 0), NEVER),
}
"""Ways to guess tokens that are planned: since which version, before which (config/speculative.py). V0's are not."""
DRAFT_LAYERS: Mapping[str, Version] = {
    "deepseek_v3": (0, 9, 0), "qwen3_next": (0, 10, 2), "mimo": (0, 11, 0), "deepseek_v32": (0, 11, 0),
    "glm4_moe": (0, 12, 0), "glm_moe_dsa": (0, 16, 0), "glm4_moe_lite": (0, 16, 0),
    "qwen3_5": (0, 17, 0), "qwen3_5_moe": (0, 17, 0), "qwen3_5_text": (0, 17, 0), "qwen3_5_moe_text": (0, 17, 0),
    "deepseek_v4": (0, 20, 0),
}  # fmt: skip
"""``model_type`` of models whose draft layers it loads (hf_config_override there)."""
SECOND_RUNNER = ("mtp", "deepseek_mtp", "qwen3_next_mtp", "eagle3")
"""Methods that the newer runner knows from 0.24 to 0.29 (config/vllm.py); later it knows all of ``METHODS``."""
