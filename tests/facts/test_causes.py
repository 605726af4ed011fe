"""Is every cause in the table one that something names?"""

from __future__ import annotations

from pathlib import Path

import pytest

from diag.facts.causes import CAUSES

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "diag" / "facts" / "causes.py"
CODE = "\n".join(
    path.read_text() for folder in ("diag", "checks") for path in sorted((ROOT / folder).rglob("*.py")) if path != TABLE
)


@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_is_named_by_somebody(cause):
    assert f'"{cause}"' in CODE
