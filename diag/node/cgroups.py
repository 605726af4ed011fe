"""Which memory limit do the cgroups of this process set, and how much of it is used? Versions 1 and 2.

A limit holds for everything below it, so every ancestor is looked at; those outside a container are invisible in it.
"""

from __future__ import annotations

import os

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNLIMITED_V1 = 1 << 60
"""Version 1 writes "no limit" as the largest multiple of the page size; no machine has an exbibyte."""
FILES = {1: ("memory.limit_in_bytes", "memory.usage_in_bytes"), 2: ("memory.max", "memory.current")}


def memory(root: str = "/") -> dict[str, Any]:
    """``{"cgroup", "version", "limit", "used"}`` of the tightest ancestor; limit None: none of them sets one.

    Raises OSError where /proc does not tell, LookupError where the hierarchy is not mounted.
    """
    version, group = _group(proc.text(os.path.join(root, "proc/self/cgroup")))
    mounts = proc.text(os.path.join(root, "proc/self/mountinfo"), 1 << 20)
    mounted, top = _mount(mounts, version)
    inside = os.path.relpath(group, top) if group.startswith(top.rstrip("/") + "/") else "."
    folder = os.path.normpath(os.path.join(root, mounted.lstrip("/"), inside))
    found = [limit for limit in _ancestors(folder, os.path.join(root, mounted.lstrip("/")), version) if limit]
    tightest = min(found, key=lambda row: row["limit"]) if found else {"limit": None, "used": None}
    return {"version": version, "cgroup": group, **tightest}


def _group(text: str) -> tuple[int, str]:
    """The process's memory cgroup: ``4:memory:/a/b`` (version 1) or ``0::/a/b`` (version 2)."""
    unified = None
    for row in text.splitlines():
        number, _, rest = row.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            return 1, path
        if number == "0" and not controllers:
            unified = path
    if unified is None:
        raise LookupError("no memory cgroup in /proc/self/cgroup")
    return 2, unified


def _mount(mountinfo: str, version: int) -> tuple[str, str]:
    """Where the hierarchy is mounted, and which cgroup is its top there."""
    for row in mountinfo.splitlines():
        before, _, after = row.partition(" - ")
        kind, _, rest = after.partition(" ")
        fields = before.split(" ")
        options = rest.rpartition(" ")[2].split(",")
        right = kind == "cgroup2" if version == 2 else kind == "cgroup" and "memory" in options  # noqa: PLR2004 - cgroup v2
        if right and len(fields) > 4:  # noqa: PLR2004 - the field after "root" is the mount point
            return fields[4], fields[3]
    raise LookupError(f"the memory hierarchy of cgroup v{version} is not mounted here")


def _ancestors(folder: str, top: str, version: int) -> list[dict[str, Any]]:
    limit_file, used_file = FILES[version]
    top = os.path.normpath(top)
    rows = []
    while True:
        limit = _number(proc.line(os.path.join(folder, limit_file)))
        if limit is not None and limit < UNLIMITED_V1:
            rows.append({"limit": limit, "used": _number(proc.line(os.path.join(folder, used_file)))})
        if folder == top or not folder.startswith(top):
            return rows
        folder = os.path.dirname(folder)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
