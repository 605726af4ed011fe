"""What can this node be asked? Three verbs, no topics: call a function, read files, run a tool."""

from __future__ import annotations

import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"  # ip, ethtool, ibstat; not on the PATH of every login
LIMIT_BYTES = 65536
ran: list[str] = []
"""Tools that this process has run: each may have left processes behind that are nobody's child."""
LOOK_S = 0.001
MARGIN_S = 0.1  # a tool is ended before its request is, so that the answer can say so


def answer(verb: dict[str, Any], deadline: float) -> Any:
    """The value for one verb; raises whatever it raises. ``deadline`` is a time.monotonic()."""
    kind = verb["verb"]
    if kind == "ask":
        module, _, name = verb["function"].partition(":")
        return getattr(__import__(module), name)(**verb.get("arguments", {}))
    if kind == "read":
        return read(verb["globs"], verb.get("limit_bytes", LIMIT_BYTES))
    if kind == "run":
        environment = dict(os.environ, LC_ALL="C")
        environment["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":" + SYSTEM_FOLDERS
        environment.update(verb.get("env", {}))
        return run(verb["argv"], environment, verb.get("limit_bytes", LIMIT_BYTES), deadline - MARGIN_S)
    raise ValueError(f"unknown verb {kind!r}")


def read(globs: Iterable[str], limit_bytes: int) -> dict[str, str]:
    """``{path: text}``; what cannot be read is left out."""
    found = {}
    for pattern in globs:
        for path in _expanded(os.path.expanduser(pattern)):
            try:
                found[path] = _head(path, limit_bytes).decode("utf-8", "replace")
            except OSError:
                continue
    return found


def _expanded(pattern: str) -> list[str]:
    if not any(character in pattern for character in "*?["):
        return [pattern]
    import glob

    return sorted(glob.glob(pattern))


def _head(path: str, limit_bytes: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)  # a FIFO must not hold us
    try:
        chunks = []
        while limit_bytes > 0:
            chunk = os.read(fd, min(limit_bytes, LIMIT_BYTES))
            if not chunk:
                break
            chunks.append(chunk)
            limit_bytes -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def run(
    argv: list[str], environment: dict[str, str], limit_bytes: int, deadline: float, kept: list[bytes] | None = None
) -> dict[str, Any]:
    """Run a tool without a shell and without ``subprocess``, whose import costs every node 8 ms of CPU.

    ``kept``: two empty texts, filled with its output and errors also where it is ended at ``deadline``.
    """
    began = time.monotonic()
    pid, streams = _spawned(argv, environment)
    kept, status = kept or [b"", b""], None
    try:
        if _collect(streams, kept, limit_bytes, deadline):
            status = _ended(pid, deadline)
    finally:
        for fd in streams:
            os.close(fd)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if status is None:
        raise TimeoutError(f"{argv[0]} was still running after {time.monotonic() - began:.1f} s, and was ended")
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    return {"status": code, "stdout": kept[0].decode("utf-8", "replace"), "stderr": kept[1].decode("utf-8", "replace")}


def _spawned(argv: list[str], environment: dict[str, str]) -> tuple[int, list[int]]:
    """The pid, and where its standard output and error can be read."""
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    actions: Any = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out_end, 1),
        (os.POSIX_SPAWN_DUP2, err_end, 2),
    ]
    try:
        pid = os.posix_spawnp(argv[0], argv, environment, file_actions=actions, setsigdef=[signal.SIGPIPE])
    except OSError:
        os.close(out)
        os.close(err)
        raise
    finally:
        os.close(out_end)
        os.close(err_end)
    ran.append(argv[0])
    return pid, [out, err]


def _ended(pid: int, deadline: float) -> int | None:
    """Its status; None past the deadline: it may have closed its streams and go on."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() >= deadline:
            return None
        time.sleep(LOOK_S)


def _collect(streams: list[int], kept: list[bytes], limit_bytes: int, deadline: float) -> bool:
    """Read all streams to their ends; False past the deadline. What is over the limit is read and dropped."""
    poll = select.poll()
    for fd in streams:
        poll.register(fd, select.POLLIN)
    left = len(streams)
    while left:
        wait_s = deadline - time.monotonic()
        if wait_s <= 0:
            return False
        for fd, _ in poll.poll(wait_s * 1000):
            chunk = os.read(fd, LIMIT_BYTES)
            at = streams.index(fd)
            kept[at] += chunk[: max(0, limit_bytes - len(kept[at]))]
            if not chunk:
                poll.unregister(fd)
                left -= 1
    return True
