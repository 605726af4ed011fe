"""Does a run measure what the engine gets in its container, and is nothing left of it, however the run ends?

Each ends inside a container that was there before and in one that diag starts: by a signal, by the loss of the
connection, of the container, of one agent or the other.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diag.remote.runtimes import LABEL_RUN
from tests.lab.docker import NAME, Container
from tests.lab.images import import_python
from tests.lab.running import AGENT, Run, ranks_of, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.docker, pytest.mark.torch, pytest.mark.timeout(240)]

NOWHERE = "/nowhere/python3"
IMAGES_PYTHON = "/usr/bin/python3"
TORCH = Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
BY_NAME, BY_IMAGE = "container", "image"
QUICK = ("--max-size", "64KiB")

LEFT = 'for file in {}; do [ -e "$file" ] && echo "$file"; done; true'
"""For a shell without tools: which of these are there."""


@pytest.fixture(scope="module")
def image(docker_container: Container) -> str:
    return import_python(docker_container.host, more=str(TORCH / "torch/lib/libtorch_python.so"))


@pytest.fixture
def own_container(docker_container: Container, image: str) -> Iterator[str]:
    """One that a test may stop."""
    seen = ("--mount", f"type=bind,source={TORCH},target={TORCH},readonly")
    docker_container.host.run(
        ("docker", "run", "-d", "--name", "engine", "--network", "host", *seen, "--entrypoint", "sleep", image, "999")
    )
    yield "engine"
    docker_container.host.run(("docker", "rm", "-f", "engine"))


def inventory(place: Path, host: str, kind: str, name: str) -> tuple[str, ...]:
    """One host and where its engine runs; torch comes from the folder that is mounted."""
    lines = [f"[hosts.{host}]", f'env = {{ PYTHONPATH = "{TORCH}" }}', f'{kind} = "{name}"']
    path = place / "cluster.toml"
    path.write_text("\n".join(lines) + "\n")
    return ("--inventory", str(path))


def started(container: Container, place: Path, kind: str, name: str, *options: str) -> Run:
    """``--model`` names what is mounted into the container that is started: here the folder that holds torch."""
    mounted = ("--model", str(TORCH)) if kind == BY_IMAGE else ()
    python = ("--python", IMAGES_PYTHON, "--runtime", "docker")  # asked first, podman furnishes folders of its own
    hosts = inventory(place, container.host.name, kind, name)
    return Run(container.lab, place / "run", *python, *mounted, *options, hosts=hosts)


@contextmanager
def leaving_nothing(container: Container) -> Iterator[None]:
    """But in the books of the engine itself."""
    before = container.lab.look()
    yield
    left = [line for line in container.lab.left_since(before) if "/run/docker-data/" not in line]
    assert not left


def labelled(container: Container) -> list[str]:
    return container.host.run(("docker", "ps", "-aq", "--filter", f"label={LABEL_RUN}")).split()


def topic(node: dict, name: str, use: str) -> dict:
    return next(entry for entry in node[name] if entry["use"] == use)


def test_both_sides_of_a_container_are_known_and_ranks_run_inside(docker_container, tmp_path):
    lab, (within, beside) = docker_container.lab, docker_container.lab.hosts
    place = tmp_path / "cluster.toml"
    place.write_text(f'[hosts.{within.name}]\ncontainer = "{NAME}"\n[hosts.{beside.name}]\n')
    with leaving_nothing(docker_container):
        run = Run(lab, tmp_path / "run", *QUICK, hosts=("--inventory", str(place))).wait()
    node, plain = run.snapshot()["nodes"]
    assert node["inside"]["container"] == NAME
    assert node["agent"]["wrapper"][:3] == ["docker", "exec", "-i"]
    assert (node["container"]["kind"], node["host_side"]["container"].get("kind")) == ("docker", "other"), (
        "a host of the lab has a pid namespace of its own"
    )
    assert (
        topic(node, "filesystems", "shm")["total_bytes"],
        topic(node["host_side"], "filesystems", "shm")["total_bytes"],
    ) == (64 << 20, 1 << 30)
    assert "host_side" not in plain
    assert run.snapshot()["collective"]["finished"]
    assert run.culprits()["shm_too_small"] == (within.name,)
    assert f"{within.name}: in container {NAME} (docker): /dev/shm 64.0 MiB (host 1.0 GiB)" in " ".join(
        run.report().split()
    )


def test_a_container_is_started_of_an_image_and_removed(docker_container, image, tmp_path):
    within = docker_container.host
    with leaving_nothing(docker_container):
        run = started(docker_container, tmp_path, BY_IMAGE, image, *QUICK)
        wait_for(lambda: bool(ranks_of(within)), "ranks")
        assert len(labelled(docker_container)) == 1
        run.wait()
    assert labelled(docker_container) == []
    (node,) = run.snapshot()["nodes"]
    assert node["inside"]["image"] == image
    assert (node["agent"]["executable"], node["agent"]["pid"]) == (IMAGES_PYTHON, 1)
    assert node["hostname"]["name"] == node["host_side"]["hostname"]["name"]
    assert node["model"]["exists"]
    assert run.snapshot()["collective"]["finished"], run.snapshot()["collective"]
    assert "left_behind" not in node


LINES = {
    ("container", "nobody"): f"no container nobody under docker there; running are {NAME}",
    ("container", "stopped"): "container stopped is not running (Exited (0)",
    ("image", "nobody/nothing:1"): "docker has no image nobody/nothing:1 there, and diag pulls none",
    ("image", "lab:latest"): f"no {IMAGES_PYTHON} in image lab:latest",
    ("container", NAME): f"no {NOWHERE} in container {NAME}",
}


@pytest.mark.parametrize("asked", LINES, ids=" ".join)
def test_what_cannot_be_entered_is_one_line(docker_container, image, tmp_path, asked):
    host, (kind, name) = docker_container.host, asked
    if name == "stopped":
        host.run(("docker", "run", "--name", name, "--network", "none", "--entrypoint", "sleep", image, "0"))
    python = ("--python", NOWHERE) if name == NAME else ()
    try:
        with leaving_nothing(docker_container):
            run = started(docker_container, tmp_path, kind, name, *python).wait()
    finally:
        host.run(("docker", "rm", "-f", "stopped"), check=False)
    assert LINES[asked] in run.snapshot()["nodes"][0]["reach"]["summary"]
    assert run.status == 3
    assert run.seconds < 15


def by_signal(number: signal.Signals) -> Callable[[Container, Run], None]:
    return lambda _, run: run.process.send_signal(number)


def lose_connection(container: Container, _: Run) -> None:
    assert container.host.kill("sshd: root@notty")


def kill_outer_agent(container: Container, _: Run) -> None:
    """The one outside the container: its parent's pid namespace is the host's."""
    outer = [one for one in container.host.processes() if is_outer(one.argv)]
    assert outer
    for one in outer:
        container.host.run(("kill", "-KILL", str(one.pid_inside)), check=False)


def is_outer(argv: tuple[str, ...]) -> bool:
    return AGENT in " ".join(argv) and "docker" not in argv and not argv[0].startswith(IMAGES_PYTHON)


def freeze_inner_agent(container: Container, _: Run) -> None:
    inner = [one for one in container.host.processes() if argv_of_inner(one.argv)]
    assert inner
    for one in inner:
        container.host.run(("kill", "-STOP", str(one.pid_inside)), check=False)


def argv_of_inner(argv: tuple[str, ...]) -> bool:
    return AGENT in " ".join(argv) and argv[0] == IMAGES_PYTHON


ENDS: dict[str, Callable[[Container, Run], None]] = {
    "SIGKILL of diag": by_signal(signal.SIGKILL),
    "Ctrl-C": by_signal(signal.SIGINT),
    "SIGTERM": by_signal(signal.SIGTERM),
    "loss of the connection": lose_connection,
    "SIGKILL of the host's agent": kill_outer_agent,
    "a frozen agent inside": freeze_inner_agent,
}


@pytest.mark.parametrize("case", [*itertools.product((BY_NAME, BY_IMAGE), ENDS)], ids=": ".join)
def test_nothing_is_left_however_a_run_ends(docker_container, own_container, image, tmp_path, case):
    host, (kind, end) = docker_container.host, case
    before = {(one.pid, one.started) for one in host.processes()}
    deadlines = ("--deadline", "collectives=12")
    name = own_container if kind == BY_NAME else image
    run = started(docker_container, tmp_path, kind, name, *deadlines)
    wait_for(lambda: bool(ranks_of(host)), "ranks")
    ENDS[end](docker_container, run)
    run.process.communicate(timeout=60)
    wait_for(lambda: not labelled(docker_container), "the end of the container", 30)
    wait_for(lambda: not left(docker_container, before), "the end of what ran inside", 30)
    files = ("docker", "exec", own_container, "sh", "-c", LEFT.format("/tmp/diag-* /dev/shm/*"))
    assert host.run(files).split() == []


def left(container: Container, before: set[tuple[int, int]]) -> list[str]:
    return [str(one) for one in container.host.processes() if (one.pid, one.started) not in before and ours(one.argv)]


def ours(argv: tuple[str, ...]) -> bool:
    line = " ".join(argv)
    return AGENT in line or "allreduce" in line or "torch" in line


def test_a_container_that_is_stopped_meanwhile_is_a_node_that_was_lost(docker_container, own_container, tmp_path):
    host = docker_container.host
    before = {(one.pid, one.started) for one in host.processes()}
    run = started(docker_container, tmp_path, BY_NAME, own_container, "--deadline", "collectives=20")
    wait_for(lambda: bool(ranks_of(host)), "ranks")
    host.run(("docker", "kill", own_container))
    killed_at = time.monotonic()
    run.wait()
    assert run.status in (1, 3), run.stderr
    assert time.monotonic() - killed_at < 30
    summary = run.snapshot()["nodes"][0]["reach"]["summary"]
    assert "stopped answering in collectives" in summary
    assert left(docker_container, before) == []
    assert json.loads((run.out / "verdicts.json").read_text())["exit_status"] == run.status


@pytest.mark.parametrize("end", ["by itself", "SIGKILL of diag"])
def test_this_machines_own_container_is_entered_and_left_clean(docker_container, own_container, tmp_path, end):
    """Without SSH: each agent has a client of its own."""
    out = tmp_path / "run"
    argv = [sys.executable, "-m", "diag", "run", "--container", own_container, "--python", IMAGES_PYTHON]
    argv += ["--runtime", "docker", "--out", str(out), "--level", "quick", *QUICK]
    environment = {**os.environ, "DOCKER_HOST": docker_container.docker_host, "SSH_AUTH_SOCK": ""}
    host, before = docker_container.host, {(one.pid, one.started) for one in docker_container.host.processes()}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        if end != "by itself":
            wait_for(lambda: bool(left(docker_container, before)) or run.poll() is not None, "the agent inside")
            run.kill()
        _, said = run.communicate(timeout=90)
    assert end == "by itself" or run.returncode == -signal.SIGKILL, said
    wait_for(lambda: not left(docker_container, before), "the end of what ran inside", 30)
    assert host.run(("docker", "exec", own_container, "sh", "-c", LEFT.format("/tmp/diag-*"))).split() == []
    if end == "by itself":
        (node,) = json.loads((out / "snapshot.json").read_text())["nodes"]
        assert node["inside"]["container"] == own_container, said
        assert node["host_side"]["agent"]["executable"] == sys.executable
