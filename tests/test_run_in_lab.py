"""Does the main job hold on real hosts, healthy and with each fault: on time, the culprit named, nothing left behind?

Every test runs the command as a user would, over SSH, and reads what it prints for machines.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.torch, pytest.mark.timeout(240)]

AGENT = "import os,sys;n="
"""What the agent's command line contains on every node."""


class Run:
    """``diag run`` as its own process; its run directory and what it printed."""

    def __init__(self, lab: Any, out: Path, *options: str, hosts: tuple[str, ...] = ()) -> None:
        self.out = out
        selected = hosts or ("--hosts", ",".join(lab.names))
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "diag", "run", *selected, "--ssh-config", str(lab.ssh_config),
             "--python", sys.executable, "--out", str(out), "--json", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
            env={**os.environ, "SSH_AUTH_SOCK": ""},
        )  # fmt: skip

    def wait(self, timeout_s: float = 150) -> Run:
        self.stdout, self.stderr = self.process.communicate(timeout=timeout_s)
        self.seconds = time.monotonic() - self.began
        self.status = self.process.returncode
        self.verdicts = json.loads(self.stdout) if self.stdout.strip() else {}
        return self

    def outcomes(self, check: str) -> dict[str, str]:
        return {v["node"]: v["outcome"] for v in self.verdicts["verdicts"] if v["check"] == check}

    def culprits(self) -> dict[str, tuple[str, ...]]:
        return {c["cause"]: tuple(c["nodes"]) for c in self.verdicts["culprits"]}

    def failed(self) -> set[str]:
        return {v["check"] for v in self.verdicts["verdicts"] if v["outcome"] in ("failed", "broken")}


def complete(run: Run, lab: Any) -> None:
    """Whatever happened: every node has one outcome per check, and all files of a run are there."""
    for name in ("snapshot.json", "verdicts.json", "plan.json", "junit.xml"):
        assert (run.out / name).stat().st_size > 0, name
    assert json.loads((run.out / "verdicts.json").read_text()) == run.verdicts
    per_check: dict[tuple[str, str], set[str | None]] = {}
    for verdict in run.verdicts["verdicts"]:
        if verdict["node"] is not None:
            per_check.setdefault((verdict["check"], verdict["node"]), set()).add(verdict["subject"])
    nodes = {host.name for host in lab.hosts}
    for check in {check for check, _ in per_check}:
        assert {node for c, node in per_check if c == check} == nodes, check


