"""Is another diag at work on this node? One flock per node; the file says who holds it."""

import fcntl
import os
import stat
import time

import frames

PATHS = ("/tmp/diag.lock", "/dev/shm/diag.lock")


class Lock:
    """Held from ``take`` until ``release`` or the process's end; the kernel lets go of it even after SIGKILL."""

    def __init__(self, paths=PATHS):
        self.paths = paths
        self.path = None
        self.fd = -1

    def take(self, user):
        """``{"held": True}``, or ``{"held": False}`` with who holds it, or why it cannot be held."""
        why = ""
        for path in self.paths:
            try:
                return self._take(path, user)
            except OSError as error:
                why = why or "{}: {}".format(path, error.strerror)
        return {"held": False, "pid": None, "started": None, "user": None, "why": "cannot be made: " + why}

    def _take(self, path, user):
        for _ in range(10):
            fd = _open(path)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _holder(fd)
                os.close(fd)
                return dict(holder, held=False, why="another diag is at work: pid {pid} of {user}".format(**holder))
            if _is_at(path, fd):
                self.path, self.fd = path, fd
                _sign(fd, user)
                return {"held": True}
            os.close(fd)  # its last holder removed it between our open and our flock
        raise OSError(11, "other runs come and go too fast")

    def release(self):
        if self.path is None:
            return
        try:
            if _is_at(self.path, self.fd):
                os.unlink(self.path)
        except OSError:
            pass  # another user's file of an earlier run; it was there before us
        os.close(self.fd)
        self.path = None


def _open(path):
    """Open or make the file. Not with O_CREAT alone: the kernel denies that on another user's file in a sticky folder."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    for _ in range(10):
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            pass
        else:
            os.fchmod(fd, 0o666)  # the next user of this node signs the same file
            return fd
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            continue  # removed between the two
        except PermissionError:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise OSError(22, "not a regular file")
    raise OSError(11, "other runs come and go too fast")


def _is_at(path, fd):
    try:
        there, ours = os.stat(path, follow_symlinks=False), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _sign(fd, user):
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, frames.to_json({"pid": os.getpid(), "started": time.time(), "user": user}), 0)
    except OSError:
        pass  # a full disk or another user's file: the lock counts, the name is a courtesy


def _holder(fd):
    """Who signed. The file is writable for all: believe its form, not its content."""
    try:
        signed = frames.json.loads(os.pread(fd, 500, 0))
        return {"pid": int(signed["pid"]), "started": float(signed["started"]), "user": str(signed["user"])[:64]}
    except (OSError, ValueError, TypeError, KeyError):
        return {"pid": None, "started": None, "user": None}
