"""SGLang: which memory rules has a version, and how does it spell a plan? States and translates; decides nothing.

Read in the wheels of 0.4.6 to 0.5.23 (server_args, arg_groups/memory_hook, model_runner, kv_cache_configurator): the KV
cache gets what is free after loading less (1 − fraction) of what was free before. Prefill in chunks and CUDA graphs
of decoding follow memory; activations and graphs live in what the fraction leaves, except where the cache is sized
after capture. Memory is a minimum over the ranks.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from diag.engines.eras import Version, numbers, rules_of
from diag.engines.flags import (
    FIRST_PORT,
    Flag,
    fraction,
    in_version,
    network,
    other_nodes,
    spelled,
    switch,
    unspelled,
    with_parameters,
    without_p2p,
    words,
)
from diag.facts.plan import Recipe
from diag.planner.memory.reserve import Reserve, ReserveStep
from diag.planner.planned import Planned
from diag.planner.rules import BatchRow, Drafting, EngineRules, Spread, gib
from diag.units import GIB

NEWEST = "0.5.23"
_MOST_REQUESTS = 2048
"""Least of what it caps running requests at by itself."""


def _row(total_gib: int, tokens: int, graphs: tuple[int, int]) -> BatchRow:
    return BatchRow(
        total_bytes=total_gib * GIB, max_num_batched_tokens=tokens, max_num_seqs=_MOST_REQUESTS, graph_batch=graphs
    )


_BATCHES = (_row(160, 16384, (512, 512)), _row(60, 8192, (256, 512)), _row(35, 4096, (32, 160)),
            _row(20, 4096, (48, 160)), _row(0, 2048, (8, 8)))  # fmt: skip
_BATCHES_0_5_5 = (*_BATCHES[:3], _row(20, 2048, (24, 80)), _BATCHES[4])
_BATCHES_0_5_3 = (*_BATCHES[:3], _row(20, 2048, (16, 80)), _BATCHES[4])
_BATCHES_0_4_8 = (_row(160, 16384, (160, 160)), _row(35, 8192, (160, 160)), _row(0, 2048, (8, 80)))
_BATCHES_0_4_6 = (_row(25, 8192, (160, 160)), _row(0, 2048, (8, 80)))

_LATENT = ("DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM", "KimiK25ForConditionalGeneration")
"""Of which model_overrides/deepseek_v2.py has each rank project the queries of all that divide tokens."""

_V0_5_23 = EngineRules(
    engine="sglang",
    version=NEWEST,
    fraction_of="free before load",
    utilization=0,
    reserve=Reserve(prefill_graphs=True, after_capture_mib=1536),
    inside=("non_torch",),
    checks_free=False,
    block_size=1,
    samples_graphs=True,
    batches=_BATCHES,
    context=gib(0.2, 0.45, 0.62, "a CUDA context, as vLLM's logs show it"),
    communicator=gib(0.2, 0.7, 1.1, "as vLLM's logs show it: communication starts before the weights are loaded"),
    sampler=Spread(
        low=4, mid=14, high=18, source="logits in 16 and 32 bits, probabilities and their copies, of running requests"
    ),
    graphs=gib(0.3, 1.5, 4.5, "3 logs of decode graphs: 1.66 GiB with GLM-5; pools after capture 0.1 to 6.7 GiB less"),
    few_graphs=gib(0.02, 0.33, 0.65, "of at most 16 captures, as vLLM's logs show it"),
    graphs_inside_budget=False,
    non_torch_alone=gib(0.02, 0.15, 0.35, "weights that grew while loading: 0.1 to 0.2 GiB in 3 logs"),
    non_torch_several=gib(0.05, 0.3, 1.0, "2 logs of 8 GPUs"),
    spans_nodes=True,
    rotary="float32",
    offloads=True,
    divides_tokens_of=("full", "latent", "sparse"),
    tokens_divided_since="0.5.23",
    repeats_queries_of=_LATENT,
    attention_replicas_not_of=("MixtralForCausalLM",),
)
_V0_5_18 = replace(_V0_5_23, divides_tokens_of=(), version="0.5.18")
_V0_5_16 = replace(
    _V0_5_18, reserve=Reserve(prefill_graphs=True, after_capture_mib=512), batches=_BATCHES_0_5_5, version="0.5.16"
)
_V0_5_10 = replace(_V0_5_16, reserve=Reserve(prefill_graphs=True), version="0.5.10")
_V0_5_5 = replace(_V0_5_10, reserve=Reserve(), version="0.5.5")
_V0_5_3 = replace(_V0_5_5, batches=_BATCHES_0_5_3, version="0.5.3")
_STEPS = (
    ReserveStep(below_mib=35 * 1024, base_mib=2.8 * 1024, rank_mib=0.1 * 1024),
    ReserveStep(below_mib=90 * 1024, base_mib=9.5 * 1024, rank_mib=0.5 * 1024),
    ReserveStep(below_mib=160 * 1024, base_mib=12 * 1024, rank_mib=0.5 * 1024),
    ReserveStep(below_mib=float("inf"), base_mib=32 * 1024, rank_mib=0),
)
_V0_4_10 = replace(
    _V0_5_3, reserve=Reserve(steps=_STEPS, attention_dp_mib=4096), batches=_BATCHES_0_4_8, version="0.4.10"
)
_DEEPSEEK = ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM")
_QWEN_MOE = ("Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM")
_V0_4_8 = replace(
    _V0_4_10,
    reserve=Reserve(steps=_STEPS, attention_dp_mib=4096, tower_factor=0.9),
    version="0.4.8",
    attention_replicas_of=(*_DEEPSEEK, *_QWEN_MOE, "Llama4ForConditionalGeneration"),
    whole_experts_of=(*_DEEPSEEK, *_QWEN_MOE, "MixtralForCausalLM"),
)
"""Of which models stands in sglang/srt/models: those that read dp_attention, and EPMoE or DeepEPMoE."""
_BY_RANKS = ((16, 0.79), (8, 0.81), (4, 0.85), (2, 0.87), (1, 0.88))
_V0_4_7 = replace(
    _V0_4_8,
    reserve=Reserve(
        by_ranks=_BY_RANKS,
        large=((180_000, 0, 0.79), (96 * 1024, 18 * 1024, 0.88), (80 * 1024, 0, 0.88)),
        tower_factor=0.9,
    ),
    batches=_BATCHES_0_4_6,
    version="0.4.7",
)
_V0_4_6 = replace(
    _V0_4_7,
    reserve=Reserve(by_ranks=_BY_RANKS, large=((80 * 1024, 13 * 1024, 1.0),), tower_factor=0.9),
    version="0.4.6",
    pipelines=False,
    attention_replicas_of=(*_DEEPSEEK, "Llama4ForConditionalGeneration"),
    whole_experts_of=(*_DEEPSEEK, "MixtralForCausalLM"),
)

ERAS: Mapping[Version, EngineRules] = {
    (0, 5, 23): _V0_5_23, (0, 5, 18): _V0_5_18, (0, 5, 16): _V0_5_16, (0, 5, 10): _V0_5_10, (0, 5, 5): _V0_5_5,
    (0, 5, 3): _V0_5_3, (0, 4, 10): _V0_4_10, (0, 4, 8): _V0_4_8, (0, 4, 7): _V0_4_7, (0, 4, 6): _V0_4_6,
}  # fmt: skip


def rules(version: str | None) -> EngineRules:
    found = rules_of("sglang", version, ERAS, (0, 5, 23))
    asked = numbers(found.version)
    return found if asked is None else replace(found, drafting=_drafting(asked))


ALGORITHMS: Mapping[str, tuple[str, Version]] = {
    "mtp": ("EAGLE", (0, 4, 6)),
    "nextn": ("EAGLE", (0, 4, 6)),
    "eagle3": ("EAGLE3", (0, 4, 6)),
    "draft_model": ("STANDALONE", (0, 5, 2)),
    "standalone": ("STANDALONE", (0, 5, 2)),
    "ngram": ("NGRAM", (0, 5, 3)),
}
"""What it calls ways to guess tokens, and since which version that was read."""
DRAFT_LAYERS: Mapping[Version, tuple[str, ...]] = {
    (0, 5, 16): ("deepseek_v3", "deepseek_v32", "glm_moe_dsa", "glm4_moe", "glm4_moe_lite", "mimo", "qwen3_next",
                 "qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text"),
    (0, 4, 10): ("deepseek_v3", "glm4_moe"),
    (0, 4, 6): ("deepseek_v3",),
}  # fmt: skip
"""``model_type`` of models whose draft layers it loads."""
DRAFT_COUNTED: Version = (0, 5, 15)
"""From here on a draft's weights count before the KV cache gets its memory."""
ALONE = ("draft_model", "standalone", "ngram")
"""Methods that it refuses beside replicas of the attention; in a pipeline it refuses all (0.5.3 to 0.5.23)."""


