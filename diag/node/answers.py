"""Who answers a frame of requests? A forked child with a thread a request.

The agent itself touches no file system it does not know and calls no library: what hangs or crashes, hangs or
crashes in the child. The child sends each answer as soon as it has it; at their deadlines the agent answers for the rest.
"""

import _thread
import os
import time

import descendants
import frames


class Answers:
    """The requests of one frame, until all are answered or past their deadlines."""

    def __init__(self, message, mark, alive, leave):
        """``alive``: read end of the agent's pipe; ``leave()`` is called in the child to drop the agent's descriptors."""
        self.id = message["id"]
        self.requests = message["requests"]
        self.texts = [None] * len(self.requests)
        self.received = b""
        limit_s = message.get("deadline_s", 3600.0)
        self.limits_s = [min(request.get("deadline_s", 8.0), limit_s) for request in self.requests]
        self.started = time.monotonic()
        self.out, end = os.pipe()
        try:
            self.pid = os.fork()
        except OSError as error:
            self.pid = None
            self.texts = [_say(request["name"], why="fork: {}".format(error)) for request in self.requests]
        if self.pid == 0:
            self._become_child(end, mark, alive, leave)
        os.close(end)

    def _become_child(self, end, mark, alive, leave):
        try:
            os.setsid()
            leave()
            _answer_all(self.requests, [self.started + limit_s for limit_s in self.limits_s], end, mark, alive)
        finally:
            os._exit(1)

    def descriptors(self):
        return [self.out]

    def ready(self, fd):
        chunk = os.read(fd, 1 << 20)
        self.received += chunk
        while len(self.received) >= 8:
            index, length = int.from_bytes(self.received[:4], "big"), int.from_bytes(self.received[4:8], "big")
            if len(self.received) < 8 + length:
                break
            if self.texts[index] is None:
                self.texts[index] = self.received[8 : 8 + length]
            self.received = self.received[8 + length :]
        if not chunk:
            self._give_up("the process that answers ended", lambda index: True)

    def due(self):
        """When the next unanswered request is past its deadline; None: all are answered."""
        open_s = [limit_s for limit_s, text in zip(self.limits_s, self.texts) if text is None]
        return self.started + min(open_s) if open_s else None

    def tick(self, now):
        self._give_up(None, lambda index: now >= self.started + self.limits_s[index])

    def _give_up(self, why, over):
        for index, request in enumerate(self.requests):
            if self.texts[index] is None and over(index):
                limit_s = self.limits_s[index]
                said = why or "no answer within {:g} s".format(limit_s)
                self.texts[index] = _say(request["name"], why=said, seconds=time.monotonic() - self.started)

    def finished(self):
        """The answer frame's body once every request has its answer, else None; ends the child."""
        if any(text is None for text in self.texts):
            return None
        return b'{"id":%d,"answers":[%s]}' % (self.id, b",".join(self.texts))

    def end(self):
        """Kill the child and the tools it runs; the agent looks later whether they went."""
        os.close(self.out)
        if self.pid:
            try:
                os.killpg(self.pid, 9)
            except OSError:
                descendants.kill(self.pid)


def _say(name, value=None, why=None, seconds=0.0):
    answer = {"name": name, "seconds": round(seconds, 6)}
    answer.update({"value": value} if why is None else {"why": why})
    return frames.to_json(answer)


def _answer_all(requests, deadlines, out, mark, alive):
    """Answer all at once, then end; ends at once when the agent is gone."""
    lock, left = _thread.allocate_lock(), [len(requests)]

    def one(index):
        text = _answer(requests[index], deadlines[index], mark)
        with lock:
            _write(out, index.to_bytes(4, "big") + len(text).to_bytes(4, "big") + text)
            left[0] -= 1
            if not left[0]:
                os._exit(0)

    for index in range(len(requests)):
        try:
            _thread.start_new_thread(one, (index,))
        except RuntimeError:
            one(index)  # no more threads allowed here: one after another, then
    os.read(alive, 1)
    os.killpg(0, 9)


def _answer(request, deadline, mark):
    import verbs

    name, started = request["name"], time.monotonic()
    try:
        value = verbs.answer(request["verb"], deadline, mark)
        return _say(name, value, seconds=time.monotonic() - started)
    except BaseException as error:
        why = " ".join("{}: {}".format(type(error).__name__, error).split())
        return _say(name, why=why, seconds=time.monotonic() - started)


def _write(fd, text):
    view = memoryview(text)
    while view:
        view = view[os.write(fd, view) :]
