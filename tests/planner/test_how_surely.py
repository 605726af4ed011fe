"""Does a plan say how sure it is where its own interval contains what is needed?"""

from __future__ import annotations

import json
import re

import pytest

from diag.declared import declared_snapshot
from diag.engines import plan_launch
from diag.facts.plan import Parameters, Plan
from diag.planner.wanted import Wanted
from diag.units import GIB
from tests.planner.clusters import UNNAMED, gpu_node, snapshot, write_model


@pytest.mark.parametrize(
    ("length", "verdict", "told"),
    [
        (35000, "NO", "does not fit: sglang starts, but a request of 35,000 tokens can never be answered: it holds "),
        (25200, "RISKY", "a request of 25,200 tokens will probably never be answered, though sglang starts: it holds "),
        (22500, "RISKY", "a request of 22,500 tokens may never be answered, though sglang starts: it holds "),
    ],
)
def test_what_starts_says_how_surely_a_whole_request_is_never_answered(tmp_path, length, verdict, told):
    """3.2B on 45 GiB, a fifth of it: 24,165 tokens probably, 20,890 to 25,964."""
    changes = {"hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 24, "intermediate_size": 8192,
               "head_dim": 128, "tie_word_embeddings": True}  # fmt: skip
    model = write_model(tmp_path, "llama-8b", **changes)
    node = gpu_node("gpu01", free_gib=(44.4,), total=45 * GIB, kind=UNNAMED)
    pinned = Parameters(gpu_memory_utilization=0.2, max_model_len=length)
    plan = plan_launch(snapshot(node), model, "sglang", "0.5.6", Wanted(pinned=pinned))
    assert plan.verdict == verdict
    assert told in plan.reason


def test_a_shorter_context_that_probably_starts_is_preferred_to_one_that_probably_does_not(tmp_path):
    """15.0 GiB of weights; 8192 tokens take 1 GiB, 2048 a quarter."""
    model = write_model(tmp_path, "llama-8b")

    def planned(**pinned: int) -> Plan:
        node = gpu_node("gpu01", free_gib=(17.2,), total=24 * GIB, kind=UNNAMED)
        return plan_launch(snapshot(node), model, wanted=Wanted(pinned=Parameters(**pinned)))

    assert "it probably does not start: one request of 8192 tokens" in planned(max_model_len=8192).reason
    assert planned().verdict == "RISKY"
    assert planned().parameters.max_model_len < 8192
    assert "but only if overheads stay below their high estimates" in planned().reason


def test_shorter_steps_are_told_where_they_leave_much_more_kv_cache():
    cluster, model = declared_snapshot("8xB200"), "deepseek-ai/DeepSeek-V4-Pro"
    plan = plan_launch(cluster, model)
    told = re.compile(r"--max-num-batched-tokens 2048 leaves ([\d,]+) tokens of KV cache instead of ([\d,]+);")
    more, now = (int(text.replace(",", "")) for text in next(filter(None, map(told.match, plan.notes))).groups())
    pinned = plan_launch(cluster, model, wanted=Wanted(pinned=Parameters(max_num_batched_tokens=2048)))
    assert (now, more) == (plan.kv.capacity_tokens, pinned.kv.capacity_tokens)
    assert more > 1.25 * now
    assert not any(map(told.match, pinned.notes))
    assert not any(map(told.match, plan_launch(declared_snapshot("1xH100"), "Qwen/Qwen3-8B").notes))


def test_more_tokens_a_step_than_the_engines_own_are_explained_by_the_sequences():
    cluster = declared_snapshot("1xH100")
    plan = plan_launch(cluster, "Qwen/Qwen3-8B", wanted=Wanted(pinned=Parameters(max_num_seqs=10000)))
    told = plan.sources["--max-num-batched-tokens"]
    assert told == "vllm takes no fewer than sequences at once, 10000; by itself 8192"


def test_what_high_estimates_forbid_is_told_as_theirs():
    notes = plan_launch(declared_snapshot("8xH20"), "deepseek-ai/DeepSeek-R1").notes
    assert any(re.search("it is RISKY then: at high estimates weights of .* leave no KV", note) for note in notes)


def test_one_kv_head_is_one():
    notes = plan_launch(declared_snapshot("8xB200"), "deepseek-ai/DeepSeek-V4-Pro").notes
    assert "1 KV head on 8 ranks: it is held 8 times" in notes


@pytest.mark.parametrize(
    ("free", "settled", "told"),
    [
        (
            19.6,
            {"max_num_seqs": 2000},
            r"weights of 15\.\d GiB and activation of [\d.]+ GiB leave no KV cache in 18\.4 GiB",
        ),
        (19.6, {"max_num_batched_tokens": 4_000_000}, r"activation of [\d.]+ GiB leaves no KV cache in 18\.4 GiB"),
        (15.0, {"gpu_memory_utilization": 0.7}, r"weights of 15\.\d GiB leave no KV cache in 14\.0 GiB"),
    ],
)
def test_all_terms_that_cross_the_budget_together_are_named_and_no_others(tmp_path, free, settled, told):
    node = gpu_node("gpu01", free_gib=(free,), total=20 * GIB, kind=UNNAMED)
    wanted = Wanted(pinned=Parameters(**settled))
    plan = plan_launch(snapshot(node), write_model(tmp_path, "llama-8b"), wanted=wanted)
    assert plan.verdict == "NO"
    assert re.match(rf"does not fit: (others hold .*: )?{told} \(", plan.reason)


@pytest.mark.parametrize(("length", "verdict"), [(2049, "NO"), (2048, "UNKNOWN")])
def test_a_context_beyond_the_model_s_own_is_refused_though_the_model_is_not_known(tmp_path, length, verdict):
    """Engines look at the length before they look at anything else."""
    config = {"architectures": ["OddForCausalLM"], "model_type": "odd", "max_position_embeddings": 2048}
    (tmp_path / "config.json").write_text(json.dumps(config))
    plan = plan_launch(declared_snapshot("1xH100"), str(tmp_path), wanted=Wanted(context=length))
    assert plan.verdict == verdict
    if verdict == "NO":
        assert plan.reason == "cannot be: a context of 2,049 tokens: the model itself allows 2,048"
        assert plan.lever == "a context of at most 2,048 tokens"
