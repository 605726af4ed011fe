"""Changes that make the checks of checks/speed.py, host_copies.py, p2p.py and nccl.py fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diag.facts import baseline
from diag.facts.speed import Lost, NcclLog, Transport
from diag.units import GIB
from tests.checks.changes import Change, having, item, more, of_cluster, on, without
from tests.checks.healthy import gpu_cluster
from tests.checks.pair import Pair, two


def speed(**fields: Any) -> Change:
    """Of the second node."""
    return on("gpu02", speed=having(**fields))


def row(gpu: int, **about: object) -> Callable[[Any], bool]:
    return lambda entry: entry.gpu == gpu and all(getattr(entry, name) == value for name, value in about.items())


def pair(source: int, target: int) -> Callable[[Any], bool]:
    return lambda entry: (entry.source, entry.target) == (source, target)


def times(share: float) -> Callable[[tuple[float, ...]], tuple[float, ...]]:
    return lambda old: tuple(each * share for each in old)


def gemm(gpu: int, dtype: str, **fields: Any) -> Change:
    return speed(gemms=item(row(gpu, dtype=dtype), having(**fields)))


def copy(gpu: int, kind: str, **fields: Any) -> Change:
    return speed(bandwidths=item(row(gpu, kind=kind), having(**fields)))


def together(**fields: Any) -> Change:
    return speed(collectives=having(**fields))


def log(**fields: Any) -> Change:
    return together(log=having(**fields))


def between(**fields: Any) -> Change:
    """What NCCL said on the second node in the all-reduce over nodes."""
    return of_cluster(collective=having(logs=(("gpu02", NcclLog(**fields)),)))


SLOWER = having(flops_per_s=times(0.6))
RING = tuple(Transport(source=gpu, target=(gpu + 1) % 8, kind="SHM", detail="direct/direct") for gpu in range(8))

BY_HOST = Transport(source=7, target=8, kind="NET/IB", hca="mlx5_0", gpu_direct=False)

PAIRS = (
    two(
        "gpu_computes_right_products",
        gemm(5, "bf16", verified=False, wrong="3 of 8192 rows are wrong, off by up to 0.4 of their length"),
        "bf16: 3 of 8192 rows are wrong",
    ),
    two(
        "gpu_hangs_in_nothing_that_others_finish",
        speed(
            gemms=without(lambda entry: entry.gpu == 3),
            lost=more(Lost(topic="gemm", gpus=(3,), how="killed", why="no end within 22 s")),
        ),
        "gemm: no end within 22 s",
    ),
    two("gpu_computes_right_products", gemm(2, "tf32", verified=False), "tf32: the product is not that of"),
    two("gpu_is_as_fast_as_its_peers", gemm(3, "bf16", flops_per_s=times(0.95)), "bf16 697.1 TFLOP/s, 5.2% below"),
    Pair(
        check="gpu_is_as_fast_as_it_was",
        given=lambda cluster: having(baseline=baseline.of(cluster))(cluster),
        change=gemm(3, "tf32", flops_per_s=times(0.94)),
        named=("gpu02",),
        found="gemm tf32 6.0% below",
        also=frozenset({"gpu_is_as_fast_as_its_peers"}),
    ),
    Pair(
        check="gpu_reaches_what_its_model_does",
        change=on("*", speed=having(gemms=item(lambda _: True, SLOWER))),
        named=tuple(f"gpu0{node}" for node in range(1, 5) for _ in range(8)),
        found="bf16 4",
    ),
    two(
        "every_gpu_computes_the_same_bits", speed(fingerprints=item(6, having(rounded="99" * 32))), "bits 999999999999"
    ),
    two("every_gpu_computes_the_same_bits", speed(fingerprints=item(6, having(exact="99" * 32))), "sums 999999999999"),
    two(
        "every_gpu_computes_the_same_bits", speed(fingerprints=item(0, having(repeated=False))), "other bits each time"
    ),
    Pair(
        check="every_gpu_computes_the_same_bits",
        cluster=lambda: gpu_cluster(2),
        change=speed(fingerprints=item(lambda _: True, having(rounded="99" * 32))),
        named=("gpu01",) * 8 + ("gpu02",) * 8,
        found="on 8 of 16 GPUs, others on 8: which is wrong nobody can tell",
    ),
    two("copies_arrive_unchanged", copy(2, "h2d_all", verified=False), "wrong bytes in h2d_all"),
    two(
        "gpus_share_the_way_to_the_host",
        speed(bandwidths=item(lambda entry: entry.kind == "d2h_all", having(times_s=times(4)))),
        "d2h of 8 GPUs at once 105.",
    ),
    two("gpu_memory_is_fast", copy(1, "hbm", times_s=times(1 / 0.93)), "hbm 2437.6 GB/s, 7.0% below"),
    two("pcie_carries_its_width_under_load", copy(4, "h2d", times_s=times(2)), "h2d 27.6 GB/s"),
    two(
        "free_gpu_memory_can_be_had",
        speed(fills=item(7, having(allocatable_bytes=40 * GIB))),
        "40.0 GiB could be had",
    ),
    two(
        "gpu_memory_holds_what_was_written",
        speed(fills=item(7, having(verified=False))),
        "of 77.5 GiB, not all held what was written",
    ),
    two(
        "gpus_send_each_other_what_they_should",
        speed(p2p=item(pair(0, 3), having(verified=False, wrong="33554432 of 33554432 words are not what was sent"))),
        "gpu:0 to gpu:3: 33554432 of",
    ),
    two(
        "gpus_send_each_other_what_they_should",
        speed(
            p2p=without(lambda entry: {entry.source, entry.target} == {1, 6}),
            lost=more(Lost(topic="p2p", gpus=(1, 6), how="killed", why="no end within 11.5 s")),
        ),
        "gpu:1 and gpu:6: no end within 11.5 s",
    ),
    two("links_between_gpus_are_fast", speed(p2p=item(pair(2, 5), having(times_s=times(1.5)))), "gpu:2 to gpu:5 25"),
    two(
        "sums_in_the_node_are_right",
        together(times=item(1, having(verified=False))),
        "all_reduce at 1.0 MiB",
    ),
    two(
        "all_reduce_in_the_node_is_fast",
        together(times=item(2, having(busbw_bytes_per_s=181e9)), ladder_says="it is the same without P2P"),
        "busbw 181.0 GB/s, 62.0% below; it is the same without P2P",
    ),
    two("nccl_goes_from_gpu_to_gpu", log(transports=RING), "gpu:0 to gpu:1 by SHM"),
    two(
        "nccl_goes_from_gpu_to_gpu",
        together(gpus=(3, 4), world_size=2, log=having(transports=RING[:1])),
        "gpu:3 to gpu:4 by SHM",
        also=frozenset({"all_reduce_in_the_node_is_fast"}),
    ),
    two("nccl_uses_the_hcas", log(network="Socket"), "network Socket"),
    two("nccl_uses_the_hcas", between(network="Socket"), "network Socket between nodes"),
    two("nccl_uses_gpu_direct", between(network="IB", transports=(BY_HOST,)), "off on all ways between nodes"),
    two(
        "nccl_uses_gpu_direct",
        log(gpu_direct=item(0, ("mlx5_0", False)), gpu_direct_why=("distance 5 > 4",)),
        "off for mlx5_0: distance 5 > 4",
    ),
)
