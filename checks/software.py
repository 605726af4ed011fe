"""Do all nodes run the same versions, and do those of one node fit each other?"""

import re

import pytest

from diag.facts.derived import has_accelerator
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.verdict import finding

ENGINES = ("vllm", "sglang", "lmdeploy", "ray", "transformers", "vllm-ascend", "vllm-metax")
"""Distributions whose versions must match: they exchange messages, or read the same model."""

on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")


def torch(node: Node) -> str | None:
    return node.software.torch


@pytest.mark.applies(lambda node, peers: peers.by(torch).present(node), reason="no torch on any node")
@pytest.mark.cause("version_differs")
def check_torch_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Ranks of different torch versions disagree in messages and kernels: errors without a name, or a silent hang.

    Do: install the same version on all nodes, or name the right interpreter with --python.
    $ ssh {node} 'python3 -m pip show torch | head -2'
    """
    same = peers.by(torch)
    assert same.agree(node), same.finding(node, "torch")


def nccl(node: Node) -> str | None:
    return node.software.nccl


@pytest.mark.applies(lambda node, peers: peers.by(nccl).present(node), reason="no NCCL on any node")
@pytest.mark.cause("nccl_version_or_env_differs_between_nodes")
def check_nccl_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """NCCL's versions do not talk to each other: "connecting to address with family …", or a hang at the first call.

    Do: install the same nvidia-nccl-cu… on all nodes, and look for another libnccl on LD_LIBRARY_PATH.
    $ ssh {node} 'python3 -m pip list | grep -i nccl; ldconfig -p | grep libnccl'
    """
    same = peers.by(nccl)
    assert same.agree(node), same.finding(node, "NCCL")


def cuda(node: Node) -> str | None:
    return node.software.cuda


@pytest.mark.applies(lambda node, peers: peers.by(cuda).present(node), reason="no CUDA build of torch on any node")
@pytest.mark.cause("version_differs")
def check_cuda_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Builds for different CUDA versions bring different kernels and different NCCL; results and speed differ.

    Do: install the build of torch for the same CUDA on all nodes.
    $ ssh {node} 'python3 -m pip list | grep -iE "^(torch|nvidia-cuda)"'
    """
    same = peers.by(cuda)
    assert same.agree(node), same.finding(node, "CUDA of torch")


def python(node: Node) -> str:
    """Without the last number: releases of one minor version exchange pickles and byte code."""
    return ".".join(node.software.python.split(".")[:2])


@pytest.mark.cause("ray_or_python_version_mismatch")
def check_python_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Ray refuses workers of another Python, and engines that exchange pickles fail in strange places.

    Do: use the same minor version on all nodes, or name the right interpreter with --python.
    $ ssh {node} 'python3 --version'
    """
    same = peers.by(python)
    assert same.agree(node), same.finding(node, "Python")


def engines(node: Node) -> tuple[str, ...]:
    packages = node.software.packages
    found = [f"{package.name} {package.version}" for package in packages if package.name in ENGINES and package.version]
    return (*found, f"ollama {node.software.ollama}") if node.software.ollama else tuple(found)


@pytest.mark.cause("version_differs")
def check_engines_are_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """An engine's nodes exchange messages whose form changes with every version; Ray refuses another version at once.

    Do: install the same versions on all nodes, best from one lock file or one image.
    $ ssh {node} 'python3 -m pip list | grep -iE "vllm|sglang|lmdeploy|^ray|transformers"'
    """
    same = peers.by(engines)
    assert same.agree(node), same.finding(node, "engines:")


def driver(node: Node) -> str | None:
    return node.software.driver


@on_gpus
@pytest.mark.cause("version_differs")
def check_driver_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Another driver brings other limits (CUDA version, peer access, fabric); the failure then depends on placement.

    Do: install the same driver on all nodes, and reboot where the loaded module is the old one.
    $ ssh {node} 'cat /sys/module/nvidia/version /proc/driver/nvidia/version'
    """
    same = peers.by(driver)
    assert same.agree(node), same.finding(node, "driver")


def kernel(node: Node) -> str:
    return node.system.kernel


@pytest.mark.cause("version_differs")
def check_kernel_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """A node that missed or rushed ahead of an update has other modules for GPUs and HCAs than its peers.

    Do: bring the node to the same kernel, and reboot it.
    $ ssh {node} uname -r
    """
    same = peers.by(kernel)
    assert same.agree(node), same.finding(node, "kernel")


def nccl_majors(node: Node) -> tuple[str, ...]:
    """CUDA majors for which NCCL is installed: the 12 of nvidia-nccl-cu12."""
    names = [package.name for package in node.software.packages if package.version]
    return tuple(match[1] for name in names if (match := re.fullmatch(r"nvidia-nccl-cu(\d+)", name)))


@pytest.mark.applies(lambda node: cuda(node) is not None, reason="no CUDA build of torch")
@pytest.mark.applies(lambda node: bool(nccl_majors(node)), reason="no NCCL distribution beside torch")
@pytest.mark.cause("nccl_torch_library_mismatch")
def check_nccl_is_built_for_the_cuda_of_torch(node: Node) -> None:
    """torch loads the NCCL of its own CUDA version; with another one beside it the import fails on a missing symbol.

    Do: reinstall torch with its own dependencies, and remove the other nvidia-nccl-cu….
    $ ssh {node} 'python3 -m pip list | grep -iE "^torch |nvidia-nccl"'
    """
    major = (cuda(node) or "").split(".")[0]
    found = " and ".join(f"nvidia-nccl-cu{found}" for found in nccl_majors(node))
    assert nccl_majors(node) == (major,), finding(
        f"{found} beside torch for CUDA {cuda(node)}", f"nvidia-nccl-cu{major}"
    )
