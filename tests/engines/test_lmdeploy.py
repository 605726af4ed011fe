"""Does LMDeploy get the rules of its version, and every flag as its engines take it?"""

from __future__ import annotations

import msgspec
import pytest

from diag.engines import lmdeploy
from diag.planner.rules import EngineRules
from tests.engines.plans import EVERY, EXPERTS, ONE_NODE, TWO_NODES, argv, flags, planned

NO_PIPELINE = EVERY | {"pipeline_parallel_size": 1}


def test_every_parameter_that_it_has_is_spelled():
    assert flags(argv("lmdeploy", "0.18.0", **NO_PIPELINE)) == {
        "--backend": "pytorch", "--tp": "8", "--cache-max-entry-count": "0.876", "--session-len": "8192",
        "--max-batch-size": "64", "--max-prefill-token-num": "4096", "--quant-policy": "16", "--dtype": "bfloat16",
        "--cache-block-seq-len": "64", "--eager-mode": None,
    }  # fmt: skip


def test_turbomind_is_named_and_captures_no_graphs():
    assert flags(argv("lmdeploy", "0.18.0", **NO_PIPELINE, backend="turbomind")) == {
        "--backend": "turbomind", "--tp": "8", "--cache-max-entry-count": "0.876", "--session-len": "8192",
        "--max-batch-size": "64", "--max-prefill-token-num": "4096", "--quant-policy": "16", "--dtype": "bfloat16",
        "--cache-block-seq-len": "64",
    }  # fmt: skip


@pytest.mark.parametrize(("version", "flag"), [("0.10.2", None), ("0.11.0", "4"), ("0.18.0", "4")])
def test_turbomind_starts_whole_copies_since_its_server_takes_their_number(version, flag):
    given = planned(tensor_parallel_size=2, data_parallel_size=4, backend="turbomind")
    recipe, why = lmdeploy.recipe(given, lmdeploy.rules(version))
    assert flags(list(recipe.argv)).get("--dp") == flag
    assert ("recipe.data_parallel_size" in why) is (flag is None)


def test_why_a_backend_is_planned_is_said_beside_its_flag():
    _, why = lmdeploy.recipe(planned(backend="turbomind"), lmdeploy.rules("0.18.0"))
    assert why["--backend"] == "why backend"


@pytest.mark.parametrize(("dtype", "policy"), [("auto", "0"), ("int8", "8"), ("int4", "4"), ("fp8_e5m2", "17")])
def test_the_cache_s_dtype_is_a_policy(dtype, policy):
    assert flags(argv("lmdeploy", "0.18.0", kv_cache_dtype=dtype))["--quant-policy"] == policy


def test_with_whole_experts_the_world_is_that_of_the_experts():
    found = flags(argv("lmdeploy", "0.18.0", **EXPERTS))
    assert (found["--tp"], found["--dp"], found["--ep"]) == ("4", "2", "8")


def test_with_divided_experts_tp_counts_all_ranks():
    found = flags(argv("lmdeploy", "0.18.0", tensor_parallel_size=4, data_parallel_size=2, sharing=True))
    assert (found["--tp"], found["--dp"]) == ("8", "2")
    assert "--ep" not in found


def test_each_replica_of_the_attention_is_a_server_of_its_own():
    _, why = lmdeploy.recipe(planned(**EXPERTS), lmdeploy.rules("0.18.0"))
    assert "from port 23333 on" in why["--dp"]


def test_whole_copies_are_servers_of_their_own():
    recipe, why = lmdeploy.recipe(planned(tensor_parallel_size=2, data_parallel_size=4), lmdeploy.rules("0.18.0"))
    assert recipe.argv[-2:] == ("--tp", "2")
    assert why["recipe.data_parallel_size"].startswith("4 such servers on a node, each with GPUs of its own")


def test_metax_is_named():
    metax = msgspec.structs.replace(ONE_NODE, vendor="metax")
    assert argv("lmdeploy", "0.18.0", planned(metax))[-2:] == ["--device", "maca"]
    assert "--device" not in argv("lmdeploy", "0.18.0", planned())


@pytest.mark.parametrize(
    ("given", "why"),
    [(planned(pipeline_parallel_size=2), "pipeline"), (planned(TWO_NODES, tensor_parallel_size=16), "Ray")],
)
def test_what_it_cannot_launch_is_said(given, why):
    recipe, said = lmdeploy.recipe(given, lmdeploy.rules("0.18.0"))
    assert recipe.argv == ()
    assert why in said["recipe"]


def test_batch_defaults_follow_the_name():
    assert lmdeploy.rules("0.18").batch("NVIDIA H200", 0).max_num_seqs == 1024
    assert lmdeploy.rules("0.18").batch("NVIDIA A100-SXM4-80GB", 0).max_num_seqs == 384
    assert lmdeploy.rules("0.18").batch("NVIDIA L40S", 0).max_num_seqs == 128
    assert lmdeploy.rules("0.9.2").batch("NVIDIA H100 80GB HBM3", 0).max_num_seqs == 512


def turbomind(version: str) -> EngineRules:
    found = lmdeploy.rules(version).other
    assert found is not None
    return found


def test_turbomind_s_rules_stand_beside_those_of_the_pytorch_engine():
    assert (lmdeploy.rules("0.12.3").backend, turbomind("0.12.3").backend) == ("pytorch", "turbomind")
    assert (turbomind("0.12.3").version, turbomind("0.12.3").kind) == ("0.12.3", "turbomind")


@pytest.mark.parametrize(
    ("version", "before"), [("0.9.0", False), ("0.12.0", True), ("0.14.0", True), ("0.15.0", False)]
)
def test_when_turbomind_looks_at_what_is_free_depends_on_the_version(version, before):
    assert ("kept" in turbomind(version).inside) is before


def test_turbomind_takes_as_many_requests_as_the_name_says():
    assert turbomind("0.18.0").batch("NVIDIA H200", 0).max_num_seqs == 1024
    assert turbomind("0.18.0").batch("NVIDIA A100-SXM4-80GB", 0).max_num_seqs == 384
    assert turbomind("0.18.0").batch("Tesla V100-SXM2-32GB", 0).max_num_seqs == 128
    assert turbomind("0.9.2").batch("NVIDIA H100 80GB HBM3", 0).max_num_seqs == 512
    assert turbomind("0.9.2").batch("NVIDIA H200", 0).max_num_seqs == 128
