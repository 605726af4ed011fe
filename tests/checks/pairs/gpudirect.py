"""Changes that make the checks of checks/gpudirect.py fail."""

from __future__ import annotations

from tests.checks.changes import having, item, of_cluster
from tests.checks.pair import Pair
from tests.checks.pairs.links import by_rdma

PAIRS = (
    Pair(
        check="rails_carry_as_much_from_gpus",
        given=by_rdma,
        change=of_cluster(links=having(on_gpus=item(lambda each: each.source == "gpu02", having(bytes_per_s=12e9)))),
        named=("gpu02", "gpu02"),
        found="96.0 Gbit/s from GPUs by mlx5_0, 24% of 392.0 Gbit/s",
    ),
)
