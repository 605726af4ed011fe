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


def test_the_command_goes_the_way_that_the_run_went():
    ways = {"gpu02": ("ssh", "-F", "my lab.conf", "-p", "2222", "-l", "ops", "-o", "HostName=10.0.0.9", "gpu02")}
    ssh = "ssh -F 'my lab.conf' -p 2222 -l ops -o HostName=10.0.0.9 gpu02"
    assert command(ABOUT, FAILED, gpu_cluster(), ways=ways) == f"{ssh} 'nvidia-smi -i 3; ls /models/Qwen3-32B'"
    about = About(title="", why="", do="Look.\n$ ssh -G {node}")
    assert command(about, FAILED, gpu_cluster(), ways=ways) == ssh.replace("ssh", "ssh -G", 1)
    about = About(title="", why="", do="Look.\n$ getent ahosts {node}")
    assert command(about, FAILED, gpu_cluster(), ways=ways) == "getent ahosts gpu02"


def test_on_this_machine_among_others_the_command_is_bare():
    about = About(title="", why="", do="Look.\n$ ssh {node} 'df -h'")
    assert command(about, FAILED, gpu_cluster(), ways={"gpu02": ()}) == "df -h"


def test_a_node_whose_way_is_not_known_is_reached_by_its_name():
    assert command(ABOUT, FAILED, gpu_cluster(), ways={"gpu01": ("ssh", "x")}) == command(ABOUT, FAILED, gpu_cluster())


def test_a_run_to_be_repeated_names_its_hosts():
    about = About(title="-", why="-", do="again\n$ diag run {hosts} --deadline collectives=300")
    verdict = Verdict(check="-", node=None, subject=None, outcome="failed")
    assert command(about, verdict, gpu_cluster(2)) == "diag run --hosts gpu01,gpu02 --deadline collectives=300"
