"""What the planner does not know: raised where it is noticed, answered as the verdict UNKNOWN, never guessed."""

from __future__ import annotations

import difflib
from collections.abc import Collection

NEAREST = 3


class NotKnown(Exception):  # noqa: N818 - it is the verdict UNKNOWN, not an error of the program
    """``what`` is not known, in one line; ``lever`` is what would make it known."""

    def __init__(self, what: str, lever: str | None = None) -> None:
        self.lever = lever
        super().__init__(what)


def others(name: str, known: Collection[str]) -> str:
    """What a table has instead of ``name``, in few words."""
    near = difflib.get_close_matches(name, known, NEAREST)
    return f"the planner knows {len(known)} others" + (f", nearest {', '.join(near)}" if near else "")
