"""Changes that make the checks of checks/memory.py fail."""

from __future__ import annotations

from diag.units import GIB, MIB
from tests.checks.changes import (
    Change,
    both,
    having,
    item,
    named,
    of_cluster,
    on,
)
from tests.checks.healthy import cpu_cluster, gpu_cluster
from tests.checks.machines import MODEL
from tests.checks.pair import Pair, two


def shm(**fields: object) -> Change:
    return on("gpu02", filesystems=item(named("shm"), having(**fields)))


PAIRS = (
    two("shared_memory_is_large_enough", shm(total_bytes=64 * MIB, free_bytes=64 * MIB), "64.0 MiB"),
    two("shared_memory_is_large_enough", shm(free_bytes=MIB), "1.0 MiB of it free"),
    Pair(
        check="shared_memory_is_large_enough",
        cluster=cpu_cluster,
        named=("node2",),
        found="64.0 MiB",
        change=on("node2", filesystems=item(named("shm"), having(total_bytes=64 * MIB, free_bytes=64 * MIB))),
    ),
    Pair(
        check="weights_fit_in_memory",
        cluster=cpu_cluster,
        named=("node2",),
        found="4.0 GiB",
        given=both(
            on("*", model=gpu_cluster().nodes[0].model, read_speed=gpu_cluster().nodes[0].read_speed),
            of_cluster(model_path=MODEL),
        ),
        change=on("node2", memory=having(cgroup_limit_bytes=8 * GIB, cgroup_used_bytes=4 * GIB)),
        also=frozenset({"memory_limit_is_the_same_on_all_nodes"}),
    ),
    two("memory_limit_is_the_same_on_all_nodes", on("gpu02", memory=having(cgroup_limit_bytes=8 * GIB)), "8.0 GiB"),
    two("memory_is_as_large_as_on_peers", on("gpu02", memory=having(total_bytes=1952 * GIB)), "1.9 TiB"),
    two("cpus_are_as_many_as_on_peers", on("gpu02", system=having(cpus=112)), "CPUs 112"),
)
