from __future__ import annotations

from typing import Any

import pytest

from diag.facts.record import Missing, peek
from tests.probes.recorded import read

INSIDE = {"mount_namespace": "mnt:[4026532999]"}


@pytest.mark.parametrize(
    ("signs", "kind", "told_by"),
    [
        ({"files": ["/.dockerenv"]}, "docker", "/.dockerenv"),
        ({"files": ["/run/.containerenv"]}, "podman", "/run/.containerenv"),
        ({"files": ["/.dockerenv"], "kubernetes": True}, "kubernetes", "KUBERNETES_SERVICE_HOST"),
        ({"variable": "lxc"}, "lxc", "container=lxc"),
        ({"init_variable": "oci"}, "podman", "container=oci"),
        ({"systemd": "systemd-nspawn"}, "other", "/run/systemd/container"),
        (
            {"cgroup": "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-1.scope"},
            "kubernetes",
            "cgroup /kubepods",
        ),
        ({"init_cgroup": "4:memory:/docker/abc"}, "docker", "cgroup /docker/abc"),
        ({"cgroup": "0::/system.slice/docker-abc.scope"}, "docker", "cgroup /system.slice/docker-abc.scope"),
        ({"cgroup": "0::/system.slice/docker.service"}, None, "no sign"),
        ({"cgroup": "0::/", "pid_namespace": "pid:[4026533000]"}, "other", "a pid namespace of its own"),
        ({"cgroup": "0::/", "pid_namespace": "pid:[4026531836]"}, None, "no sign"),
        ({"cgroup": "0::/user.slice/user-0.slice/session-3.scope"}, None, "no sign"),
    ],
)
def test_the_sign_tells_the_kind(signs: dict[str, Any], kind: str | None, told_by: str):
    container = read("container", container={**INSIDE, **signs})
    assert container.kind == kind
    assert container.told_by.startswith(told_by)


@pytest.mark.parametrize(("namespace", "own"), [("pid:[4026531836]", True), ("pid:[4026532999]", False), (None, None)])
def test_pids_are_the_machine_s_own_in_its_first_pid_namespace(namespace: str | None, own: bool | None):
    """A driver tells the machine's pids: in another namespace, of whatever runtime, our own would seem to have come."""
    found = peek(read("container", container={**INSIDE, "pid_namespace": namespace}), "pids_of_machine")
    assert (None if isinstance(found, Missing) else found) is own


def test_a_marker_left_in_an_image_makes_no_container_of_the_machine_itself():
    """Recorded from a virtual machine whose disk was made from a container image."""
    container = read("container")
    assert (container.kind, container.told_by) == (None, "the first mount namespace")
