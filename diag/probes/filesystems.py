"""Which file systems lie under the paths that engines use? Each path is a request: a dead mount hides no other."""

from __future__ import annotations

import msgspec

from diag.facts.record import NotMeasured
from diag.facts.system import Filesystem
from diag.probes.probe import Answers, Probe, Wishes, gap, told
from diag.probes.verbs import Ask, Request

PATHS = (("shm", "/dev/shm"), ("tmp", "/tmp"), ("root", "/"))  # noqa: S108 - looked at, not written to
PREFIX = "filesystem"
DEADLINE_S = 5.0

SHARED = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "ceph", "glusterfs", "beegfs", "wekafs", "panfs", "pvfs2",
    "orangefs", "gfs2", "ocfs2", "afs", "9p", "virtiofs", "vboxsf", "prl_fs", "quobyte", "cvmfs", "yrfs", "cpfs",
})  # fmt: skip
SHARED_FUSE = frozenset({
    "sshfs", "juicefs", "JuiceFS", "s3fs", "goofys", "gcsfuse", "mountpoint-s3", "rclone", "blobfuse", "blobfuse2",
    "ossfs", "cosfs", "obsfs", "ceph", "ceph-fuse", "glusterfs", "beegfs", "alluxio", "alluxio-fuse", "curvefs",
    "seaweedfs", "cubefs", "moosefs", "mfs", "lizardfs", "dfuse", "hf-mount", "quobyte",
})  # fmt: skip
LOCAL_FUSE = frozenset({"lxcfs", "fuse-overlayfs", "bindfs", "mergerfs", "ntfs-3g", "unionfs", "shfs"})

FIELDS = ("mount_point", "source", "kind", "shared", "total_bytes", "free_bytes", "free_inodes", "read_only")


class _Filesystem(msgspec.Struct, frozen=True):
    path: str
    total: int
    free: int
    inodes: int
    free_inodes: int
    read_only: bool
    mount_point: str | None = None
    kind: str | None = None
    source: str | None = None


def requests(wishes: Wishes) -> tuple[Request, ...]:
    paths = PATHS if wishes.model_path is None else (*PATHS, ("model", wishes.model_path))
    asked = tuple(
        Request(name=f"{PREFIX} {use} {path}", verb=Ask("mounts:filesystem", {"path": path}), deadline_s=DEADLINE_S)
        for use, path in paths
    )
    return (*asked, Request(name=f"{PREFIX} containers", verb=Ask("mounts:containers"), deadline_s=DEADLINE_S))


def read(answers: Answers) -> tuple[Filesystem, ...]:
    """One a path; a path that did not answer keeps its place, every field Missing with the reason."""
    asked = [name for name in answers if name.startswith(f"{PREFIX} ")]
    if not asked:
        raise NotMeasured("the node was not asked for file systems")
    return tuple(found for name in asked if (found := _one(answers, name)) is not None)


def _one(answers: Answers, name: str) -> Filesystem | None:
    _, _, rest = name.partition(" ")
    use, _, path = rest.partition(" ")
    if answers[name].why is None and answers[name].value is None:
        return None
    try:
        return _known(told(answers, name, _Filesystem), use)
    except NotMeasured as why:
        return _unknown(path or "the container runtime's root", use, str(why))


def _unknown(path: str, use: str, why: str) -> Filesystem:
    gaps = dict.fromkeys(FIELDS, gap(f"{path}: {why}"))
    return Filesystem(path=path, use=use, **gaps)


def _known(told_: _Filesystem, use: str) -> Filesystem:
    unlisted = gap(f"{told_.path} is in no mount of /proc/self/mountinfo")
    return Filesystem(
        path=told_.path,
        use=use,
        mount_point=told_.mount_point or unlisted,
        source=told_.source or unlisted,
        kind=told_.kind or unlisted,
        shared=unlisted if told_.kind is None else shared(told_.kind),
        total_bytes=told_.total,
        free_bytes=told_.free,
        free_inodes=told_.free_inodes if told_.inodes else None,
        read_only=told_.read_only,
    )


def shared(kind: str) -> bool:
    """Whether other nodes see the same files, by the type of the file system."""
    if kind in SHARED:
        return True
    if kind.startswith("fuse"):
        below = kind.partition(".")[2]
        if below in SHARED_FUSE:
            return True
        unknown: bool = gap(f"{kind}: not known whether other nodes see the same files")
        return False if below in LOCAL_FUSE else unknown
    return False


PROBE = Probe(topic="filesystems", requests=requests, read=read)
