"""Does vLLM get the rules of its version, and every flag as that version takes it?"""

from __future__ import annotations

import pytest

from diag.engines import ENGINES, vllm
from diag.planner.unknown import NotKnown
from diag.units import GIB
from tests.engines.plans import EVERY, EXPERTS, MODEL, TWO_NODES, argv, flags, planned


def test_every_parameter_is_spelled():
    assert flags(argv("vllm", "0.33.0", **EVERY, data_parallel_size=2, expert_parallel=True)) == {
        "--tensor-parallel-size": "8", "--pipeline-parallel-size": "2", "--data-parallel-size": "2",
        "--enable-expert-parallel": None, "--gpu-memory-utilization": "0.876", "--max-model-len": "8192",
        "--max-num-seqs": "64", "--max-num-batched-tokens": "4096", "--kv-cache-dtype": "fp8", "--dtype": "bfloat16",
        "--quantization": "fp8", "--block-size": "64", "--enforce-eager": None, "--cpu-offload-gb": "4.0",
    }  # fmt: skip


def test_what_nothing_asks_for_gets_no_flag():
    given = planned(tensor_parallel_size=1, enforce_eager=False, max_model_len=None)
    assert argv("vllm", "0.33.0", given) == ["vllm", "serve", MODEL, "--tensor-parallel-size", "1"]


def test_replicas_that_share_experts_are_counted_beside_tensor_parallelism():
    found = flags(argv("vllm", "0.33.0", **EXPERTS))
    assert (found["--tensor-parallel-size"], found["--data-parallel-size"]) == ("4", "2")
    assert "--enable-expert-parallel" in found


def test_versions_before_0_8_have_no_such_replicas():
    found = flags(argv("vllm", "0.7.3", **EXPERTS))
    assert set(found) == {"--tensor-parallel-size"}
    assert "--data-parallel-size" not in flags(argv("vllm", "0.8.2", **EXPERTS))
    assert "--data-parallel-size" in flags(argv("vllm", "0.8.3", **EXPERTS))


def test_before_0_8_3_whole_copies_are_servers_of_their_own():
    given = planned(tensor_parallel_size=2, data_parallel_size=4)
    recipe, why = vllm.recipe(given, vllm.rules("0.8.2"))
    assert recipe.argv[-2:] == ("--tensor-parallel-size", "2")
    assert why["recipe.data_parallel_size"].startswith("4 such servers on a node, each with GPUs of its own")
    assert "recipe.data_parallel_size" not in vllm.recipe(given, vllm.rules("0.8.3"))[1]


def test_what_versions_can_divide():
    assert not vllm.rules("0.5.0").pipelines
    assert vllm.rules("0.5.1").pipelines
    assert not vllm.rules("0.7.3").shares_experts
    assert vllm.rules("0.8.0").gives_whole_experts("Qwen3MoeForCausalLM")
    assert not vllm.rules("0.8.2").replicates_attention("Qwen3MoeForCausalLM")
    assert vllm.rules("0.8.3").replicates_attention("Qwen3MoeForCausalLM")


def test_the_cache_in_16_bit_has_a_name_since_0_11():
    assert flags(argv("vllm", "0.33.0", kv_cache_dtype="bf16"))["--kv-cache-dtype"] == "bfloat16"
    assert flags(argv("vllm", "0.10.2", kv_cache_dtype="bf16"))["--kv-cache-dtype"] == "auto"


def test_before_0_6_the_server_is_a_module():
    assert argv("vllm", "0.5.4")[:3] == ["python", "-m", "vllm.entrypoints.openai.api_server"]


def test_a_replica_over_nodes_names_them_and_the_interface_that_was_measured():
    recipe, why = vllm.recipe(planned(TWO_NODES, pipeline_parallel_size=2), vllm.rules("0.33.0"))
    assert recipe.argv[-6:] == ("--nnodes", "2", "--node-rank", "0", "--master-addr", "10.0.0.1")
    assert recipe.env == {"NCCL_SOCKET_IFNAME": "=bond0", "GLOO_SOCKET_IFNAME": "bond0"}
    assert "gpu02: --node-rank 1" in why["--node-rank"]


