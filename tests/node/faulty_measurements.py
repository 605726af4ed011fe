"""Measurements for tests of who runs them: each goes wrong in its own way. Takes arguments as all of them do."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time


def right(at):
    at.meet()
    at.say(devices=at.devices, pid=os.getpid(), seen=os.environ.get("CUDA_VISIBLE_DEVICES"))


def last(at, seconds):
    """As long as that."""
    at.meet()
    time.sleep(seconds)


def hang(at):
    """With a child of its own, deaf to SIGTERM; it says something first."""
    at.say(before="it hung")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", "300"])
    time.sleep(300)


def fail(_):
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nframe #0: noise")


def crash(_):
    ctypes.string_at(0)


def when(at, sleep_s=0.0):
    """When it came to the gate, and when it was let through."""
    time.sleep(sleep_s)
    came = time.monotonic()
    at.meet()
    at.say(came=came, went=time.monotonic())
