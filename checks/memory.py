"""Is there the RAM and the shared memory that an engine needs, and as much of it as on the other nodes?"""

import pytest

from diag.facts.derived import accelerators, filesystem, has_accelerator, usable_memory_bytes
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding
from diag.units import GIB, MIB, size

SHM_FLOOR_BYTES = GIB
"""NCCL's guide asks containers for it: --shm-size=1g (User Guide, Troubleshooting, Shared memory)."""
SHM_FREE_FLOOR_BYTES = 256 * MIB
"""A quarter of that floor: what is left when earlier runs have not cleaned up."""
MEMORY_SHARE = 0.97
"""Kernels and firmware reserve different amounts; a missing memory module is at least 1/32 of all."""


def shares_memory(node: Node) -> bool:
    """Several GPUs, or ranks on the CPU, exchange data through /dev/shm; one GPU has nobody to exchange it with."""
    return len(accelerators(node)) != 1


@pytest.mark.applies(shares_memory, reason="one GPU: its rank shares memory with no other")
@pytest.mark.cause("shm_too_small")
def check_shared_memory_is_large_enough(node: Node) -> None:
    """Ranks on one node exchange data through /dev/shm; when it is full they end with "Bus error" or an NCCL error.

    Do: start the container with --shm-size=10g or --ipc=host; on a host remount /dev/shm larger (needs root).
    $ ssh {node} 'df -h /dev/shm; ls -lS /dev/shm | head'
    """
    shm = filesystem(node, "shm")
    assert shm is not None, finding("no /dev/shm", f"at least {size(SHM_FLOOR_BYTES)}")
    enough = shm.total_bytes >= SHM_FLOOR_BYTES and shm.free_bytes >= SHM_FREE_FLOOR_BYTES
    found = f"/dev/shm has {size(shm.total_bytes)}, {size(shm.free_bytes)} of it free"
    expected = f"at least {size(SHM_FLOOR_BYTES)}, {size(SHM_FREE_FLOOR_BYTES)} of it free"
    assert enough, finding(found, expected)


@pytest.mark.applies(lambda cluster: cluster.model_path is not None, reason="no --model was named")
@pytest.mark.applies(lambda node: not has_accelerator(node), reason="the weights go to the accelerators")
@pytest.mark.needs("check_model_has_all_its_files", "check_model_files_are_whole")
@pytest.mark.cause("host_ram_oom_killed")
def check_weights_fit_in_memory(node: Node, cluster: Snapshot) -> None:
    """Without accelerators the weights stay in RAM; beyond it, or the cgroup's limit, the kernel kills the engine.

    Do: raise the container's memory limit, use more nodes, or a smaller or quantized model.
    $ ssh {node} 'free -h; cat /sys/fs/cgroup/memory.max'
    """
    share_bytes = node.model.weights_bytes / len(cluster.nodes)
    usable = usable_memory_bytes(node)
    expected = f"{size(share_bytes)}: its share of the weights"
    assert usable >= share_bytes, finding(f"{size(usable)} of memory can be used", expected)


def memory_limit(node: Node) -> str | None:
    limit = node.memory.cgroup_limit_bytes
    return None if limit is None else size(limit)


def check_memory_limit_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """An engine sizes its caches alike on all nodes; under a lower cgroup limit one of them is killed (exit -9).

    Do: give the container or the service the same memory limit on all nodes.
    $ ssh {node} cat /sys/fs/cgroup/memory.max
    """
    same = peers.by(memory_limit)
    assert same.agree(node), same.finding(node, "memory limit of the cgroup")


def total_memory(node: Node) -> int:
    return node.memory.total_bytes


def check_memory_is_as_large_as_on_peers(node: Node, peers: Peers) -> None:
    """Less RAM than the others have is mostly a memory module that firmware has switched off.

    Do: compare the modules that firmware sees with those of another node.
    $ ssh {node} 'sudo dmidecode -t memory | grep -c "Size: [0-9]"'
    """
    median = peers.median(total_memory)
    found = f"{size(total_memory(node))} of RAM"
    assert total_memory(node) >= MEMORY_SHARE * median, finding(found, f"{size(median)}, the median of all nodes")


def logical_cpus(node: Node) -> int:
    return node.system.cpus


@pytest.mark.advice
def check_cpus_are_as_many_as_on_peers(node: Node, peers: Peers) -> None:
    """Fewer CPUs than the others have (a cpuset, a lower limit, hyper-threading off) slow down data and kernel launch.

    Do: compare the CPUs that the process may use with those of another node.
    $ ssh {node} 'nproc; lscpu | head -20'
    """
    same = peers.by(logical_cpus)
    assert same.agree(node), same.finding(node, "CPUs")
