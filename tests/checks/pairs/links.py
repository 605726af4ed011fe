"""Changes that make the checks of checks/links.py fail."""

from __future__ import annotations

from collections.abc import Callable

from diag.facts.links import ClosedPorts, Flow
from diag.facts.record import Missing
from diag.facts.snapshot import Snapshot
from tests.checks.changes import Change, having, item, more, of_cluster
from tests.checks.pair import Pair, two


def flow(source: str, target: str) -> Callable[[Flow], bool]:
    return lambda each: (each.source, each.target) == (source, target)


def of_flow(source: str, target: str, **fields: object) -> Change:
    return of_cluster(links=having(flows=item(flow(source, target), having(**fields))))


def closed(sources: tuple[str, ...], targets: tuple[str, ...], *ports: int) -> Change:
    row = ClosedPorts(sources=sources, targets=targets, ports=ports, error="ETIMEDOUT", why="no answer")
    return of_cluster(links=having(ports=having(closed=more(row))))


def used(bytes_per_s: float) -> Change:
    busy = item(lambda row: row.node == "gpu02", having(bytes_per_s=bytes_per_s))
    return of_cluster(links=having(background=busy))


def slow(*ways: tuple[str, str]) -> Change:
    """A fifth of what these carried."""
    rates = having(bytes_per_s=lambda rate: rate / 5)
    flows = item(lambda each: (each.source, each.target) in ways, rates)
    return of_cluster(links=having(flows=flows))


def by_rdma(cluster: Snapshot) -> Snapshot:
    """Beside each flow one of perftest over the first rail, and one from GPU to GPU, a little slower."""
    links = cluster.links
    wish = having(method="ib_write_bw", rail="mlx5_0", bytes_per_s=49e9, windows_bytes_per_s=())
    rails = tuple(map(wish, links.flows))
    on_gpus = tuple(map(having(bytes_per_s=46e9), rails))
    return having(links=having(flows=(*links.flows, *rails), on_gpus=on_gpus))(cluster)


def cut_off_by_rdma(cause: str, *nodes: str) -> Change:
    """Rails of ``nodes`` carry nothing; TCP beside them does."""
    nothing = having(bytes_per_s=Missing("the GIDs of both ends are of different kinds"), cause=cause)
    return of_cluster(
        links=having(flows=item(lambda each: each.rail is not None and not {*nodes}.isdisjoint(each.pair), nothing))
    )


PAIRS = (
    Pair(
        check="rails_carry_data",
        given=by_rdma,
        change=cut_off_by_rdma("roce_gid_index", "gpu02"),
        named=("gpu01", "gpu02", "gpu02", "gpu03"),
        found="by mlx5_0: the GIDs of both ends are of different kinds",
    ),
    Pair(
        check="link_is_as_fast_as_the_others",
        change=slow(("gpu01", "gpu02"), ("gpu02", "gpu01"), ("gpu02", "gpu03"), ("gpu03", "gpu02")),
        named=("gpu01", "gpu02", "gpu02", "gpu03"),
        found="7.5",
    ),
    two("path_passes_full_packets", of_flow("gpu02", "gpu03", path_mtu_bytes=1500), "packets of 1500 bytes pass to"),
    two(
        "ports_are_open_between_nodes",
        closed(("gpu01", "gpu03", "gpu04"), ("gpu02",), 29500, 8000),
        "ports 29500, 8000 closed to gpu01, gpu03, gpu04: no answer",
    ),
    two(
        "ports_are_open_between_nodes",
        closed(("gpu02",), ("gpu01", "gpu03", "gpu04"), 6379),
        "ports 6379 of gpu01, gpu03, gpu04 closed to it",
    ),
    Pair(
        check="ports_are_open_between_nodes",
        change=closed(("gpu02",), ("gpu03",), 8000),
        named=("gpu02", "gpu03"),
        found="ports 8000",
    ),
    two("nobody_else_uses_the_data_link", used(2e9), "bond0 carries 16.0 Gbit/s of others"),
)
