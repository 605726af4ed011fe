"""What can this node be asked? Three verbs, no topics: call a function, read files, run a tool."""

import os
import select
import time

SYSTEM_FOLDERS = (
    "/usr/local/sbin:/usr/sbin:/sbin"  # where ip, ethtool and ibstat are; a login without a shell lacks them
)


def answer(verb, deadline, mark):
    """The value for one verb; raises whatever it raises. ``deadline`` is a time.monotonic()."""
    kind = verb["verb"]
    if kind == "ask":
        module, _, name = verb["function"].partition(":")
        return getattr(__import__(module), name)(**verb.get("arguments", {}))
    if kind == "read":
        return read(verb["globs"], verb.get("limit_bytes", 65536))
    if kind == "run":
        environment = dict(os.environ, LC_ALL="C", DIAG_JOB=mark)
        environment["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":" + SYSTEM_FOLDERS
        environment.update(verb.get("env", {}))
        return run(verb["argv"], environment, verb.get("limit_bytes", 65536), deadline)
    raise ValueError("unknown verb {!r}".format(kind))


def read(globs, limit_bytes):
    """``{path: text}``; what cannot be read is left out."""
    found = {}
    for pattern in globs:
        for path in _expand(os.path.expanduser(pattern)):
            try:
                found[path] = _head(path, limit_bytes).decode("utf-8", "replace")
            except OSError:
                continue
    return found


def _expand(pattern):
    if not any(character in pattern for character in "*?["):
        return [pattern]
    import glob

    return sorted(glob.glob(pattern))


def _head(path, limit_bytes):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)  # a FIFO must not hold us
    try:
        chunks = []
        while limit_bytes > 0:
            chunk = os.read(fd, min(limit_bytes, 65536))
            if not chunk:
                break
            chunks.append(chunk)
            limit_bytes -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def run(argv, environment, limit_bytes, deadline):
    """Run a tool without a shell and without ``subprocess``, whose import costs every node 8 ms of CPU."""
    pid, out, err = _spawn(argv, environment)
    try:
        kept = _collect({out: b"", err: b""}, limit_bytes, deadline)
    finally:
        os.close(out)
        os.close(err)
        if time.monotonic() >= deadline:
            os.kill(pid, 9)
        status = os.waitpid(pid, 0)[1]
    if time.monotonic() >= deadline:
        raise TimeoutError("{} ran past the deadline".format(argv[0]))
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    return {
        "status": code,
        "stdout": kept[out].decode("utf-8", "replace"),
        "stderr": kept[err].decode("utf-8", "replace"),
    }


def _spawn(argv, environment):
    import signal

    out, out_end = os.pipe()
    err, err_end = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out_end, 1),
            (os.POSIX_SPAWN_DUP2, err_end, 2),
        ]
        pid = os.posix_spawnp(argv[0], argv, environment, file_actions=actions, setsigdef=[signal.SIGPIPE])
    except OSError:
        os.close(out)
        os.close(err)
        raise
    finally:
        os.close(out_end)
        os.close(err_end)
    return pid, out, err


def _collect(kept, limit_bytes, deadline):
    """Read both streams to their end or the deadline; what is over the limit is read and dropped."""
    poll = select.poll()
    for fd in kept:
        poll.register(fd, select.POLLIN)
    opened = set(kept)
    while opened and time.monotonic() < deadline:
        for fd, _ in poll.poll(max(0, deadline - time.monotonic()) * 1000):
            chunk = os.read(fd, 65536)
            if not chunk:
                poll.unregister(fd)
                opened.discard(fd)
            kept[fd] += chunk[: max(0, limit_bytes - len(kept[fd]))]
    return kept
