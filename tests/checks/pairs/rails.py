"""Changes that make the checks of checks/rails.py fail."""

from __future__ import annotations

from diag.facts.links import Flow
from diag.facts.record import Missing
from diag.facts.snapshot import Snapshot
from tests.checks.changes import Change, having, item, more, of_cluster
from tests.checks.pair import two

LINE_BYTES_PER_S = 49e9


def measured(cluster: Snapshot) -> Snapshot:
    """Each direction of the ring by two of the rails, from the memory of hosts and of GPUs."""
    flows = tuple(
        Flow(
            source=flow.source, target=flow.target, round=flow.round, method="ib_write_bw", rail=rail,
            bytes_per_s=LINE_BYTES_PER_S * (1 + place % 3 / 500),
        )
        for place, flow in enumerate(cluster.links.flows)
        for rail in ("mlx5_0", "mlx5_1")
    )  # fmt: skip
    return of_cluster(links=having(flows=more(*flows), on_gpus=flows))(cluster)


def rail(source: str, target: str, name: str, **fields: object) -> Change:
    chosen = item(lambda each: (each.source, each.target, each.rail) == (source, target, name), having(**fields))
    return of_cluster(links=having(flows=chosen))


FILTERED = Missing("ib_write_bw ran to its end, and nothing came through (RoCE: UDP port 4791)")

PAIRS = (
    two(
        "rails_carry_data",
        rail("gpu02", "gpu03", "mlx5_1", bytes_per_s=FILTERED, cause="firewall_blocks_ports"),
        "ib_write_bw by mlx5_1: ib_write_bw ran to its end, and nothing came through",
        given=measured,
    ),
    two(
        "rails_reach_their_line_rate",
        rail("gpu02", "gpu03", "mlx5_1", bytes_per_s=40e9),
        "ib_write_bw by mlx5_1: 320.0 Gbit/s",
        given=measured,
        also=frozenset({"link_is_as_fast_as_the_others"}),
    ),
    two(
        "rails_carry_as_much_from_gpus",
        of_cluster(
            links=having(
                on_gpus=item(lambda each: (each.source, each.target) == ("gpu02", "gpu03"), having(bytes_per_s=12e9))
            )
        ),
        "96.0 Gbit/s from GPUs by mlx5_0, 24% of 39",
        given=measured,
    ),
)
