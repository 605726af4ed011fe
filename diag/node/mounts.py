"""Which file system lies under a path, and how much of it is free?

A dead mount blocks the caller for good: the agent gives each path a request and a deadline of its own.
"""

from __future__ import annotations

import json
import os

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONTAINER_ROOTS = ("/var/lib/docker", "/var/lib/containerd", "/var/lib/containers")


def filesystem(path: str, root: str = "/") -> dict[str, Any]:
    """What statvfs and the mount table say; ``root`` is where the mount table's /proc lies. Raises OSError."""
    place = os.path.realpath(os.path.expanduser(path))
    space = os.statvfs(place)
    found = mount(proc.text(os.path.join(root, "proc/self/mountinfo"), 1 << 22), place)
    return {
        "path": path,
        "total": space.f_blocks * space.f_frsize,
        "free": space.f_bavail * space.f_frsize,
        "inodes": space.f_files,
        "free_inodes": space.f_favail,
        "read_only": bool(space.f_flag & os.ST_RDONLY),
        **found,
    }


def containers(root: str = "/") -> dict[str, Any] | None:
    """The file system of the container runtime's root; None: no runtime keeps anything here."""
    named = [_docker_root(os.path.join(root, "etc/docker/daemon.json")), *CONTAINER_ROOTS]
    for path in filter(None, named):
        if os.path.isdir(os.path.join(root, path.lstrip("/"))):
            return filesystem(path, root)
    return None


def _docker_root(path: str) -> str | None:
    try:
        asked = json.loads(proc.text(path)).get("data-root")
    except (OSError, ValueError, AttributeError):
        return None
    return asked if isinstance(asked, str) else None


def mount(mountinfo: str, path: str) -> dict[str, str]:
    """The mount that holds ``path``: the longest mount point above it, the last where several lie on one another."""
    best: dict[str, str] = {}
    for row in mountinfo.splitlines():
        before, _, after = row.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(rest) < 2:  # noqa: PLR2004 - proc(5): six fields before the dash, three after
            continue
        point = plain(fields[4])
        above = path == point or path.startswith(point.rstrip("/") + "/")
        if above and len(point) >= len(best.get("mount_point", "")):
            best = {"mount_point": point, "kind": rest[0], "source": plain(rest[1])}
    return best


def plain(field: str) -> str:
    r"""proc(5) writes blanks and backslashes as octal: ``\040``."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
