"""Where may a job's processes write? One 0700 folder, made when first needed, removed at the end."""

import os

KEPT_FROM_HOME = "PYTHONUSERBASE"  # packages installed with pip --user are found through HOME


def candidates(token):
    """Every path the folder may have, best first."""
    parents = (os.environ.get("TMPDIR"), "/tmp", "/dev/shm", "/var/tmp", "/run/user/{}".format(os.getuid()))
    unique = list(dict.fromkeys(parent for parent in parents if parent))
    return [os.path.join(parent, "diag-" + token) for parent in unique]


def make(token):
    """Make the folder where a file can really be written; a full or read-only disk is passed over. Raises OSError."""
    why = "no folder to try"
    for path in candidates(token):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            return path  # ours: the token is random
        except OSError as error:
            why = str(error)
            continue
        try:
            _fill(path)
            return path
        except OSError as error:
            why = str(error)
            remove(path)
    raise OSError("no private folder can be made: " + why)


def _fill(path):
    for name in ("home", "tmp", "cache"):
        os.mkdir(os.path.join(path, name), 0o700)
    probe = os.path.join(path, "tmp", "probe")
    with open(probe, "wb") as file:
        file.write(bytes(65536))
    os.unlink(probe)


def environment(path):
    """What sends the children's homes, temporary files and caches into the folder."""
    cache = os.path.join(path, "cache")
    temporary = os.path.join(path, "tmp")
    user_base = os.environ.get(KEPT_FROM_HOME) or os.path.join(os.path.expanduser("~"), ".local")
    return {
        "HOME": os.path.join(path, "home"),
        KEPT_FROM_HOME: user_base,
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


def remove(path):
    """Remove the folder and all in it, following no link. Why it is still there, or None."""
    why = None
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files + folders:
            entry = os.path.join(folder, name)
            try:
                os.rmdir(entry) if name in folders and not os.path.islink(entry) else os.unlink(entry)
            except OSError as error:
                why = "{}: {}".format(entry, error.strerror)
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return why or "{}: {}".format(path, error.strerror)
    return None
