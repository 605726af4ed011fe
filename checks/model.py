"""Is the model on every node, whole, the same, and one that the node's software and GPUs can run?"""

import json
from typing import Any

import pytest

from diag.facts.derived import package
from diag.facts.device import Gpu
from diag.facts.model import ModelFiles
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding, listed
from diag.units import size

BF16_CAPABILITY = (8, 0)
"""bfloat16 came with compute capability 8.0 (CUDA C++ Programming Guide, Compute Capabilities)."""
FP8_CAPABILITY = (8, 9)
"""FP8 E4M3 came with compute capability 8.9 (the same table)."""
SHOWN = 3
"""So many files are named in a finding; the rest are counted."""


def has_model(cluster: Snapshot) -> bool:
    return cluster.model_path is not None


named = pytest.mark.applies(has_model, reason="no --model directory was named")


@named
@pytest.mark.cause("model_files_missing_on_some_nodes")
def check_model_exists(node: Node) -> None:
    """Every node loads its share of the weights from its own file system; the first node's copy does not help it.

    Do: copy the model to the same path on this node, or mount the shared file system there.
    $ ssh {node} ls -l {path}
    """
    assert node.model.exists, finding(f"no {node.model.path} on {node.name}", "the model's directory")


@named
@pytest.mark.needs("check_model_exists")
@pytest.mark.cause("model_files_missing_on_some_nodes")
def check_model_has_all_its_files(node: Node) -> None:
    """A shard that the index names and the directory lacks ends the start, minutes after the first ones were loaded.

    Do: finish the download or the copy.
    $ ssh {node} ls -l {path}
    """
    missing = list(node.model.missing_shards)
    names = {file.name for file in node.model.files}
    absent = missing if "config.json" in names else ["config.json", *missing]
    assert not absent, finding(f"{listed(absent, SHOWN)} missing", "config.json and every shard of the index")


@named
@pytest.mark.needs("check_model_exists")
@pytest.mark.cause("model_file_corrupt_or_lfs_pointer")
def check_model_files_are_whole(node: Node) -> None:
    """A cut shard or a git-lfs pointer in its place fails while loading, with an error about headers or shapes.

    Do: fetch the file again (git lfs pull, or hf download), and compare its size with the source's.
    $ ssh {node} ls -l {path}
    """
    bad = [f"{file.name} ({size(file.size_bytes)}): {file.problem}" for file in node.model.files if file.problem]
    assert not bad, finding(listed(bad, SHOWN), "files as long as their headers say")


def digest(node: Node) -> str:
    return node.model.digest


