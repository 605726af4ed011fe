"""Does the container in which the engine runs get what its host has: GPUs, RDMA, memory, the driver's libraries?

What an engine needs is judged in the other files, on what the container gets. Here both sides are compared.
"""

import pytest

from diag.facts.derived import filesystem, hcas
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import NotMeasured, is_known, peek
from diag.facts.verdict import finding
from diag.units import MIB, size

DOCKERS_SHM_BYTES = 64 * MIB
"""What the runtimes give where nobody asks for more (docker run --shm-size)."""

in_a_container = pytest.mark.applies(lambda node: node.host_side is not None, reason="the engine runs on the host")


def outside(node: Node) -> Node:
    """The node as its host sees it."""
    assert node.host_side is not None, "asked only where there is one"
    return node.host_side


def has_gpus(node: Node) -> bool:
    return bool(outside(node).gpus)


def why_none(node: Node) -> str:
    """Why the container sees no GPU; empty: it sees one. NVIDIA's library comes with its GPUs, others' tools do not."""
    without = node.inside.without if node.inside is not None else ()
    nvidia_only = all(gpu.vendor == "nvidia" for gpu in outside(node).gpus)
    if nvidia_only and not is_known(node, "gpus"):
        return "; ".join((*without, peek(node, "gpus").why))
    return "" if node.gpus else "; ".join(without) or "no GPU"


@in_a_container
@pytest.mark.applies(has_gpus, reason="no GPU on the host")
@pytest.mark.cause("container_gpu_runtime_missing")
def check_container_is_given_gpus(node: Node) -> None:
    """The host's driver shows GPUs and the container none: the engine ends with "no CUDA-capable device is detected".

    Do: set up nvidia-container-toolkit and start the container with --gpus all (AMD: --device /dev/kfd, /dev/dri).
    $ ssh {node} 'nvidia-ctk --version; docker info --format "{{.Runtimes}}"; nvidia-smi -L'
    """
    why = why_none(node)
    assert not why, finding(f"in the container: {why}", f"the {len(outside(node).gpus)} of its host")


@in_a_container
@pytest.mark.advice
@pytest.mark.applies(has_gpus, reason="no GPU on the host")
@pytest.mark.needs("check_container_is_given_gpus")
def check_container_sees_all_gpus_of_its_host(node: Node) -> None:
    """A container that was given some of the GPUs leaves the others idle, or leaves them to somebody else on purpose.

    Do: start the container with --gpus all, and see what NVIDIA_VISIBLE_DEVICES says inside.
    $ ssh {node} nvidia-smi -L
    """
    inside, host = len(node.gpus), len(outside(node).gpus)
    assert inside >= host, finding(f"{inside} GPUs in the container", f"{host}, as on its host")


@in_a_container
@pytest.mark.applies(lambda node: bool(hcas(outside(node))), reason="no HCA on the host")
@pytest.mark.applies(lambda node: bool(outside(node).container.rdma_files), reason="no RDMA device on the host")
@pytest.mark.cause("rdma_device_not_in_container")
def check_container_is_given_the_rdma_devices(node: Node) -> None:
    """Without /dev/infiniband NCCL finds no HCA inside and takes the sockets, in silence, at a tenth of the rate.

    Do: start the container with --device /dev/infiniband (Kubernetes: the RDMA device plugin).
    $ ssh {node} ls -l /dev/infiniband
    """
    host, inside = outside(node).container.rdma_files, node.container.rdma_files
    hidden = sorted(set(host) - set(inside))
    assert not hidden, finding(f"without {', '.join(hidden)} in the container", f"the {len(host)} of its host")


@in_a_container
@pytest.mark.applies(lambda node: bool(hcas(outside(node))), reason="no HCA on the host")
@pytest.mark.applies(lambda node: bool(outside(node).container.rdma_files), reason="no RDMA device on the host")
@pytest.mark.needs("check_container_is_given_the_rdma_devices")
@pytest.mark.cause("rdma_device_not_in_container")
def check_container_has_the_verbs_library(node: Node) -> None:
    """NCCL loads libibverbs when it starts; where the image has none it takes the sockets, in silence.

    Do: install libibverbs1 and the HCA's provider (ibverbs-providers, or the vendor's own) in the image.
    $ ssh {node} 'ldconfig -p | grep ibverbs'
    """
    assert node.container.verbs_library, finding("no libibverbs.so.1 in the container", "the loader finds it")


@in_a_container
@pytest.mark.advice
@pytest.mark.needs("check_memlock_is_unlimited_where_there_is_rdma")
@pytest.mark.cause("memlock_limit")
def check_container_may_lock_as_much_memory_as_its_host(node: Node) -> None:
    """A limit that was raised on the host does not reach containers: their daemon has limits of its own.

    Do: start the container with --ulimit memlock=-1.
    $ ssh {node} 'ulimit -l; docker info'
    """
    inside, host = node.limits.memlock_soft_bytes, outside(node).limits.memlock_soft_bytes
    enough = inside is None or (host is not None and inside >= host) or node.limits.ipc_lock
    expected = f"{'no limit' if host is None else size(host)}, as on its host"
    assert enough, finding(f"{size(inside or 0)} may be locked in the container", expected)


@in_a_container
@pytest.mark.advice
@pytest.mark.needs("check_shared_memory_is_large_enough")
@pytest.mark.cause("shm_too_small")
def check_container_is_given_shared_memory(node: Node) -> None:
    """Containers get 64 MiB of shared memory where nobody asks for more, however much their host has.

    Do: start the container with --ipc=host, or with --shm-size=10g.
    $ ssh {node} df -h /dev/shm
    """
    inside, host = filesystem(node, "shm"), filesystem(outside(node), "shm")
    given = inside.total_bytes if inside is not None else 0
    there = host.total_bytes if host is not None else 0
    found = f"/dev/shm has {size(given)} in the container"
    assert given > DOCKERS_SHM_BYTES or given >= there, finding(found, f"more; its host has {size(there)}")


def mismatch(node: Node) -> str | None:
    """What NVML says where library and module differ; None: they agree, or there is no GPU."""
    return node.gpu_system.library_mismatch if node.gpu_system is not None else None


@in_a_container
@pytest.mark.applies(has_gpus, reason="no GPU on the host")
@pytest.mark.applies(lambda node: mismatch(outside(node)) is None, reason="they differ on the host")
@pytest.mark.cause("nvml_driver_library_mismatch")
def check_container_has_the_libraries_of_its_hosts_driver(node: Node) -> None:
    """The driver's libraries must be of the version of the kernel's module; an image that brings its own hides them.

    Do: remove libcuda and libnvidia-* from the image, or restart the container after the driver was updated.
    $ ssh {node} cat /proc/driver/nvidia/version
    """
    said = mismatch(node)
    assert said is None, finding(f"in the container: {said}", "the libraries of its host's driver")


def image_id(node: Node) -> str:
    if node.inside is None:
        raise NotMeasured("no container")
    return node.inside.image_id


@in_a_container
@pytest.mark.applies(
    lambda peers: len(peers.by(image_id).values) > 1, reason="on no other node is an image known: nothing to compare"
)
@pytest.mark.advice
@pytest.mark.cause("version_differs")
def check_image_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """The same tag may name different images on different nodes: versions inside then differ where nobody looks.

    Do: pull the image by its digest on all nodes.
    $ ssh {node} docker image ls --digests
    """
    same = peers.by(image_id)
    assert same.agree(node), same.finding(node, "image")
