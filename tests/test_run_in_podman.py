"""Does a run start and enter containers of podman as it does those of Docker? Where podman is installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from diag.remote.runtimes import LABEL_RUN
from tests.lab.host import Host
from tests.lab.images import import_python
from tests.lab.running import Run

pytestmark = [pytest.mark.lab, pytest.mark.may_skip, pytest.mark.timeout(240)]

STORAGE = """\
[storage]
driver = "vfs"
graphroot = "/run/podman-data"
runroot = "/run/podman-run"
"""
ENGINE = """\
[containers]
default_ulimits = ["nofile=1024:2048", "nproc=1024:2048"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
PYTHON = "/usr/bin/python3"


def podman_on(host: Host) -> str:
    """It is told where to keep its files: an overlay cannot lie on an overlay. The image's name."""
    host.path("/etc/containers").mkdir(exist_ok=True)
    host.path("/etc/containers/storage.conf").write_text(STORAGE)
    host.path("/etc/containers/containers.conf").write_text(ENGINE)
    return import_python(host, runtime="podman", image="localhost/lab-python:latest")


@pytest.mark.skipif(shutil.which("podman") is None, reason="no podman here")
def test_podmans_containers_are_started_entered_and_left_clean(make_lab: Callable, tmp_path):
    lab = make_lab(1)
    (host,) = lab.hosts
    image = podman_on(host)
    host.run(("podman", "run", "-d", "--name", "engine", "--network", "host", "--entrypoint", "sleep", image, "999"))
    options = ("--runtime", "podman", "--python", PYTHON, "--level", "passive")
    for kind, name in (("image", image), ("container", "engine")):
        run = Run(lab, tmp_path / kind, *options, f"--{kind}", name).wait()
        (node,) = run.snapshot()["nodes"]
        assert node["reach"]["outcome"] == "answered", node["reach"]
        assert (node["inside"]["runtime"], node["agent"]["executable"]) == ("podman", PYTHON)
        assert node["container"]["kind"] == "podman"
        assert node["host_side"]["container"]["kind"] == "other", "a host of the lab has a pid namespace of its own"
        assert host.run(("podman", "ps", "-aq", "--filter", f"label={LABEL_RUN}")).split() == []
    host.run(("podman", "rm", "-f", "-t", "0", "engine"))
