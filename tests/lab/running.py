"""How does a test run the command as a user would, over SSH, and read what it prints for machines?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.lab.cluster import Lab
from tests.lab.host import Host
from tests.lab.processes import Process

AGENT = "import os,sys;n="
"""What the agent's command line contains on every node."""
LEASE_S = 20.0
"""How long an agent lives that hears nothing, diag.node.agent's."""
RATE_OF_A_LONG_JOB = "100mbit"
"""At this rate of every host the largest size takes long enough to plant a fault in it."""


class Run:
    """``diag run`` as its own process; its run directory and what it printed. Without ``--pairs`` it measures none."""

    def __init__(self, lab: Lab, out: Path, *options: str, hosts: tuple[str, ...] = ()) -> None:
        self.out = out
        pairs = () if "--pairs" in options else ("--pairs", "none")
        selected = hosts or ("--hosts", ",".join(lab.names))
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "diag", "run", *selected, "--ssh-config", str(lab.ssh_config),
             "--python", sys.executable, "--out", str(out), "--json", *pairs, *options],
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

    def stage(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(stage for stage in self.verdicts["stages"] if stage["name"] == name)
        return found

    def snapshot(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.out / "snapshot.json").read_text())
        return read

    def report(self) -> str:
        """What a person reads of this run."""
        argv = (sys.executable, "-m", "diag", "check", str(self.out))
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60).stdout


def complete(run: Run, lab: Lab) -> None:
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


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"never came: {what}"
        time.sleep(0.1)


def ranks_of(host: Host) -> list[Process]:
    return [
        one
        for one in host.processes()
        if "allreduce" in " ".join(one.argv) and "torch.distributed" not in " ".join(one.argv)
    ]


def in_the_all_reduce(lab: Lab) -> bool:
    """Every rank has connections to the other ranks' hosts beside the one to the store: the process group is there."""
    return all(len(_peers(host)) >= 2 for host in lab.hosts)


def _peers(host: Host) -> set[str]:
    table = Path(f"/proc/{host.pid}/net/tcp").read_text().splitlines()[1:]
    established = [row.split()[2] for row in table if row.split()[3] == "01"]
    ssh = {row.split()[2] for row in table if row.split()[1].endswith(":0016")}
    return {remote.split(":")[0] for remote in established if remote not in ssh}


def run_into_the_all_reduce(lab: Lab, out: Path, *options: str) -> Run:
    """A run on hosts made slow that is two seconds into its all-reduce: most of that time is left for a fault."""
    for host in lab.hosts:
        host.set_rate(RATE_OF_A_LONG_JOB)
    run = Run(lab, out, *options)
    wait_for(lambda: in_the_all_reduce(lab), "the all-reduce")
    time.sleep(2)
    return run
