"""Does LMDeploy get the rules of its version, and every flag as its PyTorch engine takes it?"""

from __future__ import annotations

import msgspec
import pytest

from diag.engines import lmdeploy
from tests.engines.plans import EVERY, EXPERTS, ONE_NODE, TWO_NODES, argv, flags, planned

NO_PIPELINE = EVERY | {"pipeline_parallel_size": 1}


def test_every_parameter_that_it_has_is_spelled():
    assert flags(argv("lmdeploy", "0.18.0", **NO_PIPELINE)) == {
        "--backend": "pytorch", "--tp": "8", "--cache-max-entry-count": "0.876", "--session-len": "8192",
        "--max-batch-size": "64", "--max-prefill-token-num": "4096", "--quant-policy": "16", "--dtype": "bfloat16",
        "--cache-block-seq-len": "64", "--eager-mode": None,
    }  # fmt: skip


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
