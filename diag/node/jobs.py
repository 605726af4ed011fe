"""How does a job run here? A process tree of its own: started, listened to, ended at its deadline, and nothing of it left."""

import os
import signal
import time

import descendants
import frames
import private_dir

MARKER = b"@diag "
KEPT_BYTES = 65536
LINE_BYTES = 1 << 20


class Job:
    """One command and everything that it starts. Its processes carry ``mark`` in their environment."""

    def __init__(self, message, mark, folder, pyz, alive):
        self.id, self.mark = message["id"], mark
        self.started = time.monotonic()
        self.deadline = self.started + message["deadline_s"]
        self.output, self.line = b"", b""
        self.timed_out = self.stopped = False
        self.said = []
        places = {"{pyz}": pyz, "{dir}": folder, "{python}": _python()}
        environment = dict(os.environ, **private_dir.environment(folder))
        for name, value in message.get("env", {}).items():
            environment[name] = _fill(value, places)
        environment[descendants.MARK] = mark
        environment["DIAG_ALIVE_FD"] = str(alive)
        environment["DIAG_ALIVE_PATH"] = "/proc/{}/fd/{}".format(os.getpid(), alive)
        argv = [_fill(word, places) for word in message["argv"]]
        self.pid, self.pipes = _spawn(argv, environment, message.get("cwd") or folder, alive)
        self.stdout = self.pipes[0]

    def descriptors(self):
        return self.pipes

    def ready(self, fd):
        """Read once; False when nothing waits or the stream ended."""
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            return False
        if not chunk:
            os.close(fd)
            self.pipes.remove(fd)
        self.output = (self.output + chunk)[-KEPT_BYTES:]
        if fd == self.stdout:
            self._cut_lines(chunk)
        return bool(chunk)

    def _cut_lines(self, chunk):
        *lines, self.line = (self.line + (chunk or b"\n")).split(b"\n")
        self.line = self.line[-LINE_BYTES:]
        for line in lines:
            if line.startswith(MARKER):
                try:
                    self.said.append({"id": self.id, "event": "line", "line": frames.json.loads(line[len(MARKER) :])})
                except ValueError:
                    pass  # a line that only looks like ours; it is kept in the output

    def due(self):
        return None if self.timed_out or self.stopped else self.deadline

    def tick(self, now):
        self.timed_out = self.timed_out or now >= self.deadline

    def over(self):
        return self.stopped or self.timed_out or self.pid in descendants.ended

    def finish(self, find):
        """End what is left of it and drain its pipes; the exit event's last part, after ``said``."""
        seconds = time.monotonic() - self.started
        left_behind = descendants.end(find)
        descendants.reap()
        for fd in list(self.pipes):
            self._drain(fd)
        status = descendants.ended.pop(self.pid, None)
        ended_by = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
        return {
            "id": self.id,
            "event": "exit",
            "status": os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None,
            "signal": ended_by,
            "output": self.output.decode("utf-8", "replace"),
            "seconds": round(seconds, 6),
            "timed_out": self.timed_out,
            "left_behind": left_behind,
        }

    def _drain(self, fd):
        """Read what waits. Bounded: something that could not be ended may write for ever."""
        for _ in range(256):
            if not self.ready(fd):
                break
        if fd in self.pipes:
            os.close(fd)
            self.pipes.remove(fd)


def _fill(text, places):
    for name, value in places.items():
        text = text.replace(name, value)
    return text


def _python():
    import sys

    return sys.executable


def _spawn(argv, environment, cwd, alive):
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(argv, environment, cwd, alive, out_end, err_end)
    os.close(out_end)
    os.close(err_end)
    os.set_blocking(out, False)
    os.set_blocking(err, False)
    return pid, [out, err]


def _become(argv, environment, cwd, alive, out, err):
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.set_inheritable(alive, True)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.chdir(cwd)
        os.execvpe(argv[0], argv, environment)
    except BaseException as error:
        os.write(2, "diag: cannot start {}: {}\n".format(argv[0], error).encode("utf-8", "replace"))
    finally:
        os._exit(127)
