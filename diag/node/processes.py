"""Which engines, Ray daemons and users of accelerators run here? Command lines may hold secrets: they stay here."""

from __future__ import annotations

import os

import pci
import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ENGINES = (
    ("vllm", ("vllm",), "VLLM::"),
    ("sglang", ("sglang", "sglang_router"), "sglang::"),
    ("lmdeploy", ("lmdeploy",), "lmdeploy::"),
    ("ollama", ("ollama",), "ollama::"),
    ("ray", ("raylet", "gcs_server", "ray"), "ray::"),
    ("gpu", ("tritonserver", "trtllm-serve", "text-generation-launcher", "text-generation-server", "llama-server",
             "mindieservice_daemon"), "TGI::"),
)  # fmt: skip
"""Kind, programs (or packages behind ``python -m``), and how the titles begin that its processes give themselves."""
MONITORS = (
    "nvidia-persiste", "nv-hostengine", "dcgm", "nvidia-smi", "nv-fabricmanage", "nvidia-device-p", "nvidia-powerd",
    "nvtop", "nvitop", "gpustat", "gpud", "Xorg", "Xwayland", "gnome-shell", "systemd", "mx-smi", "mx-exporter",
    "rocm-smi", "amd-smi", "npu-smi", "node_exporter", "telegraf", "nvsm",
)  # fmt: skip
"""Hold a device file open and use no GPU; as the kernel keeps the name, 15 characters at most."""
OF_A_KIND = 8
"""Ray alone has a process a core."""


def processes(root: str = "/") -> list[dict[str, Any]]:
    """At most OF_A_KIND of each; never this process, its ancestors or what it started. OSError: /proc is closed."""
    folder = os.path.join(root, "proc")
    proc.text(os.path.join(folder, "1/cmdline"))  # where other users' processes are hidden, nothing can be said
    devices = tuple(name.rstrip("0123456789") for name in pci.files(root))
    found: list[dict[str, Any]] = []
    for pid in user_space(folder):
        here = os.path.join(folder, pid)
        row = _engine(here) or (_holder(here, devices) if devices else None)
        if row and sum(one["kind"] == row["kind"] for one in found) < OF_A_KIND and not _ours(folder, int(pid)):
            found.append({"pid": int(pid), **row, **_circumstances(folder, here)})
    return found


def user_space(folder: str) -> list[str]:
    """All pids but those of kernel threads, of which a large machine has thousands."""
    kernel: set[str] = set()
    if proc.line(os.path.join(folder, "2/comm")) == "kthreadd":  # in a container, 2 is somebody
        kernel.update((proc.line(os.path.join(folder, "2/task/2/children"), 1 << 20) or "").split())
    return [pid for pid in proc.names(folder) if pid.isdigit() and pid not in kernel]


def _engine(here: str) -> dict[str, str] | None:
    try:
        words = proc.text(os.path.join(here, "cmdline"), 2048).split("\0")
    except OSError:
        return None
    return engine(words)


def engine(words: list[str]) -> dict[str, str] | None:
    """Kind and name by the program (or the script or module of an interpreter), or by the process's own title."""
    program = _program(words)
    for kind, programs, title in ENGINES:
        if words[0].startswith(title):
            return {"kind": kind, "name": words[0].split()[0]}
        if program.partition(".")[0] in programs:
            return {"kind": kind, "name": program}
    return None


def _program(words: list[str]) -> str:
    """The first word's program; behind a Python and its options the script or module."""
    name = os.path.basename(words[0])
    if name.rstrip("0123456789.") not in ("python", "pypy"):
        return name
    return next((os.path.basename(word) for word in words[1:] if word and not word.startswith("-")), name)


def _holder(here: str, devices: tuple[str, ...]) -> dict[str, str] | None:
    """A process that holds an accelerator's device file open; only its owner and root can see that."""
    folder = os.path.join(here, "fd")
    for fd in proc.names(folder):
        try:
            target = os.readlink(os.path.join(folder, fd))
        except OSError:
            continue
        if target.startswith("/dev/") and target.rstrip("0123456789") in devices:
            name = proc.line(os.path.join(here, "comm")) or "?"
            return None if name.startswith(MONITORS) else {"kind": "gpu", "name": name}
    return None


def _ours(folder: str, pid: int) -> bool:
    """Whether ``pid`` is this process, one of its ancestors or descendants, or of an agent inside a container."""
    me = os.getpid()
    return me in _line_of(folder, pid) or pid in _line_of(folder, me) or _is_marked(os.path.join(folder, str(pid)))


def _is_marked(here: str) -> bool:
    try:
        return "\0DIAG_JOB=" in "\0" + proc.text(os.path.join(here, "environ"), 1 << 20)
    except OSError:
        return False


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
    """From /etc/passwd only: a directory service may hang."""
    for row in _passwd().splitlines():
        name, _, rest = row.partition(":")
        if rest.split(":")[1:2] == [str(uid)]:
            return name
    return str(uid)


def _passwd() -> str:
    try:
        return proc.text("/etc/passwd", 1 << 20)
    except OSError:
        return ""
