"""What lives on a node for the length of a run? It answers framed requests, runs jobs, and leaves nothing behind.

It lives exactly as long as its standard input: at its end, on SIGTERM or SIGHUP, when nobody reads its answers, or when
nothing was heard for LEASE_S, it ends everything that it started, removes its folder and lock, and ends.
"""

import os
import select
import signal
import sys
import time

import descendants
import frames
import private_dir
from answers import Answers
from lock import Lock

LEASE_S = 20.0
CHUNK_BYTES = 4096  # a pipe that polls writable takes this much without blocking
FULL_BYTES = 4 << 20  # while this much is unsent, jobs wait
GOODBYE_S = 2.0
HARD_END_S = 20  # past this the kernel ends the agent, and its watcher what is left


def main(pyz, folder):
    incoming, outgoing = _take_standard_streams()
    agent = Agent(incoming, outgoing, pyz, folder)
    agent.unsent += frames.MARKER
    agent.say({"hello": agent.hello()})
    agent.flush()
    _be_modest()
    agent.start_watcher()
    while agent.ending is None:
        agent.turn()
    agent.leave()
    os._exit(0 if agent.ending == "asked to" else 1)


def _take_standard_streams():
    """The protocol gets descriptors of its own: neither a stray print nor a child can reach it."""
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return incoming, outgoing


def _be_modest():
    """Last in every queue: nice 10, first to go when memory runs out, no core file. Inherited by all we start."""
    import resource

    try:
        os.nice(max(0, 10 - os.nice(0)))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass  # a container may forbid it; it is a courtesy


