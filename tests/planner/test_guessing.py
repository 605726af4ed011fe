"""Are drafts weighed and paged as vLLM does it, and does a plan say what guessing takes, or why it cannot be?"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgspec
import pytest

from diag.declared import declared_snapshot
from diag.engines import ENGINES, plan_launch
from diag.errors import DiagError
from diag.facts.plan import Parameters, Plan
from diag.planner.memory.guessing import joined
from diag.planner.memory.paging import sglang
from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.split import Split
from diag.planner.memory.paging.versions import vllm_paging
from diag.planner.memory.paging.vllm import layout, paged
from diag.planner.model import catalogue, families
from diag.planner.model.drafts import Draft
from diag.planner.model.shards import rank_weight_bytes
from diag.planner.wanted import Wanted
from diag.units import GIB
from tests.planner import oracle

RECORDED = json.loads((oracle.RECORDED / "vllm-0.32-drafts.json").read_text(encoding="utf-8"))
ROWS = [{**RECORDED["defaults"], **row} for row in RECORDED["rows"]]
DRAFTED = [row for row in ROWS if "draft_bytes" in row]
EIGHT_H100 = declared_snapshot("8xH100-80GB", None)
QWEN, MIMO = "Qwen/Qwen3.5-27B", "XiaomiMiMo/MiMo-7B-Base"


def told(row: dict[str, Any]) -> str:
    return " ".join(str(row.get(key, "")) for key in ("config", "tp", "method", "dcp"))


@cache
def config(name: str) -> dict[str, Any]:
    if name in catalogue.names():
        return dict(catalogue.bundled(name).config)
    return json.loads((oracle.RECORDED / "families.json").read_text(encoding="utf-8"))[name.replace("/", "__", 1)]


def draft_of(row: dict[str, Any]):
    """What guesses, as an architecture; None: nothing does, or nothing with weights."""
    method = row.get("method")
    if method == "mtp":
        return families.read_draft(config(row["config"]))
    if method == "draft_model":
        return families.read(config(row["draft"]))
    return families.read_eagle3(RECORDED["head"], 4096) if method == "eagle3" else None


def drafted(row: dict[str, Any]) -> Draft | None:
    tokens = row.get("tokens")
    return Draft(method="", kind="own layers", tokens=tokens, architecture=draft_of(row)) if tokens else None


@pytest.mark.parametrize("row", DRAFTED, ids=told)
def test_a_draft_weighs_what_vllm_creates_of_it(row):
    """Of a model's own draft layers without embedding and head, which are the model's."""
    assert rank_weight_bytes(draft_of(row), tp=row["tp"]) == row["draft_bytes"]


@pytest.mark.parametrize("row", ROWS, ids=told)
def test_a_cache_beside_a_draft_or_divided_is_paged_as_vllm_does(row):
    settings = Settings(
        rules=vllm_paging((0, 32)),
        max_model_len=row["max_model_len"],
        max_num_batched_tokens=row["max_num_batched_tokens"],
        kv_cache_dtype=row["kv_cache_dtype"],
        drafted=row.get("tokens", 0),
    )
    model = joined(families.read(config(row["config"])), drafted(row))
    found = paged(layout(model, Split(tp=row["tp"], dcp=row["dcp"]), settings), int(row["kv_mem_gib"] * GIB))
    assert {
        "num_blocks": found.blocks,
        "bytes_per_block": found.bytes_per_block,
        "printed_tokens": found.printed_tokens,
        "max_concurrency": found.max_concurrency,
        "one_request_bytes": found.request_bytes,
    } == {key: row[key] for key in ("num_blocks", "bytes_per_block", "printed_tokens", "max_concurrency",
                                    "one_request_bytes")}  # fmt: skip


# -- logs of other people


def qwen_27b(tokens: int):
    """TP 2, a cache in 8 bit, 262,144 tokens a request; states at the ends of blocks are kept."""
    draft = Draft(method="mtp", kind="own layers", tokens=tokens, architecture=families.read_draft(config(QWEN)))
    settings = Settings(
        rules=vllm_paging((0, 26)),
        max_model_len=262_144,
        max_num_batched_tokens=8192,
        kv_cache_dtype="fp8",
        drafted=tokens,
        prefix_caching=True,
    )
    return layout(joined(families.read(config(QWEN)), draft), Split(tp=2), settings)


def test_a_log_of_qwen_27b_that_guesses_three_tokens_is_repeated():
    """It has 5.33 GiB, rounded, and prints 300,220 tokens and 1.15 requests."""
    for least in (5.325, 5.335):
        found = paged(qwen_27b(3), int(least * GIB))
        assert (found.printed_tokens, round(found.max_concurrency, 2)) == (300_220, 1.15)


def test_another_log_of_it_prints_a_number_that_only_three_guessed_tokens_give():
    """620,944 tokens on two other GPUs: a whole number of blocks with three guessed tokens, with no others up to 5."""
    assert {tokens for tokens in range(1, 6) if _prints(qwen_27b(tokens), 620_944)} == {3}


def _prints(laid_out, tokens: int) -> bool:
    request = laid_out.request_blocks(262_144)
    return any(int(blocks / request * 262_144) == tokens for blocks in range(request, 3 * request))


def of_sglang(drafted: int, kv_bytes: int = 20 * GIB, running: int | None = None):
    given = config(QWEN)
    text = {**given["text_config"], "mamba_ssm_dtype": "bfloat16"}
    settings = sglang.SglangSettings(
        context_length=262_144, drafted=drafted, draft_layers=1 if drafted else 0, max_running_requests=running
    )
    return sglang.paged(families.read({**given, "text_config": text}), Split(tp=1), settings, kv_bytes)


def test_a_token_takes_of_a_draft_in_sglang_what_a_log_shows():
    """171,008 tokens: 5.22 GiB of keys, as much of values, 0.33 GiB of either for the draft."""
    parts = (5.22, 5.22, 0.33, 0.33)
    assert of_sglang(3).bytes_per_token * 171_008 == pytest.approx(sum(parts) * GIB, rel=0.002)
    assert of_sglang(3).bytes_per_token / of_sglang(0).bytes_per_token == 17 / 16


def test_states_of_running_requests_are_kept_for_each_guessed_token_in_sglang():
    """One request more takes the states of the four tokens that are checked in a step: 75 MiB each."""
    state = (10240 * 3 * 2 + 48 * 128 * 128 * 2) * 48
    one, two = (of_sglang(3, running=running) for running in (1, 2))
    assert (one.printed_tokens - two.printed_tokens) * one.bytes_per_token == pytest.approx(4 * state, abs=1e6)


# -- plans


def planned(model: str = QWEN, engine: str = "vllm", version: str | None = None, **pinned: Any) -> Plan:
    return plan_launch(EIGHT_H100, model, engine, version, Wanted(pinned=Parameters(**pinned)))


MTP = {"speculative_method": "mtp", "num_speculative_tokens": 3, "tensor_parallel_size": 2}


def test_a_draft_takes_its_weights_and_leaves_fewer_tokens():
    plain, guessing = planned(tensor_parallel_size=2), planned(**MTP)
    assert guessing.memory.weights_bytes.low - plain.memory.weights_bytes.low == 424_725_504
    assert guessing.kv.capacity_tokens < plain.kv.capacity_tokens
    assert guessing.kv.bytes_per_token > plain.kv.bytes_per_token


def test_a_plan_says_what_guesses_and_that_it_is_loaded():
    told = planned(**MTP).notes
    assert any(line.startswith(f"3 tokens a step guessed by 1 draft layer of {QWEN}") for line in told)
    assert not any(line.startswith("not loaded") for line in told)
    assert any(line.startswith("not loaded: 1 draft layer") for line in planned().notes)


def test_draft_layers_of_a_checkpoint_that_may_not_quantize_them_are_more_at_the_most():
    model = "nvidia/Qwen3.6-27B-NVFP4"
    plain, guessing = planned(model, tensor_parallel_size=2), planned(model, **MTP)
    low, high = (
        getattr(guessing.memory.weights_bytes, level) - getattr(plain.memory.weights_bytes, level)
        for level in ("low", "high")
    )
    assert 424_725_504 <= high < 1.01 * 424_725_504
    assert low <= high


def test_what_decides_no_draft_has_no_flag():
    assert "--speculative-config" not in planned().recipe.argv


@pytest.mark.parametrize(
    ("pinned", "model", "engine", "version", "why"),
    [
        ({"speculative_method": "mtp", "num_speculative_tokens": 1}, "Qwen/Qwen3-32B", "vllm", "0.33.0",
         "Qwen3ForCausalLM has no draft layers (multi-token prediction) in its config"),
        ({**MTP, "speculative_method": "deepseek_mtp"}, MIMO, "vllm", "0.10.2",
         "vllm 0.10.2 loads no draft layers of MiMoForCausalLM"),
        (MTP, MIMO, "vllm", "0.10.2", "mtp in vllm 0.10.2: planned are deepseek_mtp, qwen3_next_mtp, eagle3, ngram"),
        (MTP, "Qwen/Qwen3-8B", "vllm", "0.8.5", "vllm 0.8.5 guesses no tokens ahead"),
        (MTP, QWEN, "ollama", "0.33.0", "ollama 0.33.0 guesses no tokens ahead"),
        ({"speculative_method": "mtp"}, QWEN, "vllm", "0.33.0", "how many tokens ahead is not said"),
        ({"num_speculative_tokens": 2}, QWEN, "vllm", "0.33.0", "a draft without a method"),
        ({"speculative_method": "eagle3", "num_speculative_tokens": 2}, "Qwen/Qwen3-8B", "vllm", "0.33.0",
         "speculative_method=eagle3 needs a draft"),
        ({**MTP, "speculative_model": "Qwen/Qwen3-0.6B"}, QWEN, "vllm", "0.33.0",
         "speculative_method=mtp takes no other model as its draft"),
        ({"speculative_method": "sorcery", "num_speculative_tokens": 2}, QWEN, "vllm", "0.33.0",
         "speculative_method=sorcery in vllm 0.33.0: planned are mtp, "),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(pinned, model, engine, version, why):
    if engine == "ollama":
        pinned = {key: value for key, value in pinned.items() if key != "tensor_parallel_size"}
    plan = planned(model, engine, version, **pinned)
    assert plan.verdict == "NO"
    assert why in plan.reason
    assert "\n" not in plan.reason


@pytest.mark.parametrize(
    ("model", "engine", "version", "why"),
    [
        (QWEN, "lmdeploy", "0.18.0", "how it divides its cache between a model and a draft was not read"),
        (QWEN, "sglang", "0.5.10", "whether sglang 0.5.10 loads the draft layers of Qwen3_5ForConditionalGeneration"),
        ("google/gemma-4-26B-A4B", "vllm", "0.33.0", "the draft layers of Gemma4ForConditionalGeneration"),
    ],
)
def test_what_was_not_read_is_unknown(model, engine, version, why):
    pinned = {key: value for key, value in MTP.items() if key != "tensor_parallel_size"}
    plan = planned(model, engine, version, **pinned)
    assert plan.verdict == "UNKNOWN"
    assert why in plan.reason


def test_a_draft_that_names_nothing_is_an_error_of_use():
    with pytest.raises(DiagError):
        planned(
            "Qwen/Qwen3-8B", speculative_method="draft_model", num_speculative_tokens=2, speculative_model="no/such"
        )


def test_a_draft_of_other_words_is_not_known():
    plan = planned("Qwen/Qwen3-8B", speculative_method="draft_model", num_speculative_tokens=2,
                   speculative_model="meta-llama/Meta-Llama-3.1-8B")  # fmt: skip
    assert plan.verdict == "UNKNOWN"
    assert "a draft of 128,256 words for a model of 151,936" in plan.reason


def test_pipelines_and_divided_tokens_beside_a_draft_are_not_known():
    assert planned(**{**MTP, "pipeline_parallel_size": 2}).verdict == "UNKNOWN"
    pinned = {**MTP, "tensor_parallel_size": 8, "decode_context_parallel_size": 8}
    plan = planned("deepseek-ai/DeepSeek-V3", **pinned)
    assert plan.verdict == "UNKNOWN"
    assert "a draft beside ranks that divide tokens" in plan.reason


def test_sampling_for_guesses_counts_at_the_most():
    """64 sequences and 248,320 words: 6 bytes for each of three guessed tokens."""
    plain, guessing = (
        planned(**pinned, max_num_seqs=1024, max_num_batched_tokens=2048)
        for pinned in ({"tensor_parallel_size": 2}, MTP)
    )
    more = (guessing.memory.activation_bytes.high or 0) - (plain.memory.activation_bytes.high or 0)
    assert more == pytest.approx(6 * 3 * 1024 * 248_320, rel=0.01)


def test_only_methods_of_the_newer_runner_keep_it():
    rules = ENGINES["vllm"].rules("0.25.0")
    assert "mtp" in rules.drafting.second_runner
    assert "ngram" not in rules.drafting.second_runner
    assert "ngram" in ENGINES["vllm"].rules("0.30.0").drafting.second_runner


def test_a_copy_of_the_model_beside_its_draft_is_made_once():
    """Layouts are kept by it."""
    model, draft = families.read(config(QWEN)), drafted(DRAFTED[0])
    assert joined(model, draft) is joined(model, draft)
    assert joined(model, None) is model


def test_parameters_tell_the_draft():
    found = planned(**MTP).parameters
    assert (found.speculative_method, found.num_speculative_tokens, found.speculative_model) == ("mtp", 3, None)
    assert msgspec.json.decode(msgspec.json.encode(found))["speculative_method"] == "mtp"


@pytest.mark.parametrize(("version", "counted"), [("0.5.2", False), ("0.5.23", True)])
def test_weights_of_a_draft_leave_the_cache_alone_before_sglang_counted_them(version, counted):
    """They came from what its fraction leaves."""
    h200 = declared_snapshot("8xH200-141GB", None)
    settled = {"tensor_parallel_size": 8, "gpu_memory_utilization": 0.75, "max_num_seqs": 16}
    plain, guessing = (
        plan_launch(h200, DEEPSEEK, "sglang", version, Wanted(pinned=Parameters(**settled, **draft))).memory
        for draft in ({}, {"speculative_method": "mtp", "num_speculative_tokens": 1})
    )
    taken = (plain.kv_cache_bytes.mid or 0) - (guessing.kv_cache_bytes.mid or 0)
    assert taken == (pytest.approx(1_661_047_968, rel=0.01) if counted else 0)


DEEPSEEK = "deepseek-ai/DeepSeek-V3"
