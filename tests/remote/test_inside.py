"""Why does no agent speak in a container? One line from what its runtime said."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from diag.facts.inside import Inside
from diag.inventory import Host
from diag.remote.inside import InnerSession
from tests.remote.fake import Recorded


class Outer:
    """The session with the host's agent, of which only the guards are asked."""

    def __init__(self) -> None:
        self.guarded: list[Sequence[object]] = []

    def guard(self, guards: Sequence[object], deadline_s: float = 5.0) -> None:  # noqa: ARG002 - as Session's
        self.guarded.append(guards)


DOCKER = "docker: Error response from daemon: failed to create task for container: "
SAID = {
    DOCKER + 'exec: "python3": executable file not found in $PATH: unknown.': (
        "python_missing",
        "no python3 in image a:1",
    ),
    "crun: executable file `python3` not found in $PATH: No such file or directory: OCI runtime attempted to invoke": (
        "python_missing",
        "no python3 in image a:1",
    ),
    "diag: python too old: found 3.6.9 (/usr/bin/python3), expected 3.8 or newer": (
        "python_missing",
        "Python in image a:1 is too old: found 3.6.9 (/usr/bin/python3), expected 3.8 or newer",
    ),
    'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].': (
        "container_gpu_runtime_missing",
        "image a:1 cannot be given the GPUs: docker: Error response from daemon: could not select device driver",
    ),
    DOCKER + "nvidia-container-cli: initialization error: nvml error: driver/library version mismatch: unknown": (
        "container_gpu_runtime_missing",
        "image a:1 cannot be given the GPUs:",
    ),
    "docker: invalid reference format.\n\nRun 'docker run --help' for more information": (
        "container_not_there",
        "image a:1 lets no agent run: docker: invalid reference format.",
    ),
    "": ("container_not_there", "image a:1 lets no agent run: it ended without a word"),
}


@pytest.mark.parametrize("words", SAID)
def test_what_a_runtime_said_is_one_line_and_nothing_is_guarded_longer_than_it_must(words):
    outer = Outer()
    channel = Recorded(b"", words=words, status=125)
    session = InnerSession(Host(name="gpu01", image="a:1"), channel, outer, Inside(runtime="docker"), ())  # type: ignore[arg-type]
    error = session.why_silent("python3", 10)
    cause, line = SAID[words]
    assert error.cause == cause
    assert error.what.startswith(line)
    assert "\n" not in str(error)
    assert outer.guarded == [()]
