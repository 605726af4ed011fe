"""Are the rules those of the version, and is every flag spelled as that version takes it?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diag.engines import ENGINES, plan_launch, vllm
from diag.engines.versions import installed as find_installed
from diag.errors import DiagError
from diag.facts.record import Missing
from diag.planner.unknown import NotKnown
from diag.units import GIB
from tests.planner.clusters import cpu_node, gpu_node, installed, snapshot, write_model

# Flags of `vllm serve` in 0.32 and 0.33 that diag may emit.
ACCEPTED = {
    "--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size", "--gpu-memory-utilization",
    "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens", "--nnodes", "--node-rank", "--master-addr",
}  # fmt: skip
SHARED_FLAGS = Path(__file__).parents[3] / "shared" / "flags"


def emitted(tmp_path) -> set[str]:
    """Every flag that plans of very different clusters contain."""
    flags: set[str] = set()
    for name, free, nodes in (
        ("qwen3-32b", 79.0, 1),
        ("llama-405b", 79.0, 2),
        ("qwen3-0.6b", 11.0, 1),
        ("llama-8b", 28.0, 1),
    ):
        cluster = snapshot(*(gpu_node(f"gpu0{n}", free_gib=(free,) * 8) for n in range(1, nodes + 1)))
        plan = plan_launch(cluster, write_model(tmp_path, name), version="0.33.0")
        assert plan.verdict in {"FITS", "RISKY"}
        flags |= {argument for argument in plan.recipe.argv if argument.startswith("--")}
    return flags


def test_only_flags_that_the_engine_takes_are_emitted(tmp_path):
    flags = emitted(tmp_path)
    assert flags <= ACCEPTED
    assert len(flags) >= 7


@pytest.mark.shared
@pytest.mark.parametrize("version", ["0.32", "0.33"])
def test_the_engine_s_own_parser_lists_every_flag(version):
    path = SHARED_FLAGS / f"vllm-{version}.json"
    if not path.exists():
        pytest.skip(f"no recorded flags beside the project: {path.name}")
    listed = {flag["name"] for flag in json.loads(path.read_text())["flags"]}
    assert listed >= ACCEPTED


def test_every_flag_and_variable_has_its_reason(tmp_path):
    cluster = snapshot(*(gpu_node(f"gpu0{n}", free_gib=(79.0,) * 8) for n in (1, 2)))
    plan = plan_launch(cluster, write_model(tmp_path, "llama-405b"))
    for name in (*(word for word in plan.recipe.argv if word.startswith("--")), *plan.recipe.env):
        assert plan.sources[name]


def test_what_the_engine_does_by_itself_needs_no_flag(tmp_path):
    plan = plan_launch(snapshot(gpu_node("gpu01", free_gib=(79.0,))), write_model(tmp_path, "qwen3-0.6b"))
    assert plan.recipe.argv == ("vllm", "serve", str(tmp_path))


def test_a_version_has_the_rules_that_hold_since():
    assert vllm.rules("0.33.1").sampler.mid == 6.5
    assert vllm.rules("0.32.0").sampler.mid == 38.9
    assert vllm.rules("0.19.1").utilization == 0.90
    assert vllm.rules("0.20.0").utilization == 0.92
    assert not vllm.rules("0.20.0").graphs_inside_budget
    assert vllm.rules("0.21.0rc1").graphs_inside_budget
    assert vllm.rules("0.32.0").note is None


def test_an_unknown_newer_version_is_planned_by_the_newest_rules_and_says_so():
    assert "newer than 0.33" in (vllm.rules("0.41.0").note or "")
    assert vllm.rules("1.0").version == "1.0"


@pytest.mark.parametrize("version", ["0.9.2", "0.6.4.post1", "main"])
def test_a_version_without_known_rules_is_refused(version):
    with pytest.raises(NotKnown):
        vllm.rules(version)
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=16)), None, version=version)
    assert plan.verdict == "UNKNOWN"


def test_no_version_on_the_nodes_means_the_newest_known_and_says_so():
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=16)), None)
    assert plan.engine.version == vllm.NEWEST
    assert "no version named or installed" in plan.sources["engine.version"]


def test_the_oldest_of_differing_versions_is_planned_for():
    nodes = [gpu_node(f"n{n}", free_gib=(), software=installed(v)) for n, v in enumerate(("0.33.0", "0.9.1", None))]
    version, line = find_installed(snapshot(*nodes, gpu_node("n9", free_gib=(), software=Missing("x"))), "vllm")
    assert version == "0.9.1"
    assert line == "differs between nodes (0.33.0 on n0; 0.9.1 on n1; not installed on n2): planned for 0.9.1"


def test_an_unknown_engine_is_one_clear_line():
    with pytest.raises(DiagError, match="'tgi' is not known; known: vllm"):
        plan_launch(snapshot(cpu_node("n1", available_gib=16)), None, engine="tgi")
    assert set(ENGINES) == {"vllm"}


def test_older_versions_keep_the_graphs_outside_their_budget(tmp_path):
    node = gpu_node("gpu01", free_gib=(70.0,))
    model = write_model(tmp_path, "llama-8b")
    older, newer = (plan_launch(snapshot(node), model, version=version) for version in ("0.18.0", "0.32.0"))
    older_bytes = older.parameters.gpu_memory_utilization * node.gpus[0].total_bytes
    assert older_bytes <= (70.0 - 0.5 - 3.45) * GIB
    assert newer.parameters.gpu_memory_utilization > older.parameters.gpu_memory_utilization


def test_a_replica_over_nodes_is_not_written_for_versions_that_need_ray(tmp_path):
    cluster = snapshot(*(gpu_node(f"gpu0{n}", free_gib=(79.0,) * 8) for n in (1, 2)))
    plan = plan_launch(cluster, write_model(tmp_path, "llama-405b"), version="0.12.0")
    assert plan.recipe.argv == ()
    assert "Ray" in plan.sources["recipe"]


def test_batch_defaults_follow_memory_and_name():
    rules = vllm.rules("0.33")
    assert rules.batch("NVIDIA H100 80GB HBM3", 80 * GIB).max_num_seqs == 1024
    assert rules.batch("NVIDIA A100-SXM4-80GB", 80 * GIB).max_num_batched_tokens == 2048
    assert rules.batch("NVIDIA B200", 180 * GIB).max_num_batched_tokens == 16384
    assert rules.batch("NVIDIA L40S", 45 * GIB).max_num_seqs == 256