def test_replicas_that_share_experts_are_as_many_on_each_node():
    given = planned(TWO_NODES, sharing=True, data_parallel_size=16, expert_parallel=True)
    recipe, why = vllm.recipe(given, vllm.rules("0.33.0"))
    found = flags(list(recipe.argv))
    assert (found["--data-parallel-size"], found["--data-parallel-size-local"]) == ("16", "8")
    assert found["--data-parallel-address"] == "10.0.0.1"
    assert "--nnodes" not in found
    assert "--headless on gpu02: --data-parallel-start-rank 8" in why["--data-parallel-size-local"]


def test_replicas_that_span_nodes_and_share_experts_get_no_command():
    given = planned(TWO_NODES, sharing=True, tensor_parallel_size=16, data_parallel_size=3)
    recipe, why = vllm.recipe(given, vllm.rules("0.33.0"))
    assert recipe.argv == ()
    assert "not written" in why["recipe"]


def test_versions_that_need_ray_for_several_nodes_get_no_command():
    recipe, why = vllm.recipe(planned(TWO_NODES, pipeline_parallel_size=2), vllm.rules("0.11.0"))
    assert recipe.argv == ()
    assert "Ray" in why["recipe"]


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_to_launch_is_an_empty_recipe(engine):
    recipe, why = ENGINES[engine].recipe(planned(None, max_model_len=1), ENGINES[engine].rules(None))
    assert (recipe.argv, recipe.env, why) == ((), {}, {})


def test_a_version_has_the_rules_that_hold_since():
    assert vllm.rules("0.19.1").utilization == 0.90
    assert vllm.rules("0.20.0").utilization == 0.92
    assert not vllm.rules("0.19.1").graphs_inside_budget
    assert vllm.rules("0.20.0").graphs_inside_budget
    assert vllm.rules("0.20.0").paging.printed == "groups"
    assert vllm.rules("0.20.1").paging.printed == "requests"
    assert not vllm.rules("0.11.2").spans_nodes
    assert vllm.rules("0.32.0").note is None


def test_a_version_without_known_rules_is_refused():
    for version in ("0.2.7", "main"):
        with pytest.raises(NotKnown):
            vllm.rules(version)


def test_batch_defaults_follow_memory_and_name():
    rules = vllm.rules("0.33")
    assert rules.batch("NVIDIA H100 80GB HBM3", 80 * GIB).max_num_seqs == 1024
    assert rules.batch("NVIDIA A100-SXM4-80GB", 80 * GIB).max_num_batched_tokens == 2048
    assert rules.batch("NVIDIA B200", 180 * GIB).max_num_batched_tokens == 16384
    assert rules.batch("NVIDIA L40S", 45 * GIB).max_num_seqs == 256


def test_a_draft_is_one_object_of_json():
    given = {"speculative_method": "draft_model", "num_speculative_tokens": 5, "speculative_model": "org/Small-1B"}
    text = flags(argv("vllm", "0.33.0", **given))["--speculative-config"]
    assert text == '{"method": "draft_model", "model": "org/Small-1B", "num_speculative_tokens": 5}'
    assert "--speculative-config" not in argv("vllm", "0.33.0", tensor_parallel_size=2)


def test_ranks_that_divide_tokens_have_a_flag_since_0_10_2():
    assert flags(argv("vllm", "0.10.2", decode_context_parallel_size=8)) == {"--decode-context-parallel-size": "8"}
    assert flags(argv("vllm", "0.10.1", decode_context_parallel_size=8)) == {}


@pytest.mark.parametrize(
    ("version", "since"),
    [("0.33.0", (0, 33)), ("0.29.0", (0, 29)), ("0.19.1", (0, 19)), ("0.18.0", (0, 18)), ("0.16.0", (0, 16)),
     ("0.8.5", (0, 7))],
)  # fmt: skip
def test_each_version_pages_by_its_own_rules(version, since):
    """They changed in other versions than what a start takes."""
    assert vllm.rules(version).paging.since == since


def test_methods_that_guess_tokens_are_those_of_the_version():
    assert vllm.rules("0.8.5").drafting.methods == ()
    assert "mtp" not in vllm.rules("0.10.2").drafting.methods
    assert "mtp" in vllm.rules("0.11.0").drafting.methods
    assert "qwen3_5" not in vllm.rules("0.16.0").drafting.own_layers_of
    assert "qwen3_5" in vllm.rules("0.17.0").drafting.own_layers_of
