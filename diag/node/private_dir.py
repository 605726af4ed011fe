"""Where may a job's processes write? One 0700 folder, made when first needed, removed at the end."""

from __future__ import annotations

import contextlib
import os

USER_BASE = "PYTHONUSERBASE"  # packages installed with pip --user are found through HOME, which we change
PARENTS = ("/tmp", "/dev/shm", "/var/tmp")  # noqa: S108 - the folder's name is random, its mode 0700
PROBE_BYTES = 65536
FAR = ("nfs", "fuse", "lustre", "ceph", "cifs", "smb", "gpfs", "beegfs", "afs", "wekafs")


def candidates(token: str) -> list[str]:
    """Every path the folder may have, best first. What lies on a network comes last: it may hang, and is shared."""
    parents = (os.environ.get("TMPDIR"), *PARENTS, f"/run/user/{os.getuid()}")
    unique = dict.fromkeys(parent for parent in parents if parent)
    far = _far_folders()
    return [os.path.join(parent, "diag-" + token) for parent in sorted(unique, key=lambda p: _is_below(p, far))]


def make(token: str) -> str:
    """Make the folder where a file can really be written; a full or read-only disk is passed over. Raises OSError."""
    why = "no folder to try"
    for path in candidates(token):
        try:
            with contextlib.suppress(FileExistsError):  # the agent's code is kept there already
                os.mkdir(path, 0o700)
            _furnish(path)
            return path
        except OSError as error:
            why = str(error)
            remove(path)
    raise OSError("no private folder can be made: " + why)


def environment(path: str) -> dict[str, str]:
    """What sends the children's homes, temporary files and caches into the folder."""
    cache, temporary = os.path.join(path, "cache"), os.path.join(path, "tmp")
    return {
        "HOME": os.path.join(path, "home"),
        USER_BASE: os.environ.get(USER_BASE) or os.path.join(os.path.expanduser("~"), ".local"),
        "TMPDIR": temporary,
        "TMP": temporary,
        "TEMP": temporary,
        "XDG_CACHE_HOME": cache,
        "CUDA_CACHE_PATH": os.path.join(cache, "cuda"),
        "TRITON_CACHE_DIR": os.path.join(cache, "triton"),
        "TORCHINDUCTOR_CACHE_DIR": os.path.join(cache, "inductor"),
        "TORCH_EXTENSIONS_DIR": os.path.join(cache, "torch_extensions"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def remove(path: str) -> str | None:
    """Remove the folder and all in it, following no link. Why it is still there, or None."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return _remove_folder(path)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _remove_folder(path: str) -> str | None:
    reasons: list[str | None] = []
    try:
        os.chmod(path, 0o700)
        reasons += [remove(os.path.join(path, name)) for name in os.listdir(path)]
        os.rmdir(path)
    except OSError as error:
        return next(filter(None, reasons), None) or f"{path}: {error.strerror}"
    return None


def _furnish(path: str) -> None:
    for name in ("home", "tmp", "cache"):
        os.mkdir(os.path.join(path, name), 0o700)
    probe = os.path.join(path, "tmp", "probe")
    with open(probe, "wb") as file:
        file.write(bytes(PROBE_BYTES))
    os.unlink(probe)


def _far_folders() -> list[str]:
    try:
        with open("/proc/self/mounts") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return []
    return [fields[1] for fields in mounts if len(fields) > 2 and fields[2].startswith(FAR)]  # noqa: PLR2004 - the type


def _is_below(path: str, folders: list[str]) -> bool:
    return any((os.path.normpath(path) + "/").startswith(folder.rstrip("/") + "/") for folder in folders)
