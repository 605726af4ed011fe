"""Changes that make the checks of checks/clock.py fail."""

from __future__ import annotations

from tests.checks.changes import (
    having,
    on,
)
from tests.checks.pair import two

PAIRS = (
    two("clock_agrees_with_peers", on("gpu02", clock=having(offset_s=37.0)), "37.0 s ahead of"),
    two("clock_agrees_with_peers", on("gpu02", clock=having(offset_s=-5.0)), "5.0 s behind"),
)
