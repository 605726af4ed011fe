"""Does the agent run in a container, and which sign says so?"""

from __future__ import annotations

import re

import msgspec

from diag.facts.container import Container
from diag.probes.probe import Answers, Probe, always, gap, told
from diag.probes.verbs import Ask, Request

FIRST_MOUNT_NAMESPACES = ("mnt:[4026531832]", "mnt:[4026531840]", "mnt:[4026531841]")
"""The machine's own: fixed as MNT_NS_INIT_INO since Linux 6.18 (linux/nsfs.h), the first dynamic number before."""

FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""The machine's own, of which NVML's pids are: PROC_PID_INIT_INO (linux/proc_ns.h)."""

KINDS = (
    ("kubepods", "kubernetes"),
    ("libpod", "podman"),
    ("docker", "docker"),
    ("containerd", "other"),
    ("lxc", "lxc"),
)
"""Words in a cgroup's path and who writes them; Kubernetes' paths may name docker too."""


class _Signs(msgspec.Struct, frozen=True):
    files: tuple[str, ...] = ()
    variable: str | None = None
    init_variable: str | None = None
    kubernetes: bool = False
    systemd: str | None = None
    cgroup: str | None = None
    init_cgroup: str | None = None
    mount_namespace: str | None = None
    pid_namespace: str | None = None
    rdma_files: tuple[str, ...] | None = None
    verbs_library: bool | None = None


def read(answers: Answers) -> Container:
    signs = told(answers, "container", _Signs)
    rdma = {name: getattr(signs, name) for name in ("rdma_files", "verbs_library")}
    seen = {name: gap("this agent did not look") if value is None else value for name, value in rdma.items()}
    own = signs.pid_namespace
    pids = gap("/proc/self/ns/pid cannot be read") if own is None else own == FIRST_PID_NAMESPACE
    return msgspec.structs.replace(kind_of(signs), pids_of_machine=pids, **seen)


def kind_of(signs: _Signs) -> Container:
    """In the machine's first mount namespace a left-over marker file proves nothing (images made from containers)."""
    if signs.mount_namespace in FIRST_MOUNT_NAMESPACES:
        return Container(kind=None, told_by="the first mount namespace")
    if signs.kubernetes:
        return Container(kind="kubernetes", told_by="KUBERNETES_SERVICE_HOST")
    for file, kind in (("/run/.containerenv", "podman"), ("/.dockerenv", "docker")):
        if file in signs.files:
            return Container(kind=kind, told_by=file)
    for where, said in (
        ("container=", signs.variable or signs.init_variable),
        ("/run/systemd/container", signs.systemd),
    ):
        if said:
            return Container(kind=_kind(said), told_by=f"{where}{said}" if where.endswith("=") else where)
    return _by_cgroup(signs) or _by_pids(signs)


def _by_cgroup(signs: _Signs) -> Container | None:
    paths = re.findall(r"^[0-9]+:[^:]*:(.*)$", f"{signs.cgroup or ''}\n{signs.init_cgroup or ''}", re.MULTILINE)
    for word, kind in KINDS:
        for path in paths:
            if re.search(rf"(^|[/.:-]){word}", path) and "user.slice" not in path and ".service" not in path:
                return Container(kind=kind, told_by=f"cgroup {path}")
    return None


def _by_pids(signs: _Signs) -> Container:
    """A container of nerdctl has no marker file; in a cgroup namespace of its own the path is ``/``."""
    if signs.pid_namespace not in (None, FIRST_PID_NAMESPACE):
        return Container(kind="other", told_by="a pid namespace of its own")
    return Container(kind=None, told_by="no sign of one")


def _kind(said: str) -> str:
    return next(
        (kind for word, kind in KINDS if word in said),
        "lxc" if "lxc" in said else "podman" if said == "oci" else "other",
    )


PROBE = Probe(topic="container", requests=always(Request(name="container", verb=Ask("containers:signs"))), read=read)
