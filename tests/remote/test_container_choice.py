"""Is the runtime found that has what was named, and said in one line why there is none?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from diag.errors import NodeError
from diag.inventory import Host
from diag.probes.verbs import Answer, Request
from diag.remote.container_choice import Choice, find

THERE = {
    "devices": [], "groups": [], "nvidia": False, "tools": [], "cdi": [], "root": True, "most_open": 1048576,
    "drivers": [], "folders": [],
}  # fmt: skip
ABSENT = "FileNotFoundError: [Errno 2] No such file or directory: 'docker'"
ROWS = "0123456789ab\tvllm\tUp 2 hours\tvllm/vllm-openai:v0.11.0\nba9876543210\told\tExited (0) 3 days ago\tx\n"
NO_IMAGE = {"status": 1, "stdout": "[]\n", "stderr": "Error: No such image: a:1"}


def ran(stdout: str = "", status: int = 0, stderr: str = "") -> dict[str, Any]:
    return {"status": status, "stdout": stdout, "stderr": stderr}


class Node:
    """Answers as it is told; what it does not know is not installed."""

    def __init__(self, **says: Any) -> None:
        self.says = {"containables": THERE, **{name.replace("_", " "): value for name, value in says.items()}}
        self.asked: list[str] = []

    def __call__(self, requests: Sequence[Request]) -> list[Answer]:
        self.asked += [request.name for request in requests]
        return [
            Answer(name=request.name, value=self.says[request.name])
            if request.name in self.says
            else Answer(name=request.name, why=ABSENT)
            for request in requests
        ]


def chosen(node: Node, **settings: str) -> Choice:
    return find(Host(name="gpu01", **settings), None, node)


def refused(node: Node, **settings: str) -> str:
    with pytest.raises(NodeError) as error:
        chosen(node, **settings)
    assert error.value.cause == "container_not_there"
    return str(error.value)


@pytest.mark.parametrize("name", ["vllm", "0123456789ab", "0123456789abcdef0123"])
def test_a_running_container_is_found_by_name_or_id(name):
    found = chosen(Node(list_docker=ran(ROWS), image_docker=ran("sha256:5c1f\n")), container=name)
    assert (found.runtime.name, found.image, found.image_id) == ("docker", "vllm/vllm-openai:v0.11.0", "5c1f")


def test_the_first_that_has_it_is_taken_and_no_other_is_asked_after_it():
    node = Node(list_docker=ran(""), list_nerdctl=ran(ROWS), image_nerdctl=ran("5c1f"))
    assert chosen(node, container="vllm").runtime.name == "nerdctl"
    assert "list podman" not in node.asked


def test_the_runtime_that_was_named_is_the_only_one_asked():
    node = Node(list_docker=ran(ROWS), image_docker=ran("1"), list_podman=ran(ROWS), image_podman=ran("2"))
    assert chosen(node, container="vllm", runtime="podman").runtime.name == "podman"
    assert "list docker" not in node.asked


def test_an_image_is_found_by_its_id():
    found = chosen(Node(list_docker=ran(""), image_docker=ran("sha256:5c1f\n")), image="a:1")
    assert (found.image, found.image_id) == ("a:1", "5c1f")


LINES = {
    "gpu01: no container nope under docker there; running are vllm; name another with --container": (
        {"list_docker": ran(ROWS), "image_docker": ran(status=1)},
        {"container": "nope"},
    ),
    "gpu01: container old is not running (Exited (0) 3 days ago) under docker there; running are vllm;"
    " start it, or name another with --container": (
        {"list_docker": ran(ROWS), "image_docker": ran("x")},
        {"container": "old"},
    ),
    "gpu01: container a is not running (Up 1 hour (Paused)) under docker there; none runs;"
    " start it, or name another with --container": (
        {"list_docker": ran("0123456789ab\ta\tUp 1 hour (Paused)\tx\n"), "image_docker": ran("x")},
        {"container": "a"},
    ),
    "gpu01: docker and podman has no image a:1 there, and diag pulls none; docker pull a:1": (
        {"list_docker": ran(""), "image_docker": NO_IMAGE, "list_podman": ran(""), "image_podman": NO_IMAGE},
        {"image": "a:1"},
    ),
    "gpu01: no docker or nerdctl or podman on the PATH there; install it, or name --exec": ({}, {"image": "a:1"}),
    "gpu01: no podman on the PATH there; install it, or name --exec": ({}, {"image": "a:1", "runtime": "podman"}),
    "gpu01: docker: permission denied; add this user to the group docker there, or log in as root, or name"
    " --runtime podman": (
        {
            "list_docker": ran(
                status=1,
                stderr="Got permission denied while trying to connect to the Docker daemon socket at"
                " unix:///var/run/docker.sock: dial unix /var/run/docker.sock: connect: permission denied",
            )
        },
        {"image": "a:1"},
    ),
    "gpu01: docker does not answer: Cannot connect to the Docker daemon at unix:///var/run/docker.sock;"
    " see 'docker ps' there": (
        {"list_docker": ran(status=1, stderr="Cannot connect to the Docker daemon at unix:///var/run/docker.sock\n")},
        {"container": "vllm"},
    ),
}


@pytest.mark.parametrize("line", LINES)
def test_what_is_not_there_is_one_line(line):
    says, settings = LINES[line]
    assert refused(Node(**says), **settings) == line


def test_a_runtime_that_lets_us_in_goes_before_one_that_does_not():
    node = Node(list_docker=ran(status=1, stderr="permission denied"), list_podman=ran(""), image_podman=ran("5c1f"))
    assert chosen(node, image="a:1").runtime.name == "podman"


@pytest.mark.parametrize("wanted", [{"container": "vllm"}, {"image": "a:1"}])
def test_beside_one_that_has_it_not_the_one_that_does_not_answer_is_named(wanted):
    """It may well be the one that has it."""
    down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."
    node = Node(list_docker=ran(status=1, stderr=down), list_podman=ran(""), image_podman=NO_IMAGE)
    assert f"; docker does not answer: {down}" in refused(node, **wanted)