def _drafting(asked: Version) -> Drafting:
    return Drafting(
        methods=tuple(method for method, (_, since) in ALGORITHMS.items() if since <= asked),
        own_layers_of=next((names for since, names in DRAFT_LAYERS.items() if since <= asked), ()),
        lists_all=False,
        weights_inside=asked >= DRAFT_COUNTED,
        pipelines=False,
        alone=ALONE,
    )


ATTENTION_DP: Version = (0, 5, 23)
"""From here on replicas of the attention have a flag of their own; 0.5.20 has not, between them nothing was read."""
GRAPH_PHASES: Version = (0, 5, 16)
"""From here on ``--disable-cuda-graph`` is deprecated."""


def _disabled(_: bool) -> tuple[str, ...]:
    return ("disabled",)


FLAGS = (
    Flag(parameter="tensor_parallel_size", name="--tp-size"),
    Flag(parameter="pipeline_parallel_size", name="--pp-size", since=(0, 4, 7)),
    Flag(parameter="data_parallel_size", name="--dp-size", before=ATTENTION_DP),
    Flag(parameter="data_parallel_size", name="--attn-dp-size", since=ATTENTION_DP),
    Flag(parameter="decode_context_parallel_size", name="--dcp-size", since=(0, 5, 15)),
    switch("--enable-ep-moe", "expert_parallel", before=(0, 5, 3)),
    Flag(parameter="gpu_memory_utilization", name="--mem-fraction-static", spell=fraction),
    Flag(parameter="max_model_len", name="--context-length"),
    Flag(parameter="max_num_seqs", name="--max-running-requests"),
    Flag(parameter="max_num_batched_tokens", name="--chunked-prefill-size"),
    Flag(parameter="kv_cache_dtype", name="--kv-cache-dtype",
         spell=words(fp8="fp8_e4m3", bf16="auto", bfloat16="auto"), before=(0, 5, 5)),
    Flag(parameter="kv_cache_dtype", name="--kv-cache-dtype", spell=words(fp8="fp8_e4m3"), since=(0, 5, 5)),
    Flag(parameter="dtype", name="--dtype"),
    Flag(parameter="quantization", name="--quantization"),
    Flag(parameter="block_size", name="--page-size"),
    switch("--disable-cuda-graph", "enforce_eager", before=GRAPH_PHASES),
    Flag(parameter="enforce_eager", name="--cuda-graph-backend-decode", spell=_disabled, since=GRAPH_PHASES),
    Flag(parameter="enforce_eager", name="--cuda-graph-backend-prefill", spell=_disabled, since=GRAPH_PHASES),
    Flag(parameter="cpu_offload_gib", name="--cpu-offload-gb", spell=lambda gib: (str(int(gib)),)),
)  # fmt: skip
"""Long names only: ``--tp`` is taken as an abbreviation, ``--pp`` is refused as several."""
COPIES = (*(flag for flag in FLAGS if flag.parameter != "data_parallel_size"),
          Flag(parameter="data_parallel_size", name="--dp-size"))  # fmt: skip
