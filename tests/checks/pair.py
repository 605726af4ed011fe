"""What is a pair? A healthy cluster on which a check passes, and the one change after which it fails, and on whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from diag.facts.snapshot import Snapshot
from tests.checks.changes import Change, as_is
from tests.checks.healthy import gpu_cluster


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """``given`` makes the check apply where the healthy cluster has nothing to apply it to."""

    check: str
    change: Change
    named: tuple[str | None, ...]
    found: str
    cluster: Callable[[], Snapshot] = gpu_cluster
    given: Change = as_is
    also: frozenset[str] = frozenset()
    """Other checks that fail, rightly, for the same reason."""


def two(check: str, change: Change, found: str, **options: Any) -> Pair:
    """The commonest: the change is on the second node of the GPU cluster, and only that one is named."""
    return Pair(check=check, change=change, named=("gpu02",), found=found, **options)
