"""Are excluded nodes and GPUs in no plan, and is a plan that uses what failed said to?"""

from __future__ import annotations

import msgspec
import pytest

from diag.engines import plan_launch
from diag.errors import DiagError
from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot
from diag.facts.speed import Lost, P2p, Speed
from diag.facts.verdict import Culprit, Verdict, Verdicts
from diag.inventory.gpusets import Part, parts
from diag.planner.exclusion import without
from diag.planner.unfit import cautions, unfit
from diag.planner.wanted import Wanted
from diag.units import GIB
from tests.planner.clusters import eight_h100, eight_mxc500, gpu_node, snapshot, write_model


def excluded(cluster: Snapshot, text: str) -> Snapshot:
    return without(cluster, parts(text, "--exclude"))


def two_nodes(**facts: Speed) -> Snapshot:
    return snapshot(eight_h100("gpu01", **facts), eight_h100("gpu02"))


def test_an_excluded_node_is_not_planned_for(tmp_path):
    plan = plan_launch(excluded(two_nodes(), "gpu01"), write_model(tmp_path, "qwen3-32b"))
    assert plan.nodes == ("gpu02",)
    assert "1 node" in plan.reason


def test_ranks_do_not_see_an_excluded_gpu(tmp_path):
    model = write_model(tmp_path, "qwen3-32b")
    plan = plan_launch(excluded(two_nodes(), "gpu02:2"), model)
    lacks = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0,1,3,4,5,6,7"}
    assert plan.recipe.env_of_nodes == {"gpu02": lacks}
    assert "CUDA_VISIBLE_DEVICES" not in plan.recipe.env
    first = plan_launch(excluded(two_nodes(), "gpu01:2"), model)
    assert first.recipe.env == lacks
    assert first.recipe.env_of_nodes == {"gpu02": {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}}


@pytest.mark.parametrize("engine", ["vllm", "sglang", "lmdeploy", "ollama"])
def test_every_engine_is_kept_from_it(tmp_path, engine):
    plan = plan_launch(excluded(snapshot(eight_h100()), "gpu01:0"), write_model(tmp_path, "qwen3-8b"), engine)
    assert plan.recipe.env["CUDA_VISIBLE_DEVICES"] == "1,2,3,4,5,6,7"


def test_the_last_gpus_need_no_variable(tmp_path):
    plan = plan_launch(excluded(two_nodes(), "gpu[01-02]:[6-7]"), write_model(tmp_path, "qwen3-32b"))
    assert plan.recipe.env == {}


def test_ollama_takes_all_gpus_that_it_sees_so_the_last_ones_are_hidden_too(tmp_path):
    model, wanted = write_model(tmp_path, "qwen3-8b"), Wanted(excluded=parts("gpu02:[6-7]", "--exclude"))
    env = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5"}
    cluster = excluded(two_nodes(), "gpu02:[6-7]")
    assert plan_launch(cluster, model, "ollama", wanted=wanted).recipe.env_of_nodes == {"gpu02": env}
    assert plan_launch(cluster, model, "vllm", wanted=wanted).recipe.env_of_nodes == {}


def test_gpus_of_amd_are_hidden_by_their_numbers_and_the_assumed_order_is_told(tmp_path):
    mi300x = gpu_node("gpu01", free_gib=(190,) * 8, total=192 * GIB, kind="AMD Instinct MI300X")
    plan = plan_launch(excluded(snapshot(mi300x), "gpu01:2"), write_model(tmp_path, "qwen3-32b"), "vllm", "0.17.0")
    assert plan.recipe.env["HIP_VISIBLE_DEVICES"] == "0,1,3,4,5,6,7"
    assert any("HIP numbers GPUs as amd-smi does is taken as given" in note for note in plan.notes)


def test_gpus_of_metax_are_hidden_by_both_variables(tmp_path):
    plan = plan_launch(excluded(snapshot(eight_mxc500()), "mx01:2"), write_model(tmp_path, "qwen3-32b"))
    left = "0,1,3,4,5,6,7"
    assert plan.recipe.env == {"MACA_VISIBLE_DEVICES": left, "CUDA_VISIBLE_DEVICES": left}


def test_where_ranks_cannot_be_kept_from_an_excluded_gpu_that_is_said(tmp_path):
    npus = tuple(msgspec.structs.replace(gpu, vendor="ascend") for gpu in eight_mxc500().gpus)
    model, cluster = write_model(tmp_path, "qwen3-32b"), snapshot(eight_mxc500(gpus=npus))
    plan = plan_launch(excluded(cluster, "mx01:2"), model)
    assert "the command may take those that were excluded on mx01" in " ".join(plan.notes)
    assert "excluded" not in " ".join(plan_launch(cluster, model).notes)


