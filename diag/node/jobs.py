"""How does a job run here? As a tree of processes: started, listened to, ended at its deadline, nothing of it left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time

import descendants
import private_dir
import settings
import shared_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

MARKER = b"@diag "
KEPT_BYTES = 65536
LINE_BYTES = 1 << 20
DRAIN_READS = 256
NOT_STARTED = 126


class Job:
    """One command and everything that it starts. Its processes carry ``mark`` in their environment."""

    def __init__(self, message: dict[str, Any], mark: str, folder: str, pyz: str, alive: int) -> None:
        """``alive``: read end of a pipe that ends with the agent; the job's processes inherit it."""
        self.id: int = message["id"]
        self.mark = mark
        self.stopped = False
        self.started = time.monotonic()
        self.said: list[dict[str, Any]] = []
        self._deadline: float = self.started + message["deadline_s"]
        self._timed_out = False
        self._output, self._line, self._written = b"", b"", 0
        self.older = shared_memory.names()
        places = {"{pyz}": pyz, "{dir}": folder, "{python}": sys.executable}
        argv = [_filled(word, places) for word in message["argv"]]
        environment = dict(os.environ, **private_dir.environment(folder))
        environment.update({name: _filled(value, places) for name, value in (message.get("env") or {}).items()})
        environment[descendants.MARK] = mark
        environment["DIAG_ALIVE_FD"] = str(alive)
        environment["DIAG_ALIVE_PATH"] = f"/proc/{os.getpid()}/fd/{alive}"
        self.pid, self._pipes = _spawned(argv, environment, message.get("cwd") or folder, alive)
        self._stdout = self._pipes[0]

    def descriptors(self) -> list[int]:
        return self._pipes

    def ready(self, fd: int) -> bool:
        """Read once; False when nothing waits or the stream ended."""
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            return False
        if not chunk:
            os.close(fd)
            self._pipes.remove(fd)
        self._output = (self._output + chunk)[-KEPT_BYTES:]
        self._written += len(chunk)
        if fd == self._stdout:
            self._cut_lines(chunk or b"\n")
        return bool(chunk)

    def _cut_lines(self, chunk: bytes) -> None:
        *lines, self._line = (self._line + chunk).split(b"\n")
        self._line = self._line[:LINE_BYTES]
        for line in lines:
            if line.startswith(MARKER):
                with contextlib.suppress(ValueError):  # it only looks like ours: the output keeps it
                    self.said.append({"id": self.id, "event": "line", "line": json.loads(line[len(MARKER) :])})

    def due(self) -> float | None:
        return self._deadline

    def is_over(self, now: float) -> bool:
        self._timed_out = self._timed_out or (now >= self._deadline and self.pid not in descendants.ended)
        return self.stopped or self._timed_out or self.pid in descendants.ended

    def finish(self, find: Callable[[], set[int]]) -> dict[str, Any]:
        """End all processes that ``find()`` returns; the exit event, which goes out after ``said``."""
        seconds = time.monotonic() - self.started
        shared = shared_memory.opened_by(find(), self.older)
        left_behind = descendants.end(find)
        shared_memory.remove(shared)
        for fd in list(self._pipes):
            self._drain(fd)
        descendants.reap()
        output = self._output.decode("utf-8", "replace")
        return {
            "id": self.id,
            "event": "exit",
            **_outcome(descendants.ended.pop(self.pid, None)),
            "output": "\n".join(settings.masked("", line) for line in output.split("\n")),
            "output_bytes": self._written,
            "seconds": round(seconds, 6),
            "timed_out": self._timed_out,
            "left_behind": left_behind,
        }

    def _drain(self, fd: int) -> None:
        """Read what waits. Bounded: something that could not be ended may write for ever."""
        for _ in range(DRAIN_READS):
            if not self.ready(fd):
                break
        if fd in self._pipes:
            os.close(fd)
            self._pipes.remove(fd)


def refused(number: int, why: str) -> dict[str, Any]:
    """The exit event of a job that could not even be started."""
    output = f"diag: the job cannot be started: {why}\n"
    return {"id": number, "event": "exit", "status": NOT_STARTED, "signal": None, "output": output, "seconds": 0.0}


def _outcome(status: int | None) -> dict[str, int | None]:
    """Exit status or signal; neither: it could not be ended."""
    exited = status is not None and os.WIFEXITED(status)
    killed = status is not None and os.WIFSIGNALED(status)
    return {
        "status": os.WEXITSTATUS(status) if status is not None and exited else None,
        "signal": os.WTERMSIG(status) if status is not None and killed else None,
    }


def _close_all_but(alive: int) -> None:
    """Not left to exec: what follows may hang in a dead mount, and must not hold the protocol or the lock meanwhile."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and fd != alive:  # noqa: PLR2004 - the standard streams
            with contextlib.suppress(OSError):
                os.close(fd)


def _filled(text: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        text = text.replace(name, value)
    return text


def _spawned(argv: list[str], environment: dict[str, str], cwd: str, alive: int) -> tuple[int, list[int]]:
    """The pid, and where its standard output and error can be read."""
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(argv, environment, cwd, alive, (out_end, err_end))
    descendants.ended.pop(pid, None)  # of an earlier child with the same number
    for fd in (out_end, err_end):
        os.close(fd)
    for fd in (out, err):
        os.set_blocking(fd, False)
    return pid, [out, err]


def _become(argv: list[str], environment: dict[str, str], cwd: str, alive: int, streams: tuple[int, int]) -> NoReturn:
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(streams[0], 1)
        os.dup2(streams[1], 2)
        _close_all_but(alive)
        os.set_inheritable(alive, True)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.chdir(cwd)
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - no shell is wanted
    except BaseException as error:
        os.write(2, f"diag: cannot start {argv[0]}: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(127)