@named
@pytest.mark.needs("check_model_has_all_its_files", "check_model_files_are_whole")
@pytest.mark.cause("model_files_missing_on_some_nodes")
def check_model_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Nodes with different revisions of a model load, start, and answer nonsense; or disagree about the vocabulary.

    Do: copy the model from one of the other nodes.
    $ ssh {node} 'sha256sum {path}/*.json'
    """
    same = peers.by(digest)
    agreed = same.agree(node)
    other = same.example()
    if agreed or other is None:
        assert agreed, same.finding(node, "digest of the model")
    differing = different(node.model, peers.nodes[other or node.name].model)
    assert agreed, finding(f"{listed(differing, SHOWN)}: not as on {other}", f"the files of {same.common_count} nodes")


def different(here: ModelFiles, there: ModelFiles) -> list[str]:
    """Names of files that only one has, or that differ in size or content."""
    one, two = ({file.name: (file.size_bytes, file.sha256) for file in model.files} for model in (here, there))
    return sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))


def config(node: Node) -> dict[str, Any]:
    parsed = json.loads(node.model.config_json)
    return parsed if isinstance(parsed, dict) else {}


@named
@pytest.mark.needs("check_model_has_all_its_files")
@pytest.mark.cause("model_file_corrupt_or_lfs_pointer")
def check_model_config_names_an_architecture(node: Node) -> None:
    """Engines choose the model's code by ``architectures`` of config.json; without it none knows what to load.

    Do: fetch config.json again.
    $ ssh {node} head -c 300 {path}/config.json
    """
    try:
        names = config(node).get("architectures")
    except ValueError as error:
        names, found = None, f"config.json is no JSON: {error}"
    else:
        found = f"architectures {names}"
    assert names, finding(found, "config.json with the name of an architecture")


def needs_own_code(node: Node) -> bool:
    return "auto_map" in config(node)


@named
@pytest.mark.advice
@pytest.mark.needs("check_model_config_names_an_architecture")
@pytest.mark.cause("trust_remote_code_missing")
def check_model_needs_no_code_of_its_own(node: Node) -> None:
    """``auto_map`` means that Python code comes with the model; engines load it only where they are told to trust it.

    Do: read that code, then start the engine with --trust-remote-code on all nodes.
    $ ssh {node} 'ls {path}/*.py'
    """
    found = "config.json has auto_map: the model brings its own code"
    assert not needs_own_code(node), finding(found, "a model that the engine knows itself")


def version(text: str) -> tuple[int, ...]:
    """``4.57.1`` -> (4, 57); what does not start with two numbers counts as the oldest."""
    parts = text.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0,)


@named
@pytest.mark.advice
@pytest.mark.needs("check_model_config_names_an_architecture")
@pytest.mark.applies(lambda node: package(node, "transformers") is not None, reason="no transformers installed")
@pytest.mark.applies(lambda node: "transformers_version" in config(node), reason="the model names no version")
@pytest.mark.cause("engine_or_transformers_too_old_for_model")
def check_transformers_is_as_new_as_the_model(node: Node) -> None:
    """A model saved by a newer transformers may have a model_type that the installed one does not know.

    Do: update transformers, within what the engine allows.
    $ ssh {node} 'python3 -m pip show transformers | head -2'
    """
    installed, saved = package(node, "transformers") or "0", str(config(node)["transformers_version"])
    assert version(installed) >= version(saved), finding(
        f"transformers {installed}", f"at least {saved}, which saved it"
    )


def capability(gpu: Gpu) -> tuple[int, ...]:
    return tuple(int(number) for number in (gpu.compute_capability or "0.0").split("."))


def dtype(node: Node) -> str:
    return str(config(node).get("torch_dtype") or config(node).get("dtype"))


def quantization(node: Node) -> str:
    return str((config(node).get("quantization_config") or {}).get("quant_method"))


nvidia = pytest.mark.applies(lambda node: any(gpu.vendor == "nvidia" for gpu in node.gpus), reason="no NVIDIA GPU")


@named
@nvidia
@pytest.mark.needs("check_model_config_names_an_architecture")
@pytest.mark.applies(lambda node: dtype(node) == "bfloat16", reason="the model is not in bfloat16")
@pytest.mark.cause("bf16_unsupported")
def check_gpus_compute_in_bfloat16(node: Node) -> None:
    """GPUs before Ampere have no bfloat16; engines refuse the model's dtype on them.

    Do: start the engine with --dtype float16, and check the answers.
    $ ssh {node} nvidia-smi --query-gpu=index,name,compute_cap --format=csv
    """
    lowest = min(node.gpus, key=capability)
    found = f"gpu:{lowest.index} {lowest.name} has compute capability {lowest.compute_capability}"
    assert capability(lowest) >= BF16_CAPABILITY, finding(found, "at least 8.0 for bfloat16")


@named
@nvidia
@pytest.mark.advice
@pytest.mark.needs("check_model_config_names_an_architecture")
@pytest.mark.applies(lambda node: quantization(node) == "fp8", reason="the model is not in FP8")
@pytest.mark.cause("fp8_unsupported_arch")
def check_gpus_compute_in_fp8(node: Node) -> None:
    """Before Ada and Hopper FP8 weights are only stored: engines compute in 16 bits, slower, or refuse them.

    Do: take a checkpoint in another quantization (AWQ, GPTQ, INT8) for these GPUs.
    $ ssh {node} nvidia-smi --query-gpu=index,name,compute_cap --format=csv
    """
    lowest = min(node.gpus, key=capability)
    found = f"gpu:{lowest.index} {lowest.name} has compute capability {lowest.compute_capability}"
    assert capability(lowest) >= FP8_CAPABILITY, finding(found, "at least 8.9 for FP8")