"""Where ``data_parallel_size`` counts whole copies of the model."""


SPECULATION = ("speculative_method", "speculative_model", "num_speculative_tokens")
FEWER_REQUESTS = 48


def recipe(planned: Planned, rules: EngineRules) -> tuple[Recipe, dict[str, str]]:
    """The launch command and, for each flag and variable in it, why it is there."""
    if planned.place is None:
        return Recipe(), {}
    nodes, planned = planned.place.nodes, _of_all_ranks(planned)
    flags, why = spelled(FLAGS if planned.attention_replicas > 1 else COPIES, planned, rules.version)
    settled = in_version(FLAGS, rules.version) | {"expert_parallel", *SPECULATION}
    why |= unspelled(planned, settled, "sglang", rules.version)
    argv = ["python", "-m", "sglang.launch_server", "--model-path", planned.model, *flags]
    env: dict[str, str] = {}
    if "--dp-size" in why and planned.attention_replicas > 1:
        argv.append("--enable-dp-attention")
        why["--enable-dp-attention"] = "the replicas share one set of experts"
    _experts(planned, argv, why)
    _speculation(planned, argv, why)
    differ: dict[str, dict[str, str]] = {}
    if len(nodes) > 1:
        _span_nodes(planned, argv, why)
        differ = network(planned, env, why)
    without_p2p(planned, argv, env, why, "--disable-custom-all-reduce")
    return Recipe(argv=tuple(argv), env=env, env_of_nodes=differ), why


