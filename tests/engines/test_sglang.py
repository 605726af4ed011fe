"""Does SGLang get the rules of its version, and every flag as that version takes it?"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from diag.engines import sglang
from diag.planner.unknown import NotKnown
from diag.units import GIB
from tests.engines.plans import EVERY, EXPERTS, MODEL, TWO_NODES, argv, flags, planned

EVERY_FLAG = {
    "--model-path": "org/Model-1B", "--tp-size": "8", "--pp-size": "2", "--mem-fraction-static": "0.876",
    "--context-length": "8192", "--max-running-requests": "64", "--chunked-prefill-size": "4096",
    "--kv-cache-dtype": "fp8_e4m3", "--dtype": "bfloat16", "--quantization": "fp8", "--page-size": "64",
    "--cpu-offload-gb": "4",
}  # fmt: skip


def test_every_parameter_is_spelled():
    graphs = {"--cuda-graph-backend-decode": "disabled", "--cuda-graph-backend-prefill": "disabled"}
    assert flags(argv("sglang", "0.5.23", **EVERY)) == EVERY_FLAG | graphs
    assert flags(argv("sglang", "0.5.10", **EVERY)) == EVERY_FLAG | {"--disable-cuda-graph": None}


def test_replicas_of_the_attention_are_ranks_of_one_world():
    """Its own resolution divides the world by the replicas, and what it batches too."""
    batch = {"max_num_seqs": 64, "max_num_batched_tokens": 4096}
    assert flags(argv("sglang", "0.5.23", **EXPERTS, **batch)) == {
        "--model-path": "org/Model-1B", "--tp-size": "8", "--attn-dp-size": "2", "--ep-size": "8",
        "--max-running-requests": "128", "--chunked-prefill-size": "8192",
    }  # fmt: skip


def test_before_0_5_23_a_switch_makes_replicas_those_of_the_attention():
    found = flags(argv("sglang", "0.5.12", **EXPERTS))
    assert found == {"--model-path": "org/Model-1B", "--tp-size": "8", "--dp-size": "2", "--enable-dp-attention": None,
                     "--ep-size": "8"}  # fmt: skip


def test_replicas_of_one_rank_still_need_the_world():
    found = flags(argv("sglang", "0.5.23", data_parallel_size=16, expert_parallel=True, sharing=True))
    assert (found["--tp-size"], found["--attn-dp-size"], found["--ep-size"]) == ("16", "16", "16")


@pytest.mark.parametrize("version", ["0.5.12", "0.5.23"])
def test_whole_copies_have_ranks_of_their_own(version):
    found = flags(argv("sglang", version, tensor_parallel_size=2, data_parallel_size=4, max_num_seqs=64))
    assert found == {"--model-path": "org/Model-1B", "--tp-size": "2", "--dp-size": "4", "--max-running-requests": "64"}


def test_expert_parallelism_was_a_switch_before_0_5_3():
    assert "--enable-ep-moe" in argv("sglang", "0.4.6", tensor_parallel_size=8, expert_parallel=True)
    assert argv("sglang", "0.5.3", tensor_parallel_size=8, expert_parallel=True)[-2:] == ["--ep-size", "8"]


def test_pipelines_are_spelled_since_0_4_7():
    assert "--pp-size" not in argv("sglang", "0.4.6", pipeline_parallel_size=2)
    assert "--pp-size" in argv("sglang", "0.4.7", pipeline_parallel_size=2)


def test_a_replica_over_nodes_names_them():
    recipe, why = sglang.recipe(planned(TWO_NODES, tensor_parallel_size=16), sglang.rules("0.5.23"))
    assert recipe.argv[-6:] == ("--nnodes", "2", "--node-rank", "0", "--dist-init-addr", "10.0.0.1:29500")
    assert recipe.env["NCCL_SOCKET_IFNAME"] == "=bond0"
    assert "gpu02: --node-rank 1" in why["--node-rank"]


@pytest.mark.parametrize(
    ("version", "total_gib", "tokens"),
    [("0.5.23", 80, 8192), ("0.5.23", 24, 4096), ("0.5.23", 141, 8192), ("0.5.23", 180, 16384), ("0.4.6", 24, 2048)],
)
def test_prefill_chunks_follow_memory(version, total_gib, tokens):
    assert sglang.rules(version).batch("", total_gib * GIB).max_num_batched_tokens == tokens


def test_a_version_before_all_known_is_refused():
    with pytest.raises(NotKnown, match=r"known from 0\.4\.6 to 0\.5\.23"):
        sglang.rules("0.4.5")


def test_what_versions_can_divide():
    qwen, mixtral = "Qwen3MoeForCausalLM", "MixtralForCausalLM"
    assert not sglang.rules("0.4.6").pipelines
    assert sglang.rules("0.4.7").pipelines
    assert not sglang.rules("0.4.6.post5").gives_whole_experts(qwen)
    assert sglang.rules("0.4.7").gives_whole_experts(qwen)
    assert sglang.rules("0.4.6").replicates_attention("DeepseekV3ForCausalLM")
    assert not sglang.rules("0.4.6").replicates_attention(qwen)
    assert not any(sglang.rules(version).replicates_attention(mixtral) for version in ("0.4.6", "0.4.10", "0.5.23"))


def test_own_draft_layers_are_eagle_with_a_token_more_to_check():
    found = flags(argv("sglang", "0.5.23", speculative_method="mtp", num_speculative_tokens=3))
    assert found == {
        "--model-path": MODEL, "--speculative-algorithm": "EAGLE", "--speculative-num-steps": "3",
        "--speculative-eagle-topk": "1", "--speculative-num-draft-tokens": "4",
    }  # fmt: skip


def test_another_model_that_guesses_is_standalone():
    given = {"speculative_method": "draft_model", "num_speculative_tokens": 2, "speculative_model": "org/Small-1B"}
    found = flags(argv("sglang", "0.5.23", **given))
    assert found["--speculative-algorithm"] == "STANDALONE"
    assert found["--speculative-draft-model-path"] == "org/Small-1B"


def test_requests_at_once_are_named_where_it_guesses():
    """By itself it would take 48."""
    given = planned(speculative_method="ngram", num_speculative_tokens=3, max_num_seqs=2048)
    given = replace(given, because={"speculative_method": "why"})
    recipe, why = sglang.recipe(given, sglang.rules("0.5.23"))
    found = flags(list(recipe.argv))
    assert (found["--max-running-requests"], found["--speculative-num-draft-tokens"]) == ("2048", "4")
    assert "48" in why["--max-running-requests"]


def test_words_seen_before_are_guessed_one_after_another():
    """By itself it makes trees of them, which it refuses where a page has several tokens."""
    found = flags(argv("sglang", "0.5.23", speculative_method="ngram", num_speculative_tokens=3))
    assert found["--speculative-ngram-max-bfs-breadth"] == "1"
    assert "--speculative-eagle-topk" not in found


def test_ranks_that_divide_tokens_have_a_flag():
    assert flags(argv("sglang", "0.5.23", decode_context_parallel_size=8))["--dcp-size"] == "8"


def test_draft_weights_count_before_the_cache_since_0_5_15():
    assert not sglang.rules("0.5.12").drafting.weights_inside
    assert sglang.rules("0.5.17").drafting.weights_inside
