"""Where on its host does the engine run: behind a wrapper, in a container, in one made of an image? One of them.

The more particular source wins as a whole: who types ``--image`` takes back the ``container`` of a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diag.errors import DiagError
from diag.inventory.host import Host

WAYS = ("exec", "image", "container")


def require_one_way(settings: Mapping[str, Any], where: str, mark: str = "") -> None:
    """Of what one source says of a host. ``mark``: what stands before an option's name, ``--`` on a command line."""
    named = [f"{mark}{way}" for way in WAYS if settings.get(way)]
    if len(named) > 1:
        raise DiagError(where, f"{' and '.join(named)}: an engine runs in one place", do="give one of them")


def over(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a source says, and with it what it takes back of sources that count less."""
    if not any(settings.get(way) for way in WAYS):
        return dict(settings)
    taken_back: dict[str, Any] = {"exec": (), "image": None, "container": None}
    if settings.get("exec"):
        taken_back["runtime"] = None
    return taken_back | dict(settings)


def require_use_of_runtime(host: Host) -> Host:
    """A runtime is of use for a container only."""
    if host.runtime is None or host.image or host.container:
        return host
    what = f"runtime {host.runtime} for {host.name}: no container to enter, no image to start"
    raise DiagError(host.where, what, do="name one with --container or --image, or leave the runtime out")
