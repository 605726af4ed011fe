"""Is the command to copy the one for this node?"""

from __future__ import annotations

from diag.facts.remedy import advice, command
from diag.facts.verdict import About, Verdict
from tests.checks.changes import of_cluster
from tests.checks.healthy import cpu_cluster, gpu_cluster

ABOUT = About(title="", why="", do="Raise it on {node} ({address}).\n$ ssh {node} 'nvidia-smi -i {subject}; ls {path}'")
FAILED = Verdict(check="x", node="gpu02", subject="gpu:3", outcome="failed")


def test_placeholders_are_the_verdicts_own():
    assert advice(ABOUT, FAILED, gpu_cluster()) == "Raise it on gpu02 (10.0.0.12)."
    assert command(ABOUT, FAILED, gpu_cluster()) == "ssh gpu02 'nvidia-smi -i 3; ls /models/Qwen3-32B'"


def test_on_the_only_node_which_is_this_machine_the_command_is_bare():
    here = of_cluster(controller=gpu_cluster().controller.__class__(hostname="node1", python="", diag=""))(
        cpu_cluster(1)
    )
    about = About(title="", why="", do="Look.\n$ ssh {node} 'df -h {subject}; ls \"$HOME\"'")
    verdict = Verdict(check="x", node="node1", subject="filesystem:/tmp", outcome="failed")
    assert command(about, verdict, here) == 'df -h /tmp; ls "$HOME"'


def test_a_check_without_a_command_has_none():
    assert command(About(title="", why="", do="Look."), FAILED, gpu_cluster()) is None
    assert command(About(title="", why="", do=""), FAILED, gpu_cluster()) is None


def test_what_is_no_placeholder_stays():
    about = About(title="", why="", do="Look.\n$ ssh {node} awk '{print $1}' /proc/loadavg")
    assert command(about, FAILED, gpu_cluster()) == "ssh gpu02 awk '{print $1}' /proc/loadavg"
