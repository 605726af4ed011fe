"""Who cleans up when the agent itself is killed with SIGKILL? A forked child that waits for just that."""

import os
import signal
import time

import descendants
import private_dir

LIMIT_S = 4.0


def start(alive, mark, token, lock_path, leave):
    """Fork it; the pid. ``alive`` ends when the agent does; ``leave()`` drops the agent's descriptors in the child."""
    since = descendants.start_ticks(os.getpid())
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            leave()
            _watch(alive, mark, since, token, lock_path)
        finally:
            os._exit(0)
    return pid


def _watch(alive, mark, since, token, lock_path):
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # whoever ends the agent's group ends the agent; this one ends after it
    os.read(alive, 1)
    signal.alarm(int(LIMIT_S) * 3)  # never left behind itself
    descendants.end(lambda: descendants.marked(mark, descendants.running(), since), LIMIT_S)
    for path in private_dir.candidates(token):
        private_dir.remove(path)
    if lock_path is not None:
        _remove_lock(lock_path)


def _remove_lock(path):
    """Remove the agent's lock file, unless a newer run holds it by now."""
    import lock

    left = lock.Lock((path,))
    if left.take("watcher")["held"]:
        left.release()
