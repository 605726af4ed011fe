"""Which labs exist on this machine, and which of them has nobody left to remove it?"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab import network, processes
from tests.lab.blueprint import MOST_LABS, interface

ROOT = Path("/run/diag-lab")
CGROUPS = Path("/sys/fs/cgroup")
NEEDS_ROOM = "needs-room"
NEIGHBOURS_BEFORE = ROOT / "neighbours.json"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The process that will remove the lab; None in its place means: a person will."""

    pid: int
    started: int

    @classmethod
    def this_process(cls) -> Owner:
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Owner:
        return cls(pid=pid, started=_start_time(pid))

    def lives(self) -> bool:
        with contextlib.suppress(OSError):
            return _start_time(self.pid) == self.started
        return False


NOBODY = Owner(pid=0, started=0)


def _start_time(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def folder(lab: int) -> Path:
    return ROOT / str(lab)


def claim(owner: Owner | None) -> int:
    """Remove what dead owners left, then take a free number."""
    with _locked():
        for lab in _numbers():
            if _abandoned(lab):
                _remove(lab)
        free = [number for number in range(MOST_LABS) if not folder(number).exists()]
        if not free:
            raise RuntimeError(f"{MOST_LABS} labs exist; python -m tests.lab down --all removes them")
        lab = free[0]
        _remove(lab)  # namespaces that lost their folder
        for part in ("", "log", "layers"):
            (folder(lab) / part).mkdir(mode=0o700)
        (folder(lab) / "owner").write_text(json.dumps(owner and [owner.pid, owner.started]))
        return lab


def remove(lab: int) -> None:
    with _locked():
        _remove(lab)


def standing() -> list[int]:
    """Labs made by hand, which a person removes; the newest last, whatever its number."""
    return sorted(
        (lab for lab in _numbers() if _owner(lab) is None), key=lambda lab: (folder(lab) / "owner").stat().st_mtime
    )


def everything() -> list[int]:
    return _numbers()


def abandoned() -> list[int]:
    return [lab for lab in _numbers() if _abandoned(lab)]


def make_room(lab: int) -> None:
    """Let this machine know hundreds of neighbours until the last lab that needs it is gone."""
    with _locked():
        (folder(lab) / NEEDS_ROOM).touch()
        if not NEIGHBOURS_BEFORE.exists():
            NEIGHBOURS_BEFORE.write_text(json.dumps(network.raise_neighbour_limits()))


def _remove(lab: int) -> None:
    processes.kill_all(processes.in_network_namespaces(network.namespaces(lab)))
    network.remove(lab)
    _remove_cgroups(lab)
    shutil.rmtree(folder(lab), ignore_errors=True)
    if NEIGHBOURS_BEFORE.exists() and not list(ROOT.glob(f"*/{NEEDS_ROOM}")):
        network.set_neighbour_limits(json.loads(NEIGHBOURS_BEFORE.read_text()))
        NEIGHBOURS_BEFORE.unlink()


def _remove_cgroups(lab: int) -> None:
    """Containers leave theirs behind when their engine is killed."""
    for folders in (CGROUPS.glob(interface(lab)), CGROUPS.glob(f"*/{interface(lab)}")):
        for top in folders:
            for path, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):  # the kernel lets go of it in its own time
                    Path(path).rmdir()


def _abandoned(lab: int) -> bool:
    owner = _owner(lab)
    return owner is not None and not owner.lives()


def _owner(lab: int) -> Owner | None:
    try:
        saved = json.loads((folder(lab) / "owner").read_text())
    except (OSError, ValueError):  # its maker died while it wrote that
        return NOBODY
    return saved and Owner(pid=saved[0], started=saved[1])


def _numbers() -> list[int]:
    return sorted(int(path.name) for path in ROOT.glob("[0-9]*"))


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    ROOT.mkdir(mode=0o700, exist_ok=True)
    with (ROOT / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
