"""Does a start get the verdict that its memory gives it, term by term? Figures derived by hand, beside each."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from diag.engines import lmdeploy, ollama, sglang, vllm
from diag.planner.deployment import Deployment
from diag.planner.memory.attempt import Device, Measured, Start
from diag.planner.memory.batch import Batch
from diag.planner.memory.startup import share, start, weights_bytes
from diag.planner.model import families
from diag.planner.model.catalogue import bundled
from diag.units import GIB

LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": False,
}  # fmt: skip
WEIGHTS = 8_030_261_248 * 2
"""Parameters: 2 · 128256 · 4096 + 32 · (2 · 4096² + 2 · 4096 · 1024 + 3 · 4096 · 14336 + 2 · 4096) + 4096."""
TABLE = 131072 * 128 * 2
"""Cosines and sines of each position, in the model's 16 bits; SGLang's in 32."""
TOKEN = 2 * 32 * 8 * 128 * 2
H100 = Device(name="NVIDIA H100 80GB HBM3", total_bytes=80 * GIB, free_bytes=80 * GIB, capability=(9, 0))
QWEN35 = {
    "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "torch_dtype": "bfloat16",
    "hidden_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
    "intermediate_size": 5120, "vocab_size": 1024, "max_position_embeddings": 4096, "tie_word_embeddings": False,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4, "full_attention_interval": 4, "attn_output_gate": True, "num_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
    "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": True,
}  # fmt: skip


def a_start(**changes: object) -> Start:
    usual = Start(
        architecture=families.read(LLAMA_8B),
        rules=vllm.rules("0.33"),
        deployment=Deployment(tp=1),
        batch=Batch(max_num_seqs=256, max_num_batched_tokens=8192),
        max_model_len=8192,
        device=H100,
    )
    return replace(usual, **changes)


def test_kv_memory_is_the_fraction_less_weights_and_what_was_measured():
    measured = Measured(activation=2 * GIB, non_torch=GIB, graphs=GIB)
    outcome = start(a_start(measured=measured, utilization=0.9, rules=vllm.rules("0.25")))
    kept = int((WEIGHTS + TABLE) * 1.002)
    assert outcome.weights_bytes == WEIGHTS + TABLE
    assert outcome.memory.kv_cache_bytes.mid == 72 * GIB - kept - 4 * GIB
    assert outcome.kv[1].blocks == (72 * GIB - kept - 4 * GIB) // (16 * TOKEN)


def test_a_measured_kv_cache_stands_for_all_levels():
    outcome = start(a_start(measured=Measured(kv=10 * GIB)))
    assert {paged.blocks for paged in outcome.kv} == {10 * GIB // (16 * TOKEN)}


def test_an_idle_large_device_fits():
    outcome = start(a_start())
    assert outcome.verdict == "FITS"
    assert outcome.utilization == 0.92
    low, mid, high = outcome.kv
    assert low.blocks < mid.blocks < high.blocks


def test_memory_that_others_hold_is_named():
    outcome = start(a_start(device=replace(H100, free_bytes=70 * GIB)))
    assert (outcome.verdict, outcome.limit) == ("NO", "held")
    assert outcome.why.startswith("needs 73.6 GiB free at the start")


def test_weights_that_leave_nothing_are_named():
    small = replace(H100, total_bytes=16 * GIB, free_bytes=16 * GIB)
    outcome = start(a_start(device=small))
    assert (outcome.verdict, outcome.limit) == ("NO", "weights")
    assert "leave no KV cache in 14.7 GiB" in outcome.why


def test_a_context_that_is_too_long_says_what_one_request_needs():
    card = replace(H100, total_bytes=24 * GIB, free_bytes=24 * GIB)
    outcome = start(a_start(device=card, max_model_len=131072))
    assert (outcome.verdict, outcome.limit) == ("NO", "kv")
    assert outcome.why.startswith("one request of 131072 tokens needs 16.0 GiB")


def test_what_only_the_high_estimates_forbid_is_risky():
    card = replace(H100, total_bytes=24 * GIB, free_bytes=24 * GIB)
    lengths = {start(a_start(device=card, max_model_len=1024 * n)).verdict: n for n in range(1, 64)}
    assert list(lengths) == ["FITS", "RISKY", "NO"]


def test_a_cache_that_only_low_estimates_make_large_enough_is_no_fact_but_a_probability():
    card = replace(H100, total_bytes=24 * GIB, free_bytes=24 * GIB)
    outcomes = {n: start(a_start(device=card, max_model_len=128 * n)) for n in range(1, 512)}
    kinds = {(one.verdict, one.unlikely): n for n, one in outcomes.items()}
    assert list(kinds) == [("FITS", False), ("RISKY", False), ("RISKY", True), ("NO", False)]
    doubtful = outcomes[kinds["RISKY", True]]
    left, needs = doubtful.memory.kv_cache_bytes, 128 * kinds["RISKY", True] * TOKEN
    assert left.mid < needs <= left.high
    assert doubtful.why == (
        f"it probably does not start: one request of {128 * kinds['RISKY', True]} tokens needs {needs / GIB:.1f} GiB, "
        f"{left.low / GIB:.1f}–{left.high / GIB:.1f} GiB are left"
    )


def test_graphs_that_do_not_fit_beside_an_old_versions_share_are_named():
    card = replace(H100, total_bytes=24 * GIB, free_bytes=24 * GIB)
    outcome = start(a_start(device=card, rules=vllm.rules("0.12"), utilization=0.96, max_model_len=1024))
    assert (outcome.verdict, outcome.limit) == ("RISKY", "graphs")
    assert "beside the engine's share" in outcome.why


def test_loading_in_16_bit_can_be_what_does_not_fit():
    outcome = start(a_start(loading_bytes=81 * GIB))
    assert (outcome.verdict, outcome.limit) == ("NO", "weights")


def test_more_sequences_than_blocks_for_their_states_are_refused():
    card = replace(H100, total_bytes=12 * GIB, free_bytes=12 * GIB)
    hybrid = a_start(architecture=families.read(QWEN35), device=card, max_model_len=4096, utilization=0.4)
    outcome = start(replace(hybrid, batch=Batch(max_num_seqs=4096, max_num_batched_tokens=4096)))
    assert (outcome.verdict, outcome.limit) == ("NO", "kv")
    assert "sequences need a block for their states each" in outcome.why
    few = replace(hybrid, batch=Batch(max_num_seqs=16, max_num_batched_tokens=2048))
    assert start(few).verdict == "FITS"


def test_the_poorest_stage_of_a_pipeline_decides():
    one, two = start(a_start()), start(a_start(deployment=Deployment(tp=1, pp=2)))
    assert two.weights_bytes < one.weights_bytes
    assert two.kv[1].blocks > 2 * one.kv[1].blocks


def test_extra_weight_bytes_are_taken_from_the_kv_cache():
    more = start(a_start(extra_weight_bytes=GIB))
    assert more.weights_bytes == WEIGHTS + TABLE + GIB


def test_sglang_takes_its_fraction_of_what_is_free():
    rules = sglang.rules("0.5.10")
    outcome = start(a_start(rules=rules, utilization=0.8))
    terms = outcome.terms
    expected = int((80 * GIB - terms.context.mid) * 0.8) - int((WEIGHTS + 2 * TABLE) * 1.002) - terms.non_torch.mid
    assert outcome.memory.kv_cache_bytes.mid == expected
    assert outcome.kv[1].printed_tokens == expected // TOKEN


def test_lmdeploy_takes_its_fraction_of_what_loading_leaves():
    outcome = start(a_start(rules=lmdeploy.rules("0.18"), utilization=0.5))
    terms, runtime = outcome.terms, (8192 + 2 * 256) * 128256 * 2
    left = 80 * GIB - terms.context.mid - int(WEIGHTS * 1.002) - terms.non_torch.mid - runtime
    assert outcome.memory.kv_cache_bytes.mid == int(0.5 * left)


def test_ollama_counts_its_gpus_together():
    alone = a_start(rules=ollama.rules(None), batch=Batch(max_num_seqs=1, max_num_batched_tokens=512))
    card = replace(H100, total_bytes=12 * GIB, free_bytes=12 * GIB)
    assert start(replace(alone, device=card)).verdict == "NO"
    assert start(replace(alone, device=card, deployment=Deployment(tp=1, pp=2))).verdict == "FITS"


def test_a_share_is_the_engines_own_where_there_is_room():
    assert share(a_start()).utilization == 0.92
    assert not share(a_start()).lowered


@pytest.mark.parametrize("rules", [vllm.rules("0.33"), vllm.rules("0.12"), sglang.rules(None), lmdeploy.rules(None)])
def test_a_lowered_share_starts_even_with_high_estimates(rules):
    asked = a_start(rules=rules, device=replace(H100, free_bytes=60 * GIB))
    lowered = share(asked)
    assert start(replace(asked, utilization=lowered.utilization)).verdict == "FITS"


def test_weights_of_the_fullest_stage_are_asked_for_alone():
    rules = vllm.rules("0.33")
    whole = weights_bytes(families.read(LLAMA_8B), rules, H100, Deployment(tp=1))
    halves = weights_bytes(families.read(LLAMA_8B), rules, H100, Deployment(tp=1, pp=2))
    assert whole == WEIGHTS
    assert WEIGHTS / 2 <= halves < WEIGHTS


def test_devices_that_share_the_hosts_memory_leave_less_for_sure():
    own = start(a_start())
    shared = start(a_start(device=replace(H100, name="NVIDIA GB10", capability=(12, 1))))
    assert shared.kv[0].blocks < own.kv[0].blocks


def test_another_vendors_device_has_wider_estimates():
    nvidia, other = start(a_start()), start(a_start(device=replace(H100, name="Ascend 910B3", vendor="ascend")))
    assert other.kv[0].blocks < nvidia.kv[0].blocks
    assert other.kv[2].blocks > nvidia.kv[2].blocks


def several(name: str, **changes: object) -> Start:
    card = replace(H100, name=name, total_bytes=44 * GIB, free_bytes=44 * GIB)
    return a_start(deployment=Deployment(tp=2), device=card, **changes)


def test_libraries_of_several_ranks_take_more_where_nvlink_joins_the_gpus():
    joined, apart = (start(several(name)).terms.non_torch for name in ("NVIDIA H100 80GB HBM3", "NVIDIA L40S"))
    unknown = start(several("a GPU of which nothing is known")).terms.non_torch
    assert apart.high <= joined.low
    assert apart.low <= unknown.low < unknown.mid < joined.mid


def test_ranks_that_only_pass_layers_on_take_what_one_alone_does():
    piped = replace(several("NVIDIA H100 80GB HBM3"), deployment=Deployment(tp=1, pp=2))
    assert start(piped).terms.non_torch == start(a_start()).terms.non_torch


def test_what_joins_other_vendors_gpus_is_not_taken_from_nvidias():
    amd = replace(several("AMD Instinct MI300X").device, vendor="amd")
    found = start(replace(several("AMD Instinct MI300X"), device=amd)).terms.non_torch
    assert found.source == vllm.rules("0.33").non_torch_several.source


QWEN3_VL = bundled("Qwen/Qwen3-VL-30B-A3B-Instruct").config
"""Its tower gives the embeddings and three layers of the model their own: 4 · 2048 elements a token of an image."""


def test_embeddings_of_an_image_wait_beside_the_sampling_step():
    images = 16384 * 4 * 2048 * 2
    with_tower = start(a_start(architecture=families.read(QWEN3_VL), rules=vllm.rules("0.13"))).terms
    without = start(
        a_start(architecture=families.read(QWEN3_VL), rules=replace(vllm.rules("0.13"), image_tokens=0))
    ).terms
    assert with_tower.sampler.mid == without.sampler.mid + images
    assert with_tower.vision == without.vision


def test_two_versions_hold_embeddings_of_a_video_that_they_overcount():
    """12.5 times 12288 tokens: 2.3 GiB, more than a fifth of a 12 GB card."""
    terms = {version: start(a_start(architecture=families.read(QWEN3_VL), rules=vllm.rules(version))).terms
             for version in ("0.11.0", "0.12.0", "0.13.0")}  # fmt: skip
    video = (153600 - 16384) * 4 * 2048 * 2
    assert terms["0.12.0"].sampler.mid == terms["0.13.0"].sampler.mid + video
    assert terms["0.11.0"].forward.mid == terms["0.13.0"].forward.mid + video


def test_layers_that_come_from_the_hosts_memory_are_copied_by_the_old_engine_only():
    layer = (WEIGHTS + TABLE - 2 * GIB) // 32
    for version, copied in (("0.7.3", layer), ("0.10.0", 0)):
        stays = a_start(rules=vllm.rules(version), offloaded_bytes=2 * GIB)
        all_there = start(replace(stays, offloaded_bytes=0)).terms
        assert start(stays).terms.forward.mid == all_there.forward.mid + copied


QWEN25_VL = {
    **LLAMA_8B, "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
    "hidden_size": 2048, "num_attention_heads": 16, "num_key_value_heads": 2, "num_hidden_layers": 36,
    "intermediate_size": 11008, "vocab_size": 151936, "max_position_embeddings": 128000, "tie_word_embeddings": True,
    "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14,
                      "out_hidden_size": 2048, "in_chans": 3},
}  # fmt: skip
del QWEN25_VL["head_dim"]


@pytest.mark.parametrize(("length", "images"), [(16384, 1), (32768, 2), (128000, 7)])
def test_a_video_of_as_many_images_as_a_request_holds_goes_through_some_towers(length, images):
    """16384 tokens each, 14 frames of which two make one."""
    of_length = a_start(architecture=families.read(QWEN25_VL), rules=vllm.rules("0.12"), max_model_len=length)
    one = a_start(architecture=families.read(QWEN25_VL), rules=vllm.rules("0.12"), max_model_len=8192)
    assert start(of_length).terms.vision.mid == images * start(one).terms.vision.mid


def test_the_first_start_compiles_and_may_take_more():
    rules = vllm.rules("0.25")
    compiled, eager = (start(a_start(rules=rules, batch=replace(a_start().batch, enforce_eager=eager))).terms.forward
                       for eager in (False, True))  # fmt: skip
    assert (compiled.low, compiled.mid) == (eager.low, eager.mid)
    assert compiled.high == eager.high + int(rules.compiling.high)


@pytest.mark.parametrize("version", ["0.13.0", "0.30.0", "0.33.0"])
def test_where_memory_is_shared_with_the_host_vllm_takes_small_batches(version):
    batch = vllm.rules(version).batch("NVIDIA GB10", 120 * GIB)
    assert (batch.max_num_seqs, batch.max_num_batched_tokens) == (256, 2048)
