"""Which faults can a host be born with? Each is a name; what it does is code that runs on the new host.

Standard library only: this runs as PID 1 of a host, before sshd.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from tests.lab import kernel

SHM_BYTES, SMALL_SHM_BYTES = 1 << 30, 64 << 20
DISK_BYTES, TMP_BYTES = 64 << 30, 1 << 30  # tmpfs: what is free costs nothing
SMALL_DISK_BYTES, SMALL_TMP_BYTES = 8 << 20, 1 << 20
NOFILE, LOW_NOFILE = 1 << 20, 256
LOW_MEMLOCK_BYTES = 64 << 10
CLOCK_SKEW_S = 37
OTHER_TORCH = "2.12.0+other"
HUNG_MOUNT = "/mnt/hung"
PASSWORD = "lab-password"
_PASSWORD_HASH = "$6$diaglab$XwVP1DhqmI.yErceY7SJ51NWeTMEM9zVQ5yvDkpmVaj8ViYX9nc5EUanxkkp1AI4Is01fQmvd0KBXQHJ/pY8N."

# name -> what is wrong with the host
FAULTS = {
    "sshd_down": "no sshd is started",
    "hostkey": "known_hosts has another key for it",
    "unknownkey": "known_hosts has no key for it",
    "noauth": "it accepts no key and no password",
    "password": f"it accepts no key, only root's password {PASSWORD!r}",
    "keyboard": f"it accepts no key, only root's password {PASSWORD!r}, asked for by PAM (keyboard-interactive)",
    "hosts127": "its own name resolves to 127.0.1.1 on it",
    "shm64m": "its /dev/shm has 64 MiB",
    "othertorch": f"its package metadata says torch {OTHER_TORCH}",
    "noisy": "its .bashrc prints on both streams",
    "fulldisk": "its / and its /tmp are full",
    "fullroot": "its / is full",
    "fulltmp": "its /tmp is full",
    "nopython": "it has no Python",
    "lownofile": f"its sshd and all below may open {LOW_NOFILE} files",
    "lowmemlock": f"its sshd and all below may lock {LOW_MEMLOCK_BYTES >> 10} KiB",
    "skew": f"its clock is {CLOCK_SKEW_S} s ahead (libfaketime)",
    "hungmount": f"whoever looks at {HUNG_MOUNT} hangs (killable)",
    "noshare": "the directories that the lab shares with its hosts are not there",
}


def plant(faults: Collection[str], venv: str) -> None:
    """Do what each fault asks for in the files of this host; ``venv`` is the project's."""
    for name, act in _IN_FILES.items():
        if name in faults:
            act(venv)


def _hide_python(venv: str) -> None:
    for folder in ("/usr/bin", "/usr/local/bin", f"{venv}/bin"):
        for path in Path(folder).glob("python*"):
            path.unlink()


def _other_torch(venv: str) -> None:
    for old in list(Path(venv, "lib").glob("python3*/site-packages/torch-*.dist-info")):
        new = old.with_name(f"torch-{OTHER_TORCH}.dist-info")
        shutil.copytree(old, new)  # an overlay cannot rename a folder of its lower layer
        shutil.rmtree(old)
        _replace_line(new / "METADATA", "Version: ", f"Version: {OTHER_TORCH}")
        _replace_line(old.parent / "torch" / "version.py", "__version__ = ", f"__version__ = '{OTHER_TORCH}'")


def _replace_line(path: Path, start: str, line: str) -> None:
    lines = path.read_text().splitlines()
    first = next(number for number, text in enumerate(lines) if text.startswith(start))
    lines[first] = line
    path.write_text("\n".join(lines) + "\n")


def _noisy_login(_venv: str) -> None:
    Path("/root/.bashrc").write_text('echo "Welcome to the noise; 3 updates can be applied"\necho "stderr noise" >&2\n')


def _skew_clock(_venv: str) -> None:
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    Path("/etc/faketimerc").write_text(f"+{CLOCK_SKEW_S}\n")
    Path("/etc/ld.so.preload").write_text(f"{library}\n")


def _hang_mount(_venv: str) -> None:
    """A FUSE mount whose server never reads a request."""
    Path(HUNG_MOUNT).mkdir(parents=True)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    os.set_inheritable(fuse, True)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0"
    kernel.mount("hung", HUNG_MOUNT, "fuse", kernel.MS_NOSUID | kernel.MS_NODEV, options)
    os.posix_spawn("/bin/sleep", ["sleep", "infinity"], {})
    os.close(fuse)


def _set_password(_venv: str) -> None:
    _replace_line(Path("/etc/shadow"), "root:", f"root:{_PASSWORD_HASH}:19000:0:99999:7:::")


def _fill(folder: str) -> None:
    with Path(folder, "fill").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError:
            return


def _fill_root(_venv: str) -> None:
    _fill("/var")


def _fill_tmp(_venv: str) -> None:
    _fill("/tmp")


def _fill_both(venv: str) -> None:
    _fill_root(venv)
    _fill_tmp(venv)


_IN_FILES: dict[str, Callable[[str], None]] = {
    "nopython": _hide_python,
    "othertorch": _other_torch,
    "noisy": _noisy_login,
    "password": _set_password,
    "keyboard": _set_password,
    "hungmount": _hang_mount,
    "skew": _skew_clock,
    "fullroot": _fill_root,
    "fulltmp": _fill_tmp,
    "fulldisk": _fill_both,
}
