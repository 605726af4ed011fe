"""Which versions would this interpreter load? Read from package metadata and file names: nothing is imported."""

from __future__ import annotations

import os
import sys
import time

import proc
import verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INFO = (".dist-info", ".egg-info")
TOOL_S = 3.0


def software(names: list[str], prefixes: list[str], root: str = "/") -> dict[str, Any]:
    """``packages``: normalised name -> version, for ``names`` and what starts with one of ``prefixes``."""
    found = packages(frozenset(names), tuple(prefixes), sys.path)
    return {
        "python": sys.version.split()[0],
        "packages": {name: version for name, (version, _) in found.items()},
        "torch": _torch(found.get("torch", ("", ""))[1]),
        "nccl_files": nccl_files(root),
        "driver": proc.line(os.path.join(root, "sys/module/nvidia/version")),
        "ollama": _ollama(),
    }


def packages(names: frozenset[str], prefixes: tuple[str, ...], path: list[str]) -> dict[str, tuple[str, str]]:
    """Name -> (version, folder); the first folder of the path wins, as it does for an import."""
    found: dict[str, tuple[str, str]] = {}
    for folder in dict.fromkeys(path):
        here: dict[str, tuple[str, str]] = {}
        for entry in proc.names(folder or "."):
            name, version = _named(entry)
            if name in names or (name and name.startswith(prefixes)):
                here[name] = (_version(os.path.join(folder, entry)) or version, folder)
        found = {**here, **found}
    return found


def _named(entry: str) -> tuple[str, str]:
    """``flash_attn-2.8.0.dist-info``, ``lmdeploy-0.18.0-py3.10.egg-info`` -> name and version; empty: neither."""
    if not entry.endswith(INFO):
        return "", ""
    name, _, version = entry[: -len(INFO[0])].partition("-")
    return name.lower().replace("_", "-").replace(".", "-"), version.partition("-")[0]


def _version(info: str) -> str | None:
    """The version of a METADATA or PKG-INFO file; its head is enough."""
    for path in (os.path.join(info, "METADATA"), os.path.join(info, "PKG-INFO"), info):
        try:
            head = proc.text(path, 4096)
        except OSError:
            continue
        return next((row[8:].strip() for row in head.splitlines() if row.startswith("Version:")), None)
    return None


def _torch(folder: str) -> dict[str, str | None] | None:
    """``version``, ``cuda`` and ``hip`` of torch's version.py, read, not run; None: no such file."""
    for place in [folder] if folder else [entry for entry in sys.path if entry]:
        try:
            source = proc.text(os.path.join(place, "torch/version.py"), 8192)
        except OSError:
            continue
        return {
            key: _assigned(source, name) for key, name in (("version", "__version__"), ("cuda", "cuda"), ("hip", "hip"))
        }
    return None


def _assigned(source: str, name: str) -> str | None:
    """The text that a line like ``cuda: Optional[str] = '12.8'`` assigns; None: no such line, or no text."""
    for row in source.splitlines():
        target, _, value = row.partition("=")
        value = value.strip()
        if target.partition(":")[0].strip() == name and value[:1] in ("'", '"'):
            return value.strip("'\"")
    return None


def nccl_files(root: str = "/") -> list[str]:
    """Names of the NCCL libraries that the loader would find, links followed: ``libnccl.so.2.27.3``."""
    own = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    places = [os.path.join(folder, "libnccl.so.2") for folder in own]
    try:
        with open(os.path.join(root, "etc/ld.so.cache"), "rb") as file:
            cache = file.read()
    except OSError:
        cache = b""
    if b"/libnccl.so" in cache:
        named = [text.decode("utf-8", "replace") for text in cache.split(b"\0") if b"/libnccl.so" in text]
        places += [os.path.join(root, path[path.index("/") + 1 :]) for path in named]
    real = (os.path.basename(os.path.realpath(place)) for place in places if os.path.exists(place))
    return list(dict.fromkeys(real))


def _ollama() -> str | None:
    """What ``ollama --version`` prints; it is kept from asking a running server (port 0 accepts nothing)."""
    folders = os.environ.get("PATH", os.defpath).split(":")
    tool = next((path for path in (os.path.join(f, "ollama") for f in folders) if os.access(path, os.X_OK)), None)
    if tool is None:
        return None
    env = {"PATH": os.defpath, "HOME": "/nonexistent", "OLLAMA_HOST": "127.0.0.1:0"}
    done = verbs.run([tool, "--version"], env, 400, time.monotonic() + TOOL_S)
    return str(done["stdout"] + done["stderr"])
