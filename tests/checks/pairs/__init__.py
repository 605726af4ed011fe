"""All pairs, topic by topic as in checks/."""

from tests.checks.pair import Pair
from tests.checks.pairs import (
    clock,
    collective,
    containers,
    gpu_errors,
    gpu_health,
    gpu_links,
    gpu_system,
    gpu_torch,
    gpus,
    limits,
    links,
    memory,
    model,
    network,
    nvlinks,
    ports,
    rails,
    rdma,
    rdma_settings,
    reach,
    settings,
    software,
    speed,
    storage,
)

PAIRS: tuple[Pair, ...] = tuple(
    pair
    for topic in (
        clock,
        collective,
        containers,
        gpu_errors,
        gpu_health,
        gpu_links,
        gpu_system,
        gpu_torch,
        gpus,
        limits,
        links,
        memory,
        model,
        network,
        nvlinks,
        ports,
        rails,
        rdma,
        rdma_settings,
        reach,
        settings,
        software,
        speed,
        storage,
    )
    for pair in topic.PAIRS
)
