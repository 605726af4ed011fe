"""Do the values of NCCL's lists of names mean here what they mean to NCCL?"""

from __future__ import annotations

import pytest

from diag.facts.selectors import selector

NAMES = ("mlx5_0", "mlx5_1", "mlx5_10", "mlx5_9")


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("mlx5_1", ("mlx5_1", "mlx5_10")),
        ("=mlx5_1", ("mlx5_1",)),
        ("^mlx5_1", ("mlx5_0", "mlx5_9")),
        ("^=mlx5_9", ("mlx5_0", "mlx5_1", "mlx5_10")),
        ("=mlx5_0,mlx5_1", ("mlx5_0", "mlx5_1")),
        ("=mlx5_0:1,mlx5_1:2", ("mlx5_0",)),
        ("=mlx5_0:1:0", ("mlx5_0",)),
        ("bnxt", ()),
        ("", NAMES),
    ],
)
def test_prefixes_exact_names_and_what_is_left_out(value, taken):
    assert tuple(name for name in NAMES if selector(value).takes(name, 1)) == taken


def test_a_port_matters_only_where_there_are_ports():
    assert selector("=eth0:1").takes("eth0")
    assert not selector("=mlx5_0:1").takes("mlx5_0", 2)
