"""Does the agent run in a container, and in which kind?"""

from __future__ import annotations

from diag.facts.record import UNASKED, Known, Record


class Container(Record, frozen=True, kw_only=True):
    """``kind``: ``docker``, ``podman``, ``kubernetes``, ``lxc``, ``other``; None: the host itself."""

    kind: Known[str | None] = UNASKED
    told_by: str = ""
    """Which file or variable says so."""
