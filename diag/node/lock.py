"""Is another diag at work on this node? One flock per node; the file says who holds it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATHS = ("/tmp/diag.lock", "/dev/shm/diag.lock")  # noqa: S108 - opened with O_NOFOLLOW, never trusted
TRIES = 10
ENDING_S = 6.0
"""How long a holder that says it is ending is waited for: a run that was interrupted still tidies up behind itself."""
FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Lock:
    """Held from ``take`` until ``release`` or the process's end; the kernel lets go of it even after SIGKILL."""

    def __init__(self, paths: tuple[str, ...] = (), token: str = "") -> None:
        """``token`` names the agent that holds it: two agents of one run may meet on one machine."""
        self.token = token
        inside = os.environ.get("DIAG_JOB", "").endswith(".inside")
        self.paths = paths or (() if inside else PATHS)  # in a container it is the host's agent that holds the lock
        self.path: str | None = None
        self.fd = -1

    def take(self, user: str) -> dict[str, Any]:
        """``{"held": True}``, or ``{"held": False}`` with who holds it, or why it cannot be held."""
        reasons = []
        for path in self.paths:
            try:
                return self._take(path, user)
            except OSError as error:
                reasons.append(f"{path}: {error.strerror}")
        nobody = {"pid": None, "started": None, "user": None, "token": ""}
        return {"held": False, **nobody, "why": "no lock: " + "; ".join(reasons)}

    def _take(self, path: str, user: str) -> dict[str, Any]:
        until = time.monotonic() + ENDING_S
        for _ in range(TRIES):
            fd = _open(path)
            holder = _flocked(fd, until)
            if holder is not None:
                os.close(fd)
                return {"held": False, **holder, "why": _told(holder)}
            if _is_at(path, fd):
                self.path, self.fd = path, fd
                _sign(fd, {"pid": os.getpid(), "started": time.time(), "user": user, "token": self.token})
                return {"held": True}
            os.close(fd)  # its last holder removed it between our open and our flock
        raise OSError(11, "other runs come and go too fast")

    def say_ending(self) -> None:
        """From here to ``release`` a newcomer waits instead of giving up."""
        if self.path is not None:
            _sign(self.fd, {**_holder(self.fd), "ending": True})

    def release(self) -> None:
        if self.path is None:
            return
        with contextlib.suppress(OSError):  # another user's file of an earlier run: it was there before us
            if _is_at(self.path, self.fd):
                os.unlink(self.path)
        os.close(self.fd)
        self.path, self.fd = None, -1


def user() -> str:
    """Who signs."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _open(path: str) -> int:
    """Open or make the file. O_CREAT never meets an existing one: the kernel denies that in a sticky folder."""
    for _ in range(TRIES):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | FLAGS, 0o644)
        except FileExistsError:
            pass
        else:
            os.fchmod(fd, 0o666)  # the next user of this node signs the same file
            return fd
        try:
            return _opened(path)
        except FileNotFoundError:
            continue  # removed between the two
    raise OSError(11, "other runs come and go too fast")


def _opened(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | FLAGS)
    except PermissionError:
        fd = os.open(path, os.O_RDONLY | FLAGS)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(22, "not a regular file")


def _is_at(path: str, fd: int) -> bool:
    try:
        there, ours = os.stat(path, follow_symlinks=False), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _flocked(fd: int, until: float) -> dict[str, Any] | None:
    """None once it is ours; else who holds it. One that is ending is waited for."""
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(fd)
            if not holder.pop("ending") or time.monotonic() > until:
                return holder
            time.sleep(0.05)
        else:
            return None


def _sign(fd: int, holder: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # a full disk or another user's file: the lock counts, the name is a courtesy
        signed = json.dumps(holder).encode()
        os.ftruncate(fd, os.pwrite(fd, signed, 0))


def _holder(fd: int) -> dict[str, Any]:
    """Who signed. The file is writable for all: believe its form, not its content."""
    try:
        signed = json.loads(os.pread(fd, 500, 0))
        user, token = ("".join(filter(str.isprintable, str(signed.get(key, ""))))[:64] for key in ("user", "token"))
        time.gmtime(signed["started"])
        ending = signed.get("ending") is True
        pid, started = int(signed["pid"]), float(signed["started"])
        return {"pid": pid, "started": started, "user": user, "token": token, "ending": ending}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return {"pid": None, "started": None, "user": None, "token": "", "ending": False}


def _told(holder: dict[str, Any]) -> str:
    if holder["pid"] is None:
        return "another diag is at work (its lock file does not say whose)"
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder["started"]))
    return f"another diag is at work: pid {holder['pid']} of {holder['user']} since {since}"
