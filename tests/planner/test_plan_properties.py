"""Does every plan, of whatever model on whatever hardware for whatever goal, keep its own promises?"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.engines import plan_launch
from diag.facts.plan import Estimate, Parameters, Plan
from diag.facts.snapshot import Snapshot
from diag.planner.model import families
from diag.planner.model.catalogue import bundled
from diag.planner.wanted import GOALS, Wanted
from diag.units import GIB
from tests.planner.clusters import CONFIGS, UNNAMED, gpu_node, snapshot

RANK = {"FITS": 2, "RISKY": 1, "NO": 0, "": -1}
"""The last: not known, as what an old engine makes of a new model."""
TERMS = ("kv_cache_bytes", "weights_bytes", "activation_bytes", "cuda_graph_bytes", "non_torch_bytes")
VERSIONS = [
    ("vllm", "0.33.0"), ("vllm", "0.19.0"), ("vllm", "0.11.0"), ("vllm", "0.8.5"),
    ("sglang", "0.5.23"), ("sglang", "0.5.3"), ("sglang", "0.4.6"), ("lmdeploy", "0.18.0"), ("ollama", "0.33.0"),
]  # fmt: skip
many = settings(max_examples=40, deadline=None, derandomize=True, database=None)


class Cluster(msgspec.Struct, frozen=True):
    """Nodes of equal GPUs."""

    nodes: int
    gpus: int
    total_gib: int
    free: float
    """Part of the total."""

    @property
    def snapshot(self) -> Snapshot:
        free = (self.total_gib * self.free,) * self.gpus
        return snapshot(
            *(gpu_node(f"n{n}", free_gib=free, total=self.total_gib * GIB, kind=UNNAMED) for n in range(self.nodes))
        )


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    """Llama and Qwen3 shapes; every second with experts."""
    kv_heads = draw(st.sampled_from([1, 2, 4, 8]))
    sizes = {
        "num_hidden_layers": draw(st.integers(2, 100)),
        "hidden_size": 1024 * draw(st.integers(1, 12)),
        "num_key_value_heads": kv_heads,
        "num_attention_heads": kv_heads * draw(st.sampled_from([1, 2, 4, 5, 8])),
        "head_dim": draw(st.sampled_from([64, 128])),
        "intermediate_size": 512 * draw(st.integers(2, 60)),
        "max_position_embeddings": draw(st.sampled_from([2048, 4096, 32768, 131072])),
    }
    if draw(st.booleans()):
        return CONFIGS[draw(st.sampled_from(["llama-8b", "qwen3-32b"]))] | sizes
    experts = {"num_experts": draw(st.sampled_from([8, 64, 128])), "moe_intermediate_size": 768}
    return CONFIGS["qwen3-30b-a3b"] | sizes | experts


PUBLISHED = [
    "deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-V3.2", "google/gemma-4-26B-A4B", "openai/gpt-oss-120b",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct", "nvidia/Nemotron-H-56B-Base-8K", "Qwen/Qwen3.5-122B-A10B",
    "Qwen/Qwen3-32B-FP8", "nvidia/Qwen3-235B-A22B-NVFP4", "Qwen/Qwen3-VL-8B-Instruct", "moonshotai/Kimi-K2.5",
    "XiaomiMiMo/MiMo-V2-Flash", "MiniMaxAI/MiniMax-M2.5", "zai-org/GLM-5",
]  # fmt: skip
any_model = st.one_of(models(), st.sampled_from(PUBLISHED).map(lambda name: dict(bundled(name).config)))
clusters = st.builds(
    Cluster,
    nodes=st.integers(1, 3),
    gpus=st.sampled_from([1, 2, 3, 4, 8]),
    total_gib=st.sampled_from([16, 24, 48, 64, 80, 140, 190]),
    free=st.floats(0.3, 1.0),
)
engines = st.sampled_from(VERSIONS)
goals = st.builds(Wanted, goal=st.sampled_from(GOALS), concurrency=st.sampled_from([None, None, 8, 300]))


def planned(config: dict[str, Any], cluster: Cluster, engine: tuple[str, str], wanted: Wanted) -> Plan:
    with TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        return plan_launch(cluster.snapshot, folder, *engine, wanted)


def rank(plan: Plan) -> int:
    """By memory alone where it is not known whether the engine runs a format."""
    if plan.verdict != "UNKNOWN":
        return RANK[plan.verdict]
    return RANK[plan.reason.partition("by memory alone ")[2].partition(":")[0]]


def computed(plan: Plan) -> bool:
    """Not so where the model or the split is refused before anything is computed."""
    return rank(plan) >= 0 and not plan.reason.startswith("cannot be")


def rising(estimate: Estimate) -> bool:
    return 0 <= estimate.low <= estimate.mid <= estimate.high


def at_most(plan: Plan) -> int:
    """Bytes of a GPU with all overheads high; the KV cache is then at its lowest."""
    return sum(getattr(plan.memory, term).high for term in TERMS[1:]) + plan.memory.kv_cache_bytes.low


pins = st.fixed_dictionaries(
    {},
    optional={
        "tensor_parallel_size": st.sampled_from([1, 2, 4]),
        "pipeline_parallel_size": st.sampled_from([1, 2]),
        "data_parallel_size": st.sampled_from([1, 2, 3]),
        "gpu_memory_utilization": st.sampled_from([0.3, 0.8, 0.95]),
        "max_model_len": st.sampled_from([512, 2048]),
        "max_num_seqs": st.sampled_from([1, 100, 3000]),
        "max_num_batched_tokens": st.sampled_from([4096, 16384]),
        "block_size": st.sampled_from([32, 64]),
        "enforce_eager": st.just(True),
    },
).map(lambda values: Parameters(**values))


# -- more and less


@many
@given(any_model, clusters, engines, goals, st.floats(0.02, 0.5))
def test_more_free_memory_never_fits_less(config, cluster, engine, wanted, more):
    freer = msgspec.structs.replace(cluster, free=min(1.0, cluster.free + more))
    assert rank(planned(config, freer, engine, wanted)) >= rank(planned(config, cluster, engine, wanted))


@many
@given(any_model, clusters, engines, goals, st.sampled_from([1.25, 1.5, 2.0]))
def test_larger_gpus_never_fit_less(config, cluster, engine, wanted, times):
    larger = msgspec.structs.replace(cluster, total_gib=int(cluster.total_gib * times))
    assert rank(planned(config, larger, engine, wanted)) >= rank(planned(config, cluster, engine, wanted))


@many
@given(any_model, clusters, engines, st.integers(1, 2048), st.integers(0, 8192))
def test_a_longer_context_never_fits_more_and_never_holds_more_requests(config, cluster, engine, length, more):
    longest = families.read(config).max_len
    lengths = min(longest, 256 + length), min(longest, 256 + length + more)
    pinned = Parameters(tensor_parallel_size=1, max_num_seqs=4, max_num_batched_tokens=2048)
    short, long = (planned(config, cluster, engine, Wanted(context=n, pinned=pinned)) for n in lengths)
    assert rank(long) <= rank(short)
    if rank(long) > 0 and short.parameters == msgspec.structs.replace(long.parameters, max_model_len=lengths[0]):
        assert long.kv.max_concurrency <= short.kv.max_concurrency


# -- its own promises


@many
@given(any_model, clusters, engines, goals)
def test_a_plan_divides_the_model_over_gpus_that_are_there(config, cluster, engine, wanted):
    plan = planned(config, cluster, engine, wanted)
    found, architecture = plan.parameters, families.read(config)
    if not computed(plan):
        assert all(one.verdict is None and one.reason for one in plan.discarded)
        return
    tp, pp, dp = found.tensor_parallel_size, found.pipeline_parallel_size, found.data_parallel_size
    assert tp * pp * dp <= cluster.nodes * cluster.gpus
    assert architecture.heads % tp == 0
    assert pp <= len(architecture.layers)
    assert not found.expert_parallel or architecture.experts % (tp * dp) == 0
    assert dp == 1 or not architecture.experts or pp == 1 or engine[0] == "ollama"


@many
@given(any_model, clusters, engines, goals)
def test_terms_are_ordered_and_lie_inside_the_gpu(config, cluster, engine, wanted):
    plan = planned(config, cluster, engine, wanted)
    if not computed(plan):
        return
    assert all(rising(getattr(plan.memory, term)) for term in TERMS)
    assert plan.memory.total_bytes == cluster.total_gib * GIB
    if rank(plan) > 0:
        taken = sum(getattr(plan.memory, term).mid for term in TERMS)
        assert taken + plan.memory.held_bytes <= plan.memory.total_bytes * 1.001
    if rank(plan) == RANK["FITS"]:
        assert at_most(plan) + plan.memory.held_bytes <= plan.memory.total_bytes * 1.001
        assert 0 < plan.parameters.gpu_memory_utilization <= 1


@many
@given(any_model, clusters, engines, goals)
def test_what_fits_holds_a_request_of_the_longest_context(config, cluster, engine, wanted):
    plan = planned(config, cluster, engine, wanted)
    length, found = plan.parameters.max_model_len, plan.parameters
    if rank(plan) <= 0:
        assert plan.kv.capacity_tokens is None
        assert plan.recipe.argv == ()
        return
    assert plan.kv.capacity_tokens >= length
    assert length <= families.read(config).max_len
    assert found.max_num_seqs <= found.max_num_batched_tokens
    if rank(plan) == RANK["FITS"]:
        assert plan.memory.kv_cache_bytes.low > 0


@many
@given(any_model, clusters, engines, goals)
def test_nothing_that_was_discarded_fits_better_and_each_has_its_reason(config, cluster, engine, wanted):
    plan = planned(config, cluster, engine, wanted)
    assert all(one.reason and "\n" not in one.reason for one in plan.discarded)
    same_format = [
        one for one in plan.discarded
        if one.verdict and one.parameters.quantization is None and one.parameters.kv_cache_dtype == "auto"
    ]  # fmt: skip
    assert all(RANK[one.verdict] <= rank(plan) for one in same_format)


@many
@given(any_model, clusters, engines, goals)
def test_a_plan_is_one_json_document_whose_flags_have_sources(config, cluster, engine, wanted):
    plan = planned(config, cluster, engine, wanted)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan
    flags = {word for word in plan.recipe.argv if word.startswith("--")} - {"--model-path", "--model"}
    assert flags <= plan.sources.keys()
    assert plan.recipe.env.keys() <= plan.sources.keys()
    for text in (plan.reason, *plan.notes, plan.lever or "", *plan.sources.values()):
        assert "\n" not in text


@many
@given(any_model, clusters, engines, pins)
def test_what_the_user_settled_stays_or_is_refused(config, cluster, engine, pinned):
    plan = planned(config, cluster, engine, Wanted(pinned=pinned))
    if not computed(plan):
        return
    for name in pinned.__struct_fields__:
        value, have = getattr(pinned, name), getattr(plan.parameters, name)
        larger = name == "block_size" and value and have >= value  # some attention needs larger blocks than were set
        assert value is None or have == value or larger, name
