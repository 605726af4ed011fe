"""Changes that make the checks of checks/containers.py fail. Given: every node's engine runs in a container."""

from __future__ import annotations

import msgspec

from diag.facts.container import Container
from diag.facts.device import GpuSystem
from diag.facts.inside import Inside
from diag.facts.node import Node
from diag.facts.record import Missing, peek
from diag.facts.snapshot import Snapshot
from diag.units import MIB
from tests.checks.changes import Change, both, having, item, named, on, setting
from tests.checks.pair import two

RDMA = tuple(f"uverbs{index}" for index in range(4))


def contained(cluster: Snapshot) -> Snapshot:
    return msgspec.structs.replace(cluster, nodes=tuple(map(_contained, cluster.nodes)))


def _contained(node: Node) -> Node:
    """Both sides alike, but for the container itself."""
    system = peek(node, "gpu_system")
    if not isinstance(system, GpuSystem):
        system = GpuSystem()
    system = msgspec.structs.replace(system, library_mismatch=None)
    host = msgspec.structs.replace(
        node, gpu_system=system, container=having(rdma_files=RDMA, verbs_library=True)(node.container), host_side=None
    )
    return msgspec.structs.replace(
        host,
        container=Container(kind="docker", told_by="/.dockerenv", rdma_files=RDMA, verbs_library=True),
        inside=Inside(runtime="docker", container="vllm", image="vllm/vllm-openai:v0.11.0", image_id="5c1f" * 16),
        host_side=host,
    )


def inside(check: str, change: Change, found: str, **options: object):
    return two(check, change, found, given=contained, **options)


no_library = Missing("8 NVIDIA GPU on the bus (nvidia): NVML: libnvidia-ml.so.1 not found")
small_shm = having(total_bytes=64 * MIB, free_bytes=64 * MIB)
one_gpu = both(
    on("*", gpus=lambda gpus: gpus[:1], devices=lambda devices: (devices[0], *devices[8:])),
    on("*", settings=setting("CUDA_VISIBLE_DEVICES", "0")),
    on("*", host_side=having(gpus=lambda gpus: gpus[:1])),
)

PAIRS = (
    inside("container_is_given_gpus", on("gpu02", gpus=no_library), "libnvidia-ml.so.1 not found"),
    inside(
        "container_is_given_gpus",
        on("gpu02", gpus=no_library, inside=having(without=("NVIDIA GPUs: no toolkit there",))),
        "no toolkit there; 8 NVIDIA GPU",
    ),
    inside(
        "container_sees_all_gpus_of_its_host",
        on("gpu02", gpus=lambda gpus: gpus[:6]),
        "6 GPUs in the container",
        also=frozenset({"cuda_visible_devices_exist"}),
    ),
    inside(
        "container_is_given_the_rdma_devices",
        on("gpu02", container=having(rdma_files=())),
        "without uverbs0, uverbs1, uverbs2, uverbs3",
    ),
    inside("container_has_the_verbs_library", on("gpu02", container=having(verbs_library=False)), "no libibverbs.so.1"),
    inside(
        "container_may_lock_as_much_memory_as_its_host",
        on("gpu02", limits=having(memlock_soft_bytes=4096 * 1024**3)),
        "4.0 TiB",
    ),
    two(
        "container_is_given_shared_memory",
        on("gpu02", filesystems=item(named("shm"), small_shm)),
        "64.0 MiB",
        given=lambda cluster: one_gpu(contained(cluster)),
    ),
    inside(
        "container_has_the_libraries_of_its_hosts_driver",
        on("gpu02", gpu_system=having(library_mismatch="Driver/library version mismatch")),
        "Driver/library version mismatch",
        also=frozenset({"driver_library_is_of_the_loaded_driver"}),
    ),
    inside("image_is_the_same_on_all_nodes", on("gpu02", inside=having(image_id="77aa" * 16)), "77aa"),
)
