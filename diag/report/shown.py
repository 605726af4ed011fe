"""What is a page made from?"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from diag.catalogue import Check
from diag.facts.plan import Plan
from diag.facts.remedy import NO_WAYS, Ways
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import Verdicts


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """``verbosity``: −1 failures and counts only, 0 a page, 1 every check and subject. ``place``: the run directory."""

    verdicts: Verdicts
    snapshot: Snapshot
    checks: Mapping[str, Check] = {}
    plan: Plan | None = None
    place: str = ""
    verbosity: int = 0
    slowest: Mapping[str, str] = {}
    """Stage -> the node that the others waited for."""
    exit_status: int = 0
    ends_because: str = ""
    """What the status means, where it does not follow from the verdicts."""
    ways: Ways = NO_WAYS
    """How the nodes were reached in this run."""
