"""Are the files of a model that all hosts see read, compared, timed and planned for?"""

from __future__ import annotations

import json

import pytest

from diag.facts.snapshot import load
from tests.lab.cluster import Lab
from tests.lab.running import Run, complete
from tests.node.models import qwen3_tensors, write_qwen3

pytestmark = [pytest.mark.lab, pytest.mark.torch, pytest.mark.timeout(240)]

MODEL = "/models/qwen3"
LAYERS = 6
"""212 MiB: long enough to read that its time to load is not rounded to nothing."""
WITHIN_S = 60.0
SAME = "model_is_the_same_on_all_nodes"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_qwen3(tmp_path_factory.mktemp("model"), layers=LAYERS)


@pytest.fixture(scope="module")
def lab(model):
    lab = Lab.up(3, shares={MODEL: model})
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def run(lab, tmp_path_factory):
    before = lab.look()
    run = run_with_model(lab, tmp_path_factory.mktemp("equal") / "run")
    assert lab.left_since(before) == []
    return run


def run_with_model(lab, out):
    return Run(lab, out, "--model", MODEL, "--max-size", "64KiB").wait()


def test_hosts_with_the_same_model_are_healthy(run, lab):
    assert (run.status, run.verdicts["culprits"]) == (0, []), run.stderr
    assert run.seconds < WITHIN_S
    complete(run, lab)
    assert run.outcomes(SAME) == dict.fromkeys(lab.names, "passed")


def test_its_files_are_seen_and_read_on_every_host(run, model):
    weights = model / "model.safetensors"
    tensors = qwen3_tensors(json.loads((model / "config.json").read_text()))
    for node in load(run.out).nodes:
        assert node.read_speed.bytes_per_s > 0
        assert node.read_speed.read_bytes > 100 << 20
        assert {file.name: file.size_bytes for file in node.model.files}[weights.name] == weights.stat().st_size
        (group,) = node.model.tensor_groups
        assert (group.dtype, group.tensors) == ("BF16", len(tensors))
        assert node.model.weights_bytes == group.size_bytes == weights.stat().st_size - header_bytes(weights)


def test_the_plan_says_how_long_the_hosts_take_to_load_it(run):
    plan = json.loads((run.out / "plan.json").read_text())
    assert plan["verdict"] != "UNKNOWN", plan["reason"]
    assert plan["load_seconds"] > 0
    assert "GB/s" in plan["sources"]["load_seconds"]
    assert plan["recipe"]["argv"][:3] == ["vllm", "serve", MODEL]


@pytest.mark.usefixtures("run")  # which is over before a host gets another file
def test_a_host_with_another_config_is_named_alone(lab, tmp_path, leaves_nothing):
    other = lab.hosts[1]
    other.run(("sed", "-i", "s/40960/32768/", f"{MODEL}/config.json"))
    with leaves_nothing(lab):
        run = run_with_model(lab, tmp_path / "run")
    assert run.status == 1, run.stderr
    assert run.seconds < WITHIN_S
    complete(run, lab)
    assert run.culprits() == {"model_files_missing_on_some_nodes": (other.name,)}, run.verdicts["culprits"]
    assert run.outcomes(SAME) == {name: "failed" if name == other.name else "passed" for name in lab.names}
    assert run.failed() == {SAME}
    assert "config.json: not as on" in run.verdicts["culprits"][0]["summary"]


def header_bytes(weights):
    with weights.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")
