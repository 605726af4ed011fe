"""In what was the engine's side of a node measured, where that is a container and diag entered or started it?"""

from __future__ import annotations

from diag.facts.record import UNASKED, Known, Record


class Inside(Record, frozen=True, kw_only=True):
    """``container``: the name of the one that was entered; None: one was started of ``image`` for this run."""

    runtime: str
    """``docker``, ``nerdctl`` or ``podman``."""
    container: str | None = None
    image: Known[str] = UNASKED
    """As the user or the container's maker called it."""
    image_id: Known[str] = UNASKED
    command: tuple[str, ...] = ()
    """What was put before the interpreter; of the environment the names alone."""
    without: tuple[str, ...] = ()
    """What could not be handed to the container that was started, each with why."""