def test_a_node_without_any_gpu_left_is_left_out():
    assert [node.name for node in excluded(two_nodes(), "gpu01:[0-7]").nodes] == ["gpu02"]


def test_what_was_measured_with_an_excluded_gpu_is_not_held_against_the_others(tmp_path):
    pair = P2p(source=0, target=5, direct=True, size_bytes=1, times_s=(1.0,), verified=False, wrong="zeros")
    lost = Lost(topic="p2p", gpus=(3, 5), how="killed", why="no end")
    node = eight_h100("gpu01", speed=Speed(level="normal", seconds=1.0, p2p=(pair,), lost=(lost,)))
    model = write_model(tmp_path, "llama-70b")
    assert "NCCL_P2P_DISABLE" in plan_launch(snapshot(node), model).recipe.env
    assert "NCCL_P2P_DISABLE" not in plan_launch(excluded(snapshot(node), "gpu01:5"), model).recipe.env


@pytest.mark.parametrize(
    ("text", "says"), [("gpu3", "'gpu3' is no node"), ("gpu01:8", "gpu01:8: no such GPU"), ("gpu[01-02]", "nothing")]
)
def test_what_is_not_there_is_no_reason_to_plan_for_all(text, says):
    with pytest.raises(DiagError, match=says):
        excluded(two_nodes(), text)


def test_unknown_gpus_cannot_be_excluded():
    node = snapshot(eight_h100("gpu01")).nodes[0]
    with pytest.raises(NotMeasured):
        _ = type(node)(name="x", address="x", reach=node.reach).gpus
    lacking = snapshot(type(node)(name="gpu01", address="x", reach=node.reach))
    with pytest.raises(DiagError, match="its GPUs are not known"):
        excluded(lacking, "gpu01:1")


def judged(*failed: Verdict, culprits: tuple[Culprit, ...]) -> Verdicts:
    return Verdicts(diag="", exit_status=1, checks={}, verdicts=failed, culprits=culprits, stages=())


def culprit(cause: str, *evidence: str, kind: str = "gpu") -> Culprit:
    nodes = tuple(dict.fromkeys(each.rpartition("@")[2] for each in evidence))
    return Culprit(kind=kind, nodes=nodes, cause=cause, summary="", confidence=1.0, evidence=evidence)


def failed(check: str, node: str, subject: str | None = None) -> Verdict:
    return Verdict(check=check, node=node, subject=subject, outcome="failed")


ECC = failed("ecc", "gpu01", "gpu:5")
OF_ECC = culprit("gpu_memory_ecc_error", "ecc@gpu01")


def test_a_plan_says_first_that_it_uses_what_failed(tmp_path):
    plan = plan_launch(two_nodes(), write_model(tmp_path, "qwen3-32b"))
    verdicts = judged(ECC, culprits=(OF_ECC,))
    (line,) = cautions(plan, (), verdicts, "diag plan")
    assert line == "1 check failed on gpu01:5: this plan uses it; without it: diag plan --exclude gpu01:5"
    assert cautions(plan, (Part("gpu01", 5),), verdicts, "diag plan") == ("left out: gpu01:5, excluded by you",)


def test_several_are_told_together_with_what_was_excluded_before(tmp_path):
    plan = plan_launch(two_nodes(), write_model(tmp_path, "qwen3-32b"))
    frozen = culprit("rank_frozen", "every_rank_comes_through@gpu02", kind="node")
    lines = cautions(plan, (Part("gpu01", 7),), judged(ECC, culprits=(OF_ECC, frozen)), "diag plan")
    assert lines[1].startswith(
        "1 check failed on gpu01:5, a fault that no check judged was seen on gpu02: this plan uses them; without them:"
    )
    assert lines[1].endswith("diag plan --exclude gpu01:[5,7],gpu02")


def test_a_setting_makes_nobody_unfit():
    limits = failed("memlock", "gpu01")
    assert not unfit(judged(limits, culprits=(culprit("memlock_limit", "memlock@gpu01", kind="setting"),)))


def test_nobody_is_unfit_for_a_link():
    link = failed("link", "gpu01", "link:gpu01>gpu02")
    assert not unfit(judged(link, culprits=(culprit("wrong_results", "link@gpu01", kind="link"),)))


def test_a_node_that_is_in_no_plan_needs_no_caution(tmp_path):
    plan = plan_launch(excluded(two_nodes(), "gpu01"), write_model(tmp_path, "qwen3-32b"))
    assert cautions(plan, (), judged(ECC, culprits=(OF_ECC,)), "diag plan") == ()