def wait_for(condition: Any, what: str, timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"never came: {what}"
        time.sleep(0.1)


def ranks_of(host: Any) -> list[Any]:
    return [
        one
        for one in host.processes()
        if "allreduce" in " ".join(one.argv) and "torch.distributed" not in " ".join(one.argv)
    ]


def in_the_all_reduce(lab: Any) -> bool:
    """Every rank has connections to the other ranks' hosts beside the one to the store: the process group is there."""
    return all(len(peers(host)) >= 2 for host in lab.hosts)


def peers(host: Any) -> set[str]:
    table = Path(f"/proc/{host.pid}/net/tcp").read_text().splitlines()[1:]
    established = [row.split()[2] for row in table if row.split()[3] == "01"]
    ssh = {row.split()[2] for row in table if row.split()[1].endswith(":0016")}
    return {remote.split(":")[0] for remote in established if remote not in ssh}


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
    assert [step["size_bytes"] for step in collective["steps"]][:: len(collective["steps"]) - 1] == [8192, 64 << 20]
    assert all(step["verified"] and step["busbw_bytes_per_s"] > 0 for step in collective["steps"])
    assert dict(collective["interfaces"]) == {host.name: "eth0" for host in lab4.hosts}
    assert [stage["name"] for stage in run.verdicts["stages"]][:3] == ["reach", "facts", "collectives"]
    assert snapshot["nodes"][0]["evidence"]


# fault at boot -> cause, whether it is a failure (exit 1) or not measured (exit 3)
AT_BOOT = {
    "sshd_down": ("node_unreachable", 3),
    "hostkey": ("host_key_changed", 3),
    "unknownkey": ("host_key_unknown", 3),
    "noauth": ("ssh_auth_failed", 3),
    "nopython": ("python_missing", 3),
    "hosts127": ("gloo_hostname_loopback", 1),
    "shm64m": ("shm_too_small", 1),
    "othertorch": ("version_differs", 1),
    "fulldisk": ("disk_full_or_quota", 1),
    "lownofile": ("open_files_limit", 1),
    "skew": ("clock_skew", 1),
}


@pytest.mark.parametrize("fault", AT_BOOT)
def test_a_host_born_with_a_fault_is_named_with_its_cause(make_lab, tmp_path, leaves_nothing, fault):
    cause, status = AT_BOOT[fault]
    lab = make_lab(3, faults={1: (fault,)})
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", "--max-size", "64KiB").wait()
    assert run.status == status, run.stderr + run.stdout
    complete(run, lab)
    assert run.culprits().get(cause) == (lab.hosts[1].name,), run.verdicts["culprits"]
    others = {host.name for host in lab.hosts} - {lab.hosts[1].name}
    blamed = {node for nodes in run.culprits().values() for node in nodes}
    assert not blamed & others, run.verdicts["culprits"]
    assert all(run.outcomes("open_files_limit_is_high_enough")[name] == "passed" for name in others)


def test_a_noisy_login_shell_is_told_and_harms_nothing(make_lab, tmp_path, leaves_nothing):
    lab = make_lab(3, faults={1: ("noisy",)})
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", "--max-size", "64KiB").wait()
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


def test_a_sshd_frozen_before_login_is_named_and_costs_no_more_than_the_deadline(lab4, tmp_path, leaves_nothing):
    frozen = lab4.hosts[2]
    with leaves_nothing(lab4):
        frozen.freeze_sshd()
        run = Run(lab4, tmp_path / "run", "--max-size", "64KiB", "--deadline", "reach=4").wait()
        frozen.thaw_sshd()
    assert run.status == 3, run.stderr
    complete(run, lab4)
    assert run.culprits() == {"node_unreachable": (frozen.name,)}
    assert run.verdicts["stages"][0]["seconds"] < 7
    assert run.verdicts["stages"][0]["nodes_done"] == 3
    assert "banner" in json.dumps(run.verdicts["culprits"])


def test_a_mount_that_hangs_costs_one_node_its_model_facts_only(make_lab, tmp_path, leaves_nothing):
    lab = make_lab(3, faults={1: ("hungmount",)})
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", "--model", "/mnt/hung", "--level", "passive").wait()
    complete(run, lab)
    hung = lab.hosts[1].name
    unknown = {
        (v["node"], v["summary"]) for v in run.verdicts["verdicts"] if v["outcome"] == "not_measured" and v["node"]
    }
    assert {node for node, why in unknown if "no answer within" in why} == {hung}
    assert run.outcomes("open_files_limit_is_high_enough")[hung] == "passed"
    assert run.seconds < 30


def test_an_agent_frozen_in_the_facts_is_named_and_leaves_nothing_when_thawed(make_lab, tmp_path, leaves_nothing):
    lab = make_lab(3, faults={1: ("hungmount",)})  # whose facts take until the request for the hung model gives up
    frozen = lab.hosts[1]
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", "--model", "/mnt/hung", "--level", "passive", "--deadline", "facts=12")
        wait_for(lambda: any(AGENT in " ".join(one.argv) for one in frozen.processes()), "agent")
        time.sleep(2)
        assert frozen.freeze(AGENT)
        run.wait()
        assert frozen.thaw(AGENT)
    complete(run, lab)
    assert run.culprits()["agent_silent"] == (frozen.name,)
    facts = run.verdicts["stages"][1]
    assert (facts["name"], facts["nodes_done"], facts["nodes_total"]) == ("facts", 2, 3)
    assert facts["seconds"] < 14


@pytest.mark.parametrize("act", ["kill", "freeze"])
def test_a_rank_killed_or_frozen_in_the_all_reduce_is_named(lab4, tmp_path, leaves_nothing, act):
    victim = lab4.hosts[3]
    for host in lab4.hosts:
        host.set_rate("100mbit")
    with leaves_nothing(lab4):
        run = Run(lab4, tmp_path / "run", "--deadline", "collectives=45")
        wait_for(lambda: in_the_all_reduce(lab4), "the all-reduce")
        time.sleep(2)
        for rank in ranks_of(victim):
            os.kill(rank.pid, signal.SIGKILL if act == "kill" else signal.SIGSTOP)
        run.wait()
        if act == "freeze":
            victim.thaw("allreduce")
    assert run.status == 1, run.stderr + run.stdout
    complete(run, lab4)
    cause = {"kill": "rank_died", "freeze": "rank_frozen"}[act]
    assert run.culprits() == {cause: (victim.name,)}, run.verdicts["culprits"]
    assert run.seconds < 90


def test_ctrl_c_writes_what_is_known_and_leaves_nothing(lab4, tmp_path, leaves_nothing):
    with leaves_nothing(lab4):
        run = Run(lab4, tmp_path / "run")
        wait_for(lambda: all(ranks_of(host) for host in lab4.hosts), "ranks on all hosts")
        run.process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        run.wait(30)
    assert run.status == 130, run.stderr
    assert time.monotonic() - asked < 20
    assert json.loads((run.out / "snapshot.json").read_text())["interrupted"] is True
    assert set(run.outcomes("open_files_limit_is_high_enough").values()) == {"passed"}
    assert "Traceback" not in run.stderr


def test_a_controller_killed_outright_leaves_nothing(lab4, tmp_path, leaves_nothing):
    with leaves_nothing(lab4):
        run = Run(lab4, tmp_path / "run")
        wait_for(lambda: all(ranks_of(host) for host in lab4.hosts), "ranks on all hosts")
        run.process.kill()
        run.process.communicate(timeout=10)


def test_a_second_run_says_who_holds_the_lock(lab4, tmp_path, leaves_nothing):
    with leaves_nothing(lab4):
        first = Run(lab4, tmp_path / "first")
        wait_for(lambda: all(ranks_of(host) for host in lab4.hosts), "ranks on all hosts")
        second = Run(lab4, tmp_path / "second").wait()
        first.wait()
    assert first.status == 0, first.stderr
    assert second.status == 3, second.stderr
    told = json.dumps([v for v in second.verdicts["verdicts"] if v["outcome"] == "not_measured"])
    assert "another diag is at work: pid" in told
    complete(second, lab4)


@pytest.mark.docker
def test_an_exec_wrapper_measures_what_the_container_sees(docker_container, tmp_path, leaves_nothing):
    lab, (inside, beside) = docker_container.lab, docker_container.lab.hosts
    inventory = tmp_path / "cluster.toml"
    wrapper = " ".join(docker_container.wrapper)
    inventory.write_text(f'[hosts.{inside.name}]\nexec = "{wrapper}"\n\n[hosts.{beside.name}]\n')
    with leaves_nothing(lab):
        run = Run(lab, tmp_path / "run", "--max-size", "64KiB", hosts=("--inventory", str(inventory))).wait()
    complete(run, lab)
    snapshot = json.loads((run.out / "snapshot.json").read_text())
    contained, host = snapshot["nodes"]
    assert contained["agent"]["wrapper"] == [*docker_container.wrapper]
    assert (contained["container"]["kind"], host["container"]["kind"]) == ("docker", None)
    shm = {node["name"]: next(fs for fs in node["filesystems"] if fs["use"] == "shm") for node in snapshot["nodes"]}
    assert (shm[inside.name]["total_bytes"], shm[beside.name]["total_bytes"]) == (64 << 20, 1 << 30)
    assert run.culprits()["shm_too_small"] == (inside.name,)
    assert snapshot["collective"]["finished"]
    assert run.status == 1
