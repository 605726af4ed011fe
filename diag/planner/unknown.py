"""What the planner does not know: raised where it is noticed, answered as the verdict UNKNOWN, never guessed."""

from __future__ import annotations


class NotKnown(Exception):  # noqa: N818 - it is the verdict UNKNOWN, not an error of the program
    """``what`` is not known, in one line; ``lever`` is what would make it known."""

    def __init__(self, what: str, lever: str | None = None) -> None:
        self.lever = lever
        super().__init__(what)
