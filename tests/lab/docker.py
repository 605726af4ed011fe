"""How does a container come to a host? A real Docker engine runs on it; no registry or mirror is asked.

The image is a few empty folders; this machine's ``/usr`` and the project's interpreter are mounted read-only. All else
is the container's own; ``/dev/shm`` and ulimits have Docker's defaults.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab.blueprint import interface
from tests.lab.cluster import PROJECT, Lab
from tests.lab.host import Host

IMAGE, NAME = "lab:latest", "box"
ENGINE = ("dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=overlay2")
STORE = "/run/docker-data"  # on the host's own tmpfs: an overlay cannot keep its writes on an overlay
MAKE_IMAGE = """\
set -e
mkdir -p /run/image/etc /run/image/usr /run/image/root /run/image/var/tmp && cd /run/image
mkdir -m 1777 tmp
for folder in bin sbin lib lib64; do ln -s usr/$folder $folder; done
echo root:x:0:0:root:/root:/bin/sh > etc/passwd
echo root:x:0: > etc/group
tar -cf - . | docker import - {image}
rm -r /run/image
"""
# The first change of a folder copies it into the container's layer; later that would look like something left behind.
TOUCH_FOLDERS = "for folder in / /tmp /var/tmp /root /etc; do touch $folder/x && rm $folder/x; done"
START_PATIENCE_S = 30


@dataclass(frozen=True, kw_only=True)
class Container:
    """A running container; ``wrapper`` is what goes before a command on ``host``."""

    lab: Lab
    host: Host
    name: str

    @property
    def wrapper(self) -> tuple[str, ...]:
        return ("docker", "exec", "-i", self.name)

    @property
    def docker_host(self) -> str:
        """The value of DOCKER_HOST with which this machine's client talks to the host's engine."""
        return f"unix://{self.host.path('/run/docker.sock')}"


@contextmanager
def container_on(lab: Lab, host: Host) -> Iterator[Container]:
    """A running container that shares the host's network."""
    with _engine(host):
        host.run(("sh", "-c", MAKE_IMAGE.format(image=IMAGE)))
        seen = (argument for path in _mounted() for argument in ("-v", f"{path}:{path}:ro"))
        host.run(("docker", "run", "-d", "--name", NAME, "--network", "host", *seen, IMAGE, "sleep", "infinity"))
        try:
            box = Container(lab=lab, host=host, name=NAME)
            host.run((*box.wrapper, "sh", "-c", TOUCH_FOLDERS))
            yield box
        finally:
            host.run(("docker", "rm", "-f", NAME))


def _mounted() -> list[str]:
    wanted = sorted({"/usr", str(PROJECT), sys.prefix, sys.base_prefix})
    return [path for path in wanted if not any(Path(path).is_relative_to(other) for other in wanted if other != path)]


@contextmanager
def _engine(host: Host) -> Iterator[None]:
    argv = (*ENGINE, "--data-root", STORE, "--cgroup-parent", f"/{interface(host.lab)}")
    log = host.path("/run/dockerd.log")
    with log.open("w") as output:
        engine = host.popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_for_engine(host, engine, log)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(engine.pid, signal.SIGTERM)
        engine.wait(timeout=START_PATIENCE_S)


def _wait_for_engine(host: Host, engine: subprocess.Popen[str], log: Path) -> None:
    end = time.monotonic() + START_PATIENCE_S
    while not _answers(host):
        if engine.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"no Docker engine: {log.read_text()[-1000:]}")
        time.sleep(0.05)


def _answers(host: Host) -> bool:
    with suppress(RuntimeError):
        host.run(("docker", "version"))
        return True
    return False
