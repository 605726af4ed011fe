"""Which engines, Ray daemons and users of accelerators run here? Command lines may hold secrets: they stay here."""

from __future__ import annotations

import os
from typing import Any

import pci
import proc

ENGINES = (
    ("vllm", ("vllm", "vllm.entrypoints"), ("VLLM::",)),
    ("sglang", ("sglang", "sglang.launch_server", "sglang_router"), ("sglang::",)),
    ("lmdeploy", ("lmdeploy",), ()),
    ("ollama", ("ollama",), ()),
    ("ray", ("raylet", "gcs_server", "ray"), ("ray::",)),
    ("gpu", ("tritonserver", "trtllm-serve", "text-generation-launcher", "text-generation-server", "llama-server",
             "mindieservice_daemon", "nvidia-cuda-mps-server"), ()),
)  # fmt: skip
"""Kind, words of a command line (program names or modules of ``-m``), beginnings of a process title."""
INTERPRETERS = ("python", "pypy", "bash", "sh", "env", "uv", "torchrun", "numactl", "tini", "dumb-init")
WORDS_LOOKED_AT = 8


def processes(root: str = "/") -> list[dict[str, Any]]:
    """Never this process, its ancestors or what it started."""
    folder = os.path.join(root, "proc")
    kernel = set((proc.line(os.path.join(folder, "2/task/2/children")) or "").split())
    devices = tuple(name.rstrip("0123456789") for name in pci.files(root))
    found = []
    for pid in proc.names(folder):
        if not pid.isdigit() or pid in kernel or pid == "2":
            continue
        here = os.path.join(folder, pid)
        row = _engine(here) or (devices and _holder(here, devices)) or None
        if row and not _ours(folder, int(pid)):
            found.append({"pid": int(pid), **row, **_circumstances(folder, here)})
    return found


def _engine(here: str) -> dict[str, str] | None:
    try:
        words = proc.text(os.path.join(here, "cmdline"), 2048).split("\0")
    except OSError:
        return None
    return engine(words)


def engine(words: list[str]) -> dict[str, str] | None:
    """Kind and name by the program (or the script or module of an interpreter), or by the process's own title."""
    said = _said(words)
    for kind, programs, titles in ENGINES:
        if titles and words[0].startswith(titles):
            return {"kind": kind, "name": words[0].split()[0]}
        for word in said:
            if word in programs or any(word.startswith(f"{program}.") for program in programs):
                return {"kind": kind, "name": word}
    return None


def _said(words: list[str]) -> list[str]:
    """Program names of a command line: its first word, and behind interpreters and their options the next ones."""
    found = []
    for word in words[:WORDS_LOOKED_AT]:
        if not word or word.startswith("-"):
            continue
        name = os.path.basename(word)
        found.append(name)
        if not name.rstrip("0123456789.").startswith(INTERPRETERS):
            break
    return found


def _holder(here: str, devices: tuple[str, ...]) -> dict[str, str] | None:
    """A process that holds an accelerator's device file open; only its owner and root can see that."""
    folder = os.path.join(here, "fd")
    for fd in proc.names(folder):
        try:
            target = os.readlink(os.path.join(folder, fd))
        except OSError:
            continue
        if target.startswith("/dev/") and target.rstrip("0123456789") in devices:
            return {"kind": "gpu", "name": proc.line(os.path.join(here, "comm")) or "?"}
    return None


def _ours(folder: str, pid: int) -> bool:
    """Whether ``pid`` is this process, one of its ancestors or one of its descendants."""
    me = os.getpid()
    return me in _line_of(folder, pid) or pid in _line_of(folder, me)


def _line_of(folder: str, pid: int) -> list[int]:
    """A process and its ancestors."""
    line = []
    while pid > 0 and pid not in line:
        line.append(pid)
        pid = _parent(folder, pid)
    return line


def _parent(folder: str, pid: int) -> int:
    stat = proc.line(os.path.join(folder, str(pid), "stat")) or ""
    fields = stat.rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _circumstances(folder: str, here: str) -> dict[str, Any]:
    """Who runs it, and for how long."""
    try:
        uid = os.stat(here).st_uid
        ticks = int((proc.line(os.path.join(here, "stat")) or "").rpartition(")")[2].split()[19])
        up = float((proc.line(os.path.join(folder, "uptime")) or "").split()[0])
        return {"user": _user(uid), "age_s": round(up - ticks / os.sysconf("SC_CLK_TCK"), 1)}
    except (OSError, ValueError, IndexError):
        return {"user": None, "age_s": None}


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