def _of_all_ranks(planned: Planned) -> Planned:
    """Its tensor parallelism is that of all replicas of the attention, and so are its tokens and requests."""
    replicas, parameters = planned.attention_replicas, planned.plan.parameters
    if replicas == 1:
        return planned
    tokens, seqs = parameters.max_num_batched_tokens, parameters.max_num_seqs
    return with_parameters(
        planned,
        {"tensor_parallel_size": f"ranks of all {replicas} replicas of the attention"},
        tensor_parallel_size=(parameters.tensor_parallel_size or 1) * replicas,
        max_num_batched_tokens=tokens and tokens * replicas,
        max_num_seqs=seqs and seqs * replicas,
    )


def _experts(planned: Planned, argv: list[str], why: dict[str, str]) -> None:
    parameters = planned.plan.parameters
    ranks = parameters.tensor_parallel_size or 1
    if not parameters.expert_parallel or "expert_parallel" not in planned.because or ranks == 1:
        return
    if "--enable-ep-moe" not in why:
        argv += ["--ep-size", str(ranks)]
        why["--ep-size"] = planned.because["expert_parallel"]


def _speculation(planned: Planned, argv: list[str], why: dict[str, str]) -> None:
    """One guess after another: it checks the guessed tokens and the one before them in one step."""
    parameters = planned.plan.parameters
    method, tokens = (parameters.speculative_method or "").lower(), parameters.num_speculative_tokens
    if method not in ALGORITHMS or tokens is None:
        return
    asked = planned.because.get("speculative_method", "")
    given = {"--speculative-algorithm": ALGORITHMS[method][0], "--speculative-num-draft-tokens": str(tokens + 1)}
    if method == "ngram":
        given["--speculative-ngram-max-bfs-breadth"] = "1"
    else:
        given |= {"--speculative-num-steps": str(tokens), "--speculative-eagle-topk": "1"}
    if parameters.speculative_model is not None:
        given["--speculative-draft-model-path"] = parameters.speculative_model
    if "--max-running-requests" not in why and parameters.max_num_seqs is not None:
        given["--max-running-requests"] = str(parameters.max_num_seqs)
    for name, value in given.items():
        argv += [name, value]
        why[name] = asked
    if "--max-running-requests" in given:
        why["--max-running-requests"] = f"by itself it takes {FEWER_REQUESTS} where it guesses tokens"


def _span_nodes(planned: Planned, argv: list[str], why: dict[str, str]) -> None:
    assert planned.place is not None
    nodes, head = planned.place.nodes, planned.place.addresses[0]
    argv += ["--nnodes", str(len(nodes)), "--node-rank", "0", "--dist-init-addr", f"{head}:{FIRST_PORT}"]
    why["--nnodes"] = f"a replica spans {', '.join(nodes)}"
    why["--node-rank"] = other_nodes(planned, "--node-rank")
    why["--dist-init-addr"] = (
        f"the address of {nodes[0]}{planned.place.address_why}, and a port that must be free there"
    )
