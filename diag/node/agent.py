"""What lives on a node for the length of a run? It answers framed requests, runs jobs, and leaves nothing behind.

It lives exactly as long as its standard input: at its end, on SIGTERM or SIGHUP, when nobody reads its answers, or when
nothing was heard for LEASE_S, it ends everything that it started, removes its folder and lock, and ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

import descendants
import manners
import wire
from answers import Answers
from lock import Lock, user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, NoReturn

    from jobs import Job

LEASE_S = 20.0
GOODBYE_S = 2.0
HARD_END_S = 20  # past this the kernel ends the agent, and its watcher the rest
ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
ASKED = "asked to"


def main(pyz: str, token: str) -> NoReturn:
    """``pyz``: where the agent's code is kept; ``token``: names this agent in folders and environments."""
    agent = Agent(wire.take_standard_streams(), pyz, token)
    agent.wire.say({"hello": agent.hello()})
    agent.wire.flush(GOODBYE_S)
    manners.be_modest()
    agent.start_watcher()
    while not agent.ending():
        agent.turn()
    agent.leave()
    os._exit(0 if agent.ending() == ASKED else 1)


class Agent:
    """The loop: one thread, never blocked by what it serves."""

    def __init__(self, line: wire.Wire, pyz: str, token: str) -> None:
        self.wire, self.pyz, self.token = line, pyz, token
        self.since = descendants.start_ticks(os.getpid())
        self.folders = [os.path.dirname(pyz)] if pyz.endswith(".pyz") else []
        self.folder = ""
        self.answering: list[Answers] = []
        self.jobs: list[Job] = []
        self.lock, self.watcher, self.reason = Lock(token=token), 0, ""
        self.around_end: Callable[[Callable[[], list[str]]], list[str]] = lambda end: end()  # of our processes
        self.spread = False  # a job, a tool or a request past its deadline: processes may be where we do not see them
        self.alive, self.alive_end = os.pipe()
        self.woken, self.wake = os.pipe()
        for fd in (self.woken, self.wake):
            os.set_blocking(fd, False)
        self._handle_signals()

    def _handle_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.set_wakeup_fd(self.wake, warn_on_full_buffer=False)
        for number in ENDING_SIGNALS:
            signal.signal(number, self._end_by_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the wake-up is what counts

    def _end_by_signal(self, number: int, _frame: object) -> None:
        self.reason = self.reason or f"signal {number}"

    def ending(self) -> str:
        """Why the agent ends; empty while it lives."""
        return self.reason or self.wire.lost

    def hello(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "token": self.token,
            "python": "{}.{}.{}".format(*sys.version_info),
            "executable": sys.executable,
            "user": user(),
            "hostname": os.uname().nodename,
            "lock": self.lock.take(user()),
            "time": time.time(),
        }

    def start_watcher(self) -> None:
        import watcher

        with contextlib.suppress(OSError):  # no more processes allowed: then nobody cleans up after SIGKILL
            self.watcher = watcher.start(self)

    def drop_descriptors(self) -> None:
        """In a forked child: hold nothing whose end others wait for, and take signals as they come."""
        signal.set_wakeup_fd(-1)
        for number in (*ENDING_SIGNALS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        held = [self.wire.incoming, self.wire.outgoing, self.alive_end, self.woken, self.wake, self.lock.fd]
        held += [fd for task in self._tasks() for fd in task.descriptors()]
        for fd in held:
            if fd >= 0:
                os.close(fd)

    def _tasks(self) -> list[Answers | Job]:
        return [*self.answering, *self.jobs]

    # -- the loop

    def turn(self) -> None:
        """Wait until something happens, and deal with it."""
        poll = select.poll()
        poll.register(self.wire.incoming, select.POLLIN)
        poll.register(self.woken, select.POLLIN)
        poll.register(self.wire.outgoing, select.POLLOUT if self.wire.unsent else 0)
        listened_to = self.answering if self.wire.is_full() else self._tasks()
        owners = {fd: task for task in listened_to for fd in task.descriptors()}
        for fd in owners:
            poll.register(fd, select.POLLIN)
        events = dict(poll.poll(self._patience_s() * 1000))
        if self.woken in events:
            os.read(self.woken, 4096)
        if self.wire.outgoing in events:
            self.wire.send()
            if events[self.wire.outgoing] & wire.GONE:
                self.wire.lost = self.wire.lost or "nobody reads"
        for fd, task in owners.items():
            if fd in events:
                task.ready(fd)
        self._hear(self.wire.incoming in events)
        self._tend()

    def _patience_s(self) -> float:
        dues = [self.wire.heard + LEASE_S, *(task.due() for task in self._tasks())]
        return max(0.0, min(due for due in dues if due is not None) - time.monotonic()) + 0.001

    def _hear(self, something: bool) -> None:
        if not something:
            if time.monotonic() - self.wire.heard > LEASE_S:
                self.wire.look_once_more(LEASE_S)
            return
        for message in self.wire.listen():
            try:
                self._obey(message)
            except Exception as error:
                self.wire.say({"id": message.get("id"), "error": f"{type(error).__name__}: {error}"})

    def _obey(self, message: dict[str, Any]) -> None:
        do = message["do"]
        if do == "answer":
            self.answering.append(Answers(message, self._mark(message), self.alive, self.drop_descriptors))
        elif do == "clock":
            self.wire.say({"id": message["id"], "time": time.time()})
        elif do == "job":
            self._start_job(message)
        elif do == "stop":
            for job in self.jobs:
                job.stopped = job.stopped or job.id == message["job"]
        elif do == "guard":
            self._guard(message)
        elif do == "end":
            self.reason = self.reason or ASKED
        elif do != "alive":
            raise ValueError(f"unknown request {do!r}")

    def _mark(self, message: dict[str, Any]) -> str:
        return f"{self.token}.{message['id']}."

    def _tend(self) -> None:
        """Give out what is finished, end what is over."""
        now = time.monotonic()
        descendants.reap()
        for task in list(self.answering):
            task.tick(now)
            body = task.body()
            if body is not None:
                self.wire.say_encoded(body)
                self.answering.remove(task)
                self.spread = self.spread or task.spread
                task.end()
        for job in list(self.jobs):
            self._pass_on(job)
            if job.is_over(now):
                self._finish(job)

    def _guard(self, message: dict[str, Any]) -> None:
        """From now on these are ours to remove, or our watcher's, which learns of them by starting anew."""
        import guards

        self.spread = True
        self.around_end = guards.Guarded(message["guards"], self.token, self.since).around
        self._end_watcher()
        self.start_watcher()
        self.wire.say({"id": message["id"], "guarded": len(message["guards"])})

    def _start_job(self, message: dict[str, Any]) -> None:
        import jobs
        import private_dir

        self.spread = True
        try:
            if not self.folder:
                manners.adopt_orphans()
                manners.idle_on_disks()
                self.folder = private_dir.make(self.token)
                self.folders.append(self.folder)
            self.jobs.append(jobs.Job(message, self._mark(message), self.folder, self.pyz, self.alive))
        except OSError as error:
            self.wire.say(jobs.refused(message["id"], str(error)))

    def _pass_on(self, job: Job) -> None:
        for event in job.said:
            self.wire.say(event)
        job.said.clear()

    def _finish(self, job: Job) -> None:
        event = job.finish(lambda: self._strays(job))
        self.jobs.remove(job)
        self._pass_on(job)
        self.wire.say(event)

    def _strays(self, job: Job) -> set[int]:
        """The processes of a job: below its leader, marked as its own, or orphans that nothing else explains."""
        processes = descendants.running()
        others = [pid for pid in (self.watcher, *(task.pid for task in self._tasks() if task is not job)) if pid]
        explained = descendants.below(others, processes) | set(others)
        for other in self.jobs:
            if other is not job:
                explained |= descendants.marked(other.mark, processes, self.since)
        below_us = descendants.below([os.getpid()], processes)
        return (below_us | descendants.marked(job.mark, processes, self.since)) - explained

    # -- the end

    def leave(self) -> None:
        """End everything, remove everything, say what could not be."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HARD_END_S)
        self.lock.say_ending()
        left = self.around_end(self._end_processes) + self._remove_folders()
        self.lock.release()
        self._end_watcher()
        if self.reason == ASKED:
            self.wire.say({"goodbye": {"left_behind": left}})
        self.wire.flush(GOODBYE_S)

    def _end_processes(self) -> list[str]:
        for task in self.answering:
            task.end()
        if self._is_alone():
            return []

        import shared_memory

        def find() -> set[int]:
            processes = descendants.running()
            ours = descendants.below([os.getpid()], processes)
            return (ours | descendants.marked(self.token, processes, self.since)) - {self.watcher}

        shared = shared_memory.opened_by(find(), self.jobs[0].older) if self.jobs else set()
        left = descendants.end(find)
        shared_memory.remove(shared)
        return left

    def _is_alone(self) -> bool:
        """Nothing that could be left: looking at every process of a busy node costs more than all else we do there."""
        descendants.reap()
        if self.spread or self.answering:
            return False
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                return set(file.read().split()) <= {str(self.watcher)}
        except OSError:
            return False

    def _remove_folders(self) -> list[str]:
        if not self.folders:
            return []
        import private_dir

        reasons = [private_dir.remove(folder) for folder in self.folders]
        return [f"folder {why}" for why in reasons if why]

    def _end_watcher(self) -> None:
        """Last: until here it would have cleaned up. Collected: a container's first process may collect nobody."""
        if self.watcher:
            descendants.kill(self.watcher)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.watcher, 0)
            self.watcher = 0
        descendants.reap()