def _adopt_orphans():
    """Become the parent of whatever our children leave behind, and idle in the queue of the disk."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    call = {"x86_64": 251, "aarch64": 30}.get(os.uname().machine)
    if call is not None:
        libc.syscall(call, 1, 0, 3 << 13)  # ioprio_set(IOPRIO_WHO_PROCESS, self, IOPRIO_CLASS_IDLE)


def _user():
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


class Agent:
    """The loop: one thread, never blocked by what it serves."""

    def __init__(self, incoming, outgoing, pyz, folder):
        self.incoming, self.outgoing, self.pyz = incoming, outgoing, pyz
        self.token = os.urandom(8).hex()
        self.code_folder = folder  # only where the zip could not be kept in memory
        self.folder = None
        self.since = descendants.start_ticks(os.getpid())
        self.reader, self.unsent = frames.Reader(), bytearray()
        self.answering, self.jobs = [], []
        self.lock, self.watcher = Lock(), None
        self.heard = time.monotonic()
        self.ending = None
        self.alive, self.alive_end = os.pipe()
        self.woken, self.wake = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self.woken, False)
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._asked_by_signal)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # the wake-up is what counts

    def _asked_by_signal(self, number, _frame):
        self.ending = self.ending or "signal {}".format(number)

    def hello(self):
        user = _user()
        return {
            "pid": os.getpid(),
            "python": "{}.{}.{}".format(*sys.version_info),
            "executable": sys.executable,
            "user": user,
            "hostname": os.uname().nodename,
            "lock": self.lock.take(user),
            "time": time.time(),
        }

    def start_watcher(self):
        import watcher

        self.watcher = watcher.start(self.alive, self.token, self.token, self.lock.path, self.drop_descriptors)

    def drop_descriptors(self):
        """In a forked child: hold nothing whose end others wait for, and handle no signal as the agent would."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        held = [self.incoming, self.outgoing, self.alive_end, self.woken, self.wake, self.lock.fd]
        for task in self.answering + self.jobs:
            held += task.descriptors()
        for fd in held:
            if fd >= 0:
                os.close(fd)

    # -- talking

    def say(self, message):
        self.unsent += frames.frame(frames.to_json(message))

    def flush(self, limit_s=GOODBYE_S):
        """Send what is unsent, or give up when nobody takes it."""
        until = time.monotonic() + limit_s
        poll = select.poll()
        poll.register(self.outgoing, select.POLLOUT)
        while self.unsent and self._send() and time.monotonic() < until:
            poll.poll(50)

    def _send(self):
        poll = select.poll()
        poll.register(self.outgoing, select.POLLOUT)
        try:
            while self.unsent and poll.poll(0):
                del self.unsent[: os.write(self.outgoing, self.unsent[:CHUNK_BYTES])]
            return True
        except OSError:
            self.unsent.clear()
            self.ending = self.ending or "nobody reads"
            return False

    def listen(self):
        chunk = os.read(self.incoming, 65536)
        self.heard = time.monotonic()
        if not chunk:
            self.ending = self.ending or "end of input"
        for message in self.reader.feed(chunk):
            try:
                self.obey(message)
            except Exception as error:
                why = "{}: {}".format(type(error).__name__, error)
                self.say({"id": message.get("id"), "error": why})

    def obey(self, message):
        do = message["do"]
        if do == "answer":
            mark = "{}.{}".format(self.token, message["id"])
            self.answering.append(Answers(message, mark, self.alive, self.drop_descriptors))
        elif do == "clock":
            self.say({"id": message["id"], "time": time.time()})
        elif do == "job":
            self.start_job(message)
        elif do == "stop":
            for job in self.jobs:
                job.stopped = job.stopped or job.id == message["job"]
        elif do == "end":
            self.ending = "asked to"
        elif do != "alive":
            raise ValueError("unknown request {!r}".format(do))

    def start_job(self, message):
        from jobs import Job

        if self.folder is None:
            _adopt_orphans()
            self.folder = private_dir.make(self.token)
        mark = "{}.{}".format(self.token, message["id"])
        self.jobs.append(Job(message, mark, self.folder, self.pyz, self.alive))

    # -- the loop

    def turn(self):
        """Wait until something happens, and deal with it."""
        poll = select.poll()
        poll.register(self.incoming, select.POLLIN)
        poll.register(self.woken, select.POLLIN)
        poll.register(self.outgoing, select.POLLOUT if self.unsent else 0)
        owners = {fd: task for task in self._tasks_listened_to() for fd in task.descriptors()}
        for fd in owners:
            poll.register(fd, select.POLLIN)
        events = dict(poll.poll(self._patience_s() * 1000))
        if self.woken in events:
            os.read(self.woken, 4096)
        if self.outgoing in events and (not self._send() or events[self.outgoing] & (select.POLLERR | select.POLLNVAL)):
            self.ending = self.ending or "nobody reads"
        for fd, task in owners.items():
            if fd in events:
                task.ready(fd)
        if self.incoming in events:
            self.listen()
        elif time.monotonic() - self.heard > LEASE_S:
            self._look_once_more()
        self._tend()

    def _tasks_listened_to(self):
        return self.answering + (self.jobs if len(self.unsent) < FULL_BYTES else [])

    def _patience_s(self):
        dues = [self.heard + LEASE_S] + [task.due() for task in self.answering + self.jobs]
        return max(0.0, min(due for due in dues if due is not None) - time.monotonic()) + 0.001

    def _look_once_more(self):
        """The lease is over, unless we were frozen and word waits to be read."""
        poll = select.poll()
        poll.register(self.incoming, select.POLLIN)
        if not poll.poll(0):
            self.ending = self.ending or "nothing heard for {:g} s".format(LEASE_S)

    def _tend(self):
        """Give out what is finished, end what is over."""
        now = time.monotonic()
        descendants.reap()
        for task in list(self.answering):
            task.tick(now)
            body = task.finished()
            if body is not None:
                self.unsent += frames.frame(body)
                self.answering.remove(task)
                task.end()
        for job in list(self.jobs):
            job.tick(now)
            if job.over():
                self.jobs.remove(job)
                self._finish(job)
            self._pass_on(job)

    def _pass_on(self, job):
        for event in job.said:
            self.say(event)
        job.said.clear()

    def _finish(self, job):
        event = job.finish(lambda: self._strays(job))
        self._pass_on(job)
        self.say(event)

    def _strays(self, job):
        """The processes of a job: below its leader, marked as its own, or orphans that nothing else explains."""
        processes = descendants.running()
        others = [other.pid for other in self.jobs] + [task.pid for task in self.answering] + [self.watcher]
        others_own = descendants.below(others, processes) | set(others)
        for other in self.jobs:
            others_own |= descendants.marked(other.mark, processes, self.since)
        ours = descendants.below([os.getpid()], processes) | descendants.marked(job.mark, processes, self.since)
        return ours - others_own

    # -- the end

    def leave(self):
        """End everything, remove everything, say what could not be."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HARD_END_S)
        left = self._end_processes() + self._remove_folders()
        self.lock.release()
        if self.watcher:
            descendants.kill(self.watcher)
        if self.ending == "asked to":
            self.say({"goodbye": {"left_behind": left}})
        self.flush()

    def _end_processes(self):
        for task in self.answering:
            task.end()

        def find():
            processes = descendants.running()
            ours = descendants.below([os.getpid()], processes)
            return (ours | descendants.marked(self.token, processes, self.since)) - {self.watcher}

        return descendants.end(find)

    def _remove_folders(self):
        why = [private_dir.remove(folder) for folder in (self.folder, self.code_folder) if folder]
        return ["file " + line for line in why if line]
