"""Does the main job hold on real hosts, healthy and born with each fault: on time, the culprit named, nothing left?

Every test runs the command as a user would, over SSH, and reads what it prints for machines.
"""

from __future__ import annotations

import json

import pytest

from tests.lab.running import Run, complete

pytestmark = [pytest.mark.lab, pytest.mark.torch, pytest.mark.timeout(240)]

BOOT_FAULT_S = 60.0
"""Within this ends a small run on hosts of which one is ill from the start, on a busy machine too."""


def test_four_healthy_hosts_pass_with_a_measured_collective(lab4, tmp_path, leaves_nothing):
    with leaves_nothing(lab4):
        run = Run(lab4, tmp_path / "run").wait()
    assert run.status == 0, run.stderr + run.stdout
    complete(run, lab4)
    assert not run.failed()
    assert not run.verdicts["culprits"]
    snapshot = json.loads((run.out / "snapshot.json").read_text())
    collective = snapshot["collective"]
    assert collective["backend"] == "gloo"
    assert collective["finished"]
    assert (snapshot["without"], snapshot["gloo"]) == (None, None), "nobody at fault, and GLOO's itself"
    assert "all-reduce time: nodes " in run.report()
    assert [step["size_bytes"] for step in collective["steps"]][:: len(collective["steps"]) - 1] == [8192, 64 << 20]
    assert all(step["verified"] and step["busbw_bytes_per_s"] > 0 for step in collective["steps"])
    assert dict(collective["interfaces"]) == {host.name: "eth0" for host in lab4.hosts}
    assert [stage["name"] for stage in run.verdicts["stages"]][:3] == ["reach", "facts", "collectives"]
    assert snapshot["nodes"][0]["evidence"]


ACTIVE, PASSIVE = ("--max-size", "64KiB"), ("--level", "passive")
# fault at boot -> cause, whether it is a failure (exit 1) or not measured (exit 3), and how much is run beside it
AT_BOOT = {
    "sshd_down": ("node_unreachable", 3, ACTIVE),
    "hostkey": ("host_key_changed", 3, PASSIVE),
    "unknownkey": ("host_key_unknown", 3, PASSIVE),
    "noauth": ("ssh_auth_failed", 3, PASSIVE),
    "nopython": ("python_missing", 3, PASSIVE),
    "hosts127": ("gloo_hostname_loopback", 1, ACTIVE),
    "shm64m": ("shm_too_small", 1, ACTIVE),
    "othertorch": ("version_differs", 1, ACTIVE),
    "fulldisk": ("disk_full_or_quota", 1, ACTIVE),
    "lownofile": ("open_files_limit", 1, ACTIVE),
    "skew": ("clock_skew", 1, PASSIVE),
}


@pytest.mark.parametrize("fault", AT_BOOT)
def test_a_host_born_with_a_fault_is_named_with_its_cause(make_lab, tmp_path, leaves_nothing, fault):
    cause, status, load = AT_BOOT[fault]
    lab = make_lab(3, faults={1: (fault,)})
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", *load).wait()
    assert run.status == status, run.stderr + run.stdout
    complete(run, lab)
    assert run.seconds < BOOT_FAULT_S
    assert run.culprits().get(cause) == (lab.hosts[1].name,), run.verdicts["culprits"]
    others = {host.name for host in lab.hosts} - {lab.hosts[1].name}
    blamed = {node for nodes in run.culprits().values() for node in nodes}
    assert not blamed & others, run.verdicts["culprits"]
    assert all(run.outcomes("open_files_limit_is_high_enough")[name] == "passed" for name in others)


def test_a_noisy_login_shell_is_told_and_harms_nothing(make_lab, tmp_path, leaves_nothing):
    lab = make_lab(3, faults={1: ("noisy",)})
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", *ACTIVE).wait()
    assert run.status == 0, run.stderr + run.stdout
    complete(run, lab)
    advised = {(v["node"], v["check"]) for v in run.verdicts["verdicts"] if v["outcome"] == "advice"}
    assert {node for node, check in advised if "login" in check} == {lab.hosts[1].name}


def test_many_faults_at_once_are_each_named(make_lab, tmp_path, leaves_nothing):
    faults = {1: ("sshd_down",), 2: ("hostkey",), 3: ("shm64m",), 4: ("hosts127",), 5: ("noisy",), 6: ("fulltmp",)}
    lab = make_lab(8, faults=faults)
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", "--level", "passive").wait()
    names = [host.name for host in lab.hosts]
    assert run.status == 1, run.stderr + run.stdout
    complete(run, lab)
    assert run.culprits() == {
        "node_unreachable": (names[1],),
        "host_key_changed": (names[2],),
        "shm_too_small": (names[3],),
        "gloo_hostname_loopback": (names[4],),
        "disk_full_or_quota": (names[6],),
    }


@pytest.mark.docker
def test_an_exec_wrapper_measures_what_the_container_sees(docker_container, tmp_path, leaves_nothing):
    lab, (inside, beside) = docker_container.lab, docker_container.lab.hosts
    inventory = tmp_path / "cluster.toml"
    wrapper = " ".join(docker_container.wrapper)
    inventory.write_text(f'[hosts.{inside.name}]\nexec = "{wrapper}"\n\n[hosts.{beside.name}]\n')
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", *ACTIVE, hosts=("--inventory", str(inventory))).wait()
    complete(run, lab)
    snapshot = json.loads((run.out / "snapshot.json").read_text())
    contained, host = snapshot["nodes"]
    assert contained["agent"]["wrapper"] == [*docker_container.wrapper]
    assert (contained["container"]["kind"], host["container"]["kind"]) == ("docker", "other"), (
        "a host of the lab has a pid namespace of its own"
    )
    shm = {node["name"]: next(fs for fs in node["filesystems"] if fs["use"] == "shm") for node in snapshot["nodes"]}
    assert (shm[inside.name]["total_bytes"], shm[beside.name]["total_bytes"]) == (64 << 20, 1 << 30)
    assert run.culprits()["shm_too_small"] == (inside.name,)
    assert snapshot["collective"]["finished"]
    assert run.status == 1
