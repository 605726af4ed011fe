"""Which signs of a container does this process see, and which files of RDMA devices does one have?"""

from __future__ import annotations

import os

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


VERBS = "dev/infiniband"


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
        "pid_namespace": proc.link(os.path.join(root, "proc/self/ns/pid")),
        "rdma_files": sorted(name for name in proc.names(os.path.join(root, VERBS)) if name.startswith("uverbs")),
        "verbs_library": has_library("libibverbs.so.1", root),
    }


def has_library(name: str, root: str = "/") -> bool:
    """Whether the loader would find it: in LD_LIBRARY_PATH, or by its cache; nothing is loaded."""
    return library(name, root) is not None


def library(name: str, root: str = "/") -> str | None:
    """The name of the file that the loader would find, links followed: ``libibverbs.so.1.14.44.0``."""
    folders = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    places = [os.path.join(folder, name) for folder in folders]
    try:
        with open(os.path.join(root, "etc/ld.so.cache"), "rb") as file:
            paths = [text for text in file.read().split(b"\0") if text.endswith(b"/" + name.encode())]
    except OSError:
        paths = []
    known = [path[path.index(b"/") + 1 :].decode("utf-8", "replace") for path in paths]
    places += [os.path.join(root, path) for path in (*known, "lib/" + name, "usr/lib/" + name)]
    return next((os.path.basename(os.path.realpath(place)) for place in places if os.path.exists(place)), None)


def _variable(path: str, name: str) -> str | None:
    """A variable of PID 1; only its own user may look."""
    try:
        rows = proc.text(path).split("\0")
    except OSError:
        return None
    return next((row.partition("=")[2] for row in rows if row.startswith(f"{name}=")), None)
