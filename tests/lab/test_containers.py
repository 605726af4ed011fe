"""Is the container a real one, and is what it leaves behind seen from its host?"""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.lab.client import ssh

pytestmark = [pytest.mark.lab, pytest.mark.docker]


def test_a_container_is_entered_over_ssh(docker_container):
    command = " ".join((*docker_container.wrapper, "python3", "-c", "'import os; print(os.getpid() < 100)'"))
    assert ssh(docker_container.lab, docker_container.host.name, f"{command}").stdout == "True\n"


def test_a_container_has_dockers_small_shared_memory_and_its_hosts_address(docker_container):
    printed = docker_container.host.run(
        (*docker_container.wrapper, "sh", "-c", "df --output=size /dev/shm; hostname -I")
    )
    assert printed.split()[1:] == ["65536", docker_container.host.address]


def test_this_machine_talks_to_the_engine_too(docker_container):
    environment = {**os.environ, "DOCKER_HOST": docker_container.docker_host}
    argv = (*docker_container.wrapper, "hostname")
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert done.stdout == f"{docker_container.host.name}\n"


@pytest.mark.torch
def test_a_container_runs_the_projects_python(docker_container):
    question = (str(docker_container.lab.python), "-c", "import importlib.util as u; print(u.find_spec('torch').name)")
    assert docker_container.host.run((*docker_container.wrapper, *question)) == "torch\n"


def test_what_is_left_in_a_container_is_named(docker_container):
    lab, inside = docker_container.lab, (*docker_container.wrapper, "sh", "-c")
    before = lab.look()
    docker_container.host.run((*inside, "touch /tmp/here"))
    left = lab.left_since(before, grace_s=0)
    docker_container.host.run((*inside, "rm /tmp/here"))
    assert [line.rpartition("/")[2] for line in left if "file" in line] == ["here"]
    assert lab.left_since(before) == []
