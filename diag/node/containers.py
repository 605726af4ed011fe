"""Which signs of a container does this process see?"""

from __future__ import annotations

import os

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def signs(root: str = "/") -> dict[str, Any]:
    """Marker files, variables and cgroups that container runtimes leave; nothing that can hold a secret."""
    exists = os.path.exists
    return {
        "files": [name for name in ("/.dockerenv", "/run/.containerenv") if exists(os.path.join(root, name[1:]))],
        "variable": os.environ.get("container"),  # noqa: SIM112 - systemd spells it so
        "init_variable": _variable(os.path.join(root, "proc/1/environ"), "container"),
        "kubernetes": "KUBERNETES_SERVICE_HOST" in os.environ,
        "systemd": proc.line(os.path.join(root, "run/systemd/container")),
        "cgroup": proc.line(os.path.join(root, "proc/self/cgroup")),
        "init_cgroup": proc.line(os.path.join(root, "proc/1/cgroup")),
        "mount_namespace": proc.link(os.path.join(root, "proc/self/ns/mnt")),
    }


def _variable(path: str, name: str) -> str | None:
    """A variable of PID 1; only its own user may look."""
    try:
        rows = proc.text(path).split("\0")
    except OSError:
        return None
    return next((row.partition("=")[2] for row in rows if row.startswith(f"{name}=")), None)
