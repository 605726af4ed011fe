"""Does ``diag plan`` end with the status of its verdict, and print what it is asked for?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from diag.engines import ENGINES
from tests.cli.conftest import RECORDED

MODEL = "Qwen/Qwen3-0.6B"
H100 = ("--hardware", "1xH100")


@pytest.fixture
def planned(diag):
    """``plan.json`` of what was typed; of the smallest model unless one is named."""

    def plan(*arguments: str) -> Any:
        model = () if "--model" in arguments else ("--model", MODEL)
        return json.loads(diag("plan", *arguments, *model, "--json").out)

    return plan


def test_what_fits_ends_with_0_and_shows_its_command(diag):
    done = diag("plan", RECORDED)
    assert done.status == 0, done.out + done.err
    assert "vllm serve /models/Qwen3-32B" in done.out


def test_json_is_plan_json(diag):
    document = json.loads(diag("plan", RECORDED, "--json").out)
    assert list(document)[:4] == ["schema", "verdict", "reason", "lever"]
    assert document["recipe"]["argv"][:2] == ["vllm", "serve"]


def test_explain_shows_sources(diag):
    assert "\nsources\n" in diag("plan", RECORDED, "--explain").out


def test_hardware_that_is_not_here_can_be_planned_for(diag):
    assert diag("plan", "--hardware", "8xH100-80GB", "--model", MODEL).status == 0
    done = diag("plan", "--hardware", "1xNEW", "--gpu-memory", "1GiB", "--model", MODEL)
    assert done.status == 1
    assert done.out.splitlines()[1].startswith("NO  ")


def test_what_of_a_declared_gpu_is_free_decides(planned):
    whole = planned("--hardware", "1xH100")
    tight = planned("--hardware", "1xH100", "--gpu-free", "40GiB")
    assert whole["memory"]["held_bytes"] == 479 * 2**20  # the driver's own
    assert tight["memory"]["held_bytes"] == tight["memory"]["total_bytes"] - 40 * 2**30
    assert tight["parameters"]["gpu_memory_utilization"] < 0.51 < whole["parameters"]["gpu_memory_utilization"]
    assert "declared:0 has 40.0 GiB of 79.6 GiB free" in tight["sources"]["--gpu-memory-utilization"]


@pytest.mark.parametrize(("capability", "dtype"), [("7.0", "float16"), ("70", "float16"), ("9.0", "bfloat16")])
def test_a_declared_compute_capability_decides_what_runs(planned, capability, dtype):
    gpu = ("--hardware", "1xNEW", "--gpu-memory", "80GiB", "--compute-capability", capability)
    assert planned(*gpu, "--engine", "vllm==0.10.0")["parameters"]["dtype"] == dtype


def test_a_declared_link_is_the_cost_of_crossing_it(planned):
    found = planned("--hardware", "2x8xH100", "--link", "100Gbit/s", "--set", "tensor_parallel_size=16")
    assert found["sources"]["nodes"] == "100.0 Gbit/s between nodes (declared)"
    assert any(note.startswith("crosses nodes: 100.0 Gbit/s between nodes (declared)") for note in found["notes"])
    unsaid = planned("--hardware", "2x8xH100")
    assert unsaid["sources"]["nodes"].startswith("busbw between nodes not measured: declared as 2x8xH100")


def test_a_context_and_a_number_of_requests_are_planned(planned):
    found = planned("--hardware", "8xH100", "--context", "32k", "--concurrency", "24")["parameters"]
    assert (found["max_model_len"], found["max_num_seqs"]) == (32768, 24)


@pytest.mark.parametrize(
    ("goal", "length", "seqs"), [("stable", 8192, 64), ("latency", 8192, 64), ("throughput", 8192, 1024)]
)
def test_the_goal_decides(planned, goal, length, seqs):
    found = planned("--hardware", "8xH100", "--for", goal)
    assert (found["parameters"]["max_model_len"], found["parameters"]["max_num_seqs"]) == (length, seqs)
    assert found["sources"]["goal"] == goal


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("tensor_parallel_size=4", 4),
        ("pipeline_parallel_size=2", 2),
        ("data_parallel_size=3", 3),
        ("gpu_memory_utilization=0.7", 0.7),
        ("max_model_len=16k", 16384),
        ("max_num_seqs=12", 12),
        ("max_num_batched_tokens=4096", 4096),
        ("kv_cache_dtype=fp8", "fp8"),
        ("dtype=float16", "float16"),
        ("quantization=fp8", "fp8"),
        ("block_size=32", 32),
        ("enforce_eager=true", True),
        ("enforce-eager=false", False),
        ("expert_parallel=no", False),
    ],
)
def test_every_parameter_can_be_settled(planned, setting, value):
    found = planned("--hardware", "8xH100", "--model", "Qwen/Qwen3-8B", "--set", setting)
    assert found["verdict"] == "FITS"
    assert found["parameters"][setting.partition("=")[0].replace("-", "_")] == value


def test_experts_can_be_settled_too(planned):
    moe = ("--hardware", "8xH100", "--model", "Qwen/Qwen3-30B-A3B")
    found = planned(*moe, "--set", "expert_parallel=true", "--set", "data_parallel_size=8")["parameters"]
    assert (found["expert_parallel"], found["data_parallel_size"], found["tensor_parallel_size"]) == (True, 8, 1)
    refused = planned(*moe, "--set", "expert_parallel=false")["discarded"]
    assert not any(one["parameters"]["expert_parallel"] for one in refused)


def test_what_is_not_known_ends_with_3(diag):
    done = diag("plan", "--hardware", "8xACME", "--gpu-memory", "64GiB", "--model", MODEL, "--set", "dtype=int3")
    assert done.status == 3
    assert "not known: dtype 'int3'" in done.out


ALL = ("--engine", "all", "--model", "Qwen/Qwen3-8B")


def test_all_engines_are_compared_each_with_its_command(diag):
    done = diag("plan", "--hardware", "8xH100", *ALL)
    assert done.status == 0
    for engine in ENGINES:
        assert f"\n{engine} " in done.out
    assert "\nvllm serve " in done.out
    assert "sglang.launch_server " in done.out


def test_all_engines_as_json_are_a_list(diag):
    plans = json.loads(diag("plan", "--hardware", "8xH100", *ALL, "--json").out)
    assert [plan["engine"]["name"] for plan in plans] == list(ENGINES)
    assert all(plan["schema"] == 1 for plan in plans)


def test_of_all_engines_the_best_verdict_is_the_status(diag):
    small = ("--gpu-memory", "4GiB", "--compute-capability", "9.0")
    assert diag("plan", "--hardware", "1xNEW", *small, *ALL).status == 1
    plans = json.loads(diag("plan", "--hardware", "1xNEW", *small, *ALL, "--json").out)
    assert {plan["verdict"] for plan in plans} == {"NO"}
    assert diag("plan", "--hardware", "1xH100", "--engine", "all", "--set", "dtype=int3", "--model", MODEL).status == 3
    assert diag("plan", "--hardware", "8xH100", "--engine", "all", "--model", "/nosuch").status == 2


def test_engines_that_do_not_know_what_was_set_lose_and_the_others_are_planned(diag):
    done = diag("plan", "--hardware", "8xH100", *ALL, "--set", "backend=turbomind", "--json")
    plans = {plan["engine"]["name"]: plan for plan in json.loads(done.out)}
    assert done.status == 0
    assert {name: plan["verdict"] for name, plan in plans.items()} == dict.fromkeys(ENGINES, "NO") | {
        "lmdeploy": "FITS"
    }
    assert plans["vllm"]["reason"] == "cannot be: backend=turbomind: vllm has no backends to choose from"
    assert diag("plan", "--hardware", "8xH100", *ALL, "--set", "backend=nosuch").status == 2
    assert diag("plan", "--hardware", "8xH100", "--model", MODEL, "--set", "backend=turbomind").status == 2


def test_explain_tells_every_candidate_with_its_reason(diag, planned):
    done = diag("plan", "--hardware", "8xH100", "--model", "Qwen/Qwen3-32B", "--explain")
    plain = " ".join(done.out.split())
    for one in planned("--hardware", "8xH100", "--model", "Qwen/Qwen3-32B")["discarded"]:
        assert " ".join(one["reason"].split()) in plain


def test_the_engine_may_be_pinned(diag):
    assert json.loads(diag("plan", RECORDED, "--json", "--engine", "vllm==0.33.0").out)["engine"] == {
        "name": "vllm",
        "version": "0.33.0",
    }
    assert diag("plan", RECORDED, "--engine", "vllm==0.1").status == 3


@pytest.mark.parametrize("version", ["0.33.0", "0.11.0rc1", "0.10.2.dev1+gabc123.cu129", "0.9.0.post1", "1.0"])
def test_every_version_that_a_package_may_have_is_one(diag, version):
    done = diag("plan", RECORDED, "--json", "--engine", f"vllm=={version}")
    assert json.loads(done.out)["engine"]["version"] == version


def test_nothing_may_be_offloaded(planned):
    assert "--cpu-offload-gb" not in planned(*H100, "--set", "cpu_offload_gib=0")["recipe"]["argv"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--hardware", "many"], "diag: --hardware: 'many': expected e.g. 8xH100-80GB"),
        (["--gpu-memory", "80GiB"], "diag: --gpu-memory: says what a GPU of --hardware has; name --hardware too"),
        (["--gpu-free", "80GiB"], "diag: --gpu-free: says what a GPU of --hardware has; name --hardware too"),
        (["--compute-capability", "9.0"], "diag: --compute-capability: says what a GPU of --hardware has; name"),
        (["--link", "9Gbit/s"], "diag: --link: says what a GPU of --hardware has; name --hardware too"),
        ([*H100, "--gpu-free", "90GiB"], "diag: --gpu-free: 90.0 GiB of 79.6 GiB: more than there is"),
        ([*H100, "--compute-capability", "nine"], "diag: --compute-capability: 'nine': expected e.g. 9.0, or 90"),
        ([*H100, "--link", "10"], "diag: --link: '10' is no rate; expected e.g. 100Gbit/s"),
        ([*H100, "--context", "0"], "diag: --context: '0' is no number of tokens; expected e.g. 32k or 32768"),
        ([*H100, "--context", "8K5"], "diag: --context: '8K5' is no number of tokens; expected e.g. 32k or 32768"),
        ([*H100, "--concurrency", "0"], "diag: --concurrency: 0 is not in the range"),
        ([*H100, "--for", "fun"], "diag: --for: 'fun' is not one of 'stable', 'latency', 'throughput', 'context'"),
        ([*H100, "--set", "dtype"], "diag: --set: 'dtype': expected PARAMETER=VALUE, e.g. tensor_parallel_size=8"),
        ([*H100, "--set", "dtype= "], "diag: --set: 'dtype= ': expected PARAMETER=VALUE, e.g. tensor_parallel_size=8"),
        ([*H100, "--set", "tp=2"], "diag: --set: 'tp' is no parameter of a plan; "),
        ([*H100, "--set", "max_num_seq=2"], "diag: --set: 'max_num_seq' is no parameter of a plan; near: max_num_seqs"),
        ([*H100, "--set", "max_num_seqs=0"], "diag: --set: max_num_seqs=0: expected a number of 1 or more"),
        ([*H100, "--set", "max_num_seqs=few"], "diag: --set: max_num_seqs=few: expected a number of 1 or more"),
        ([*H100, "--set", "gpu_memory_utilization=1.5"],
         "diag: --set: gpu_memory_utilization=1.5: expected a number above 0 and at most 1"),
        ([*H100, "--set", "enforce_eager=maybe"], "diag: --set: enforce_eager=maybe: expected true or false"),
        ([*H100, "--set", "cpu_offload_gib=-1"],
         "diag: --set: cpu_offload_gib=-1: expected a number not below 0"),
        ([*H100, "--set", "max_num_seqs=1", "--set", "max_num_seqs=2"], "diag: --set: max_num_seqs twice; give it"),
        ([*H100, "--context", "8k", "--set", "max_model_len=4096"],
         "diag: --context: 8192 and --set max_model_len=4096; give one of them"),
        ([*H100, "--concurrency", "8", "--set", "max_num_seqs=4"],
         "diag: --concurrency: 8 requests at once and --set max_num_seqs=4; give one of them"),
        ([*H100, "--concurrency", "80", "--set", "max_num_batched_tokens=64"],
         "diag: --set: max_num_batched_tokens=64 and 80 requests at once, each of which takes a token; set more"),
        ([RECORDED, "--hardware", "8xH100"], "diag: --hardware: and a Snapshot ("),
        ([RECORDED, "--engine", "nosuch"], "diag: --engine: 'nosuch' is not known; known: vllm"),
        ([RECORDED, "--engine", "vllm=="], "diag: --engine: 'vllm==': no version after ==; expected e.g. vllm==0.33.0"),
        (
            [RECORDED, "--engine", "vllm==abc"],
            "diag: --engine: 'vllm==abc': 'abc' is no version; expected e.g. vllm==0.33.0",
        ),
        ([RECORDED, "--engine", "vllm==0.33.0 "], "diag: --engine: 'vllm==0.33.0 ': '0.33.0 ' is no version"),
        ([RECORDED, "--model", "/nosuch"], "diag: /nosuch: no model: "),
        ([], "diag: no run yet; "),
    ],
)  # fmt: skip
def test_what_was_asked_wrongly_is_one_line(diag, arguments, line):
    done = diag("plan", *arguments)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1
