"""Does the page say who, what, and what to do, on any terminal and at any size?"""

from __future__ import annotations

import io
import time
from typing import Any

import msgspec
import pytest

from diag.catalogue import Check
from diag.facts.record import Missing
from diag.facts.verdict import About, Culprit, Verdict, Verdicts
from diag.report.ink import Ink, encodable
from diag.report.page import page
from diag.report.printable import printable
from diag.report.shown import Shown
from tests.report import samples


class Terminal(io.StringIO):
    """A stream of some encoding, of which nobody says that it is a terminal."""

    encoding = "utf-8"


def shown(**changes: Any) -> Shown:
    made = Shown(
        verdicts=samples.verdicts(), snapshot=samples.snapshot(), checks=samples.CHECKS, plan=samples.PLAN,
        place="~/runs/latest", slowest={"measure": "gpu03"}, exit_status=1,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def printed(width: int = 80, **changes: Any) -> str:
    stream = Terminal()
    ink = Ink(stream, width=width)
    ink.write(page(shown(**changes), ink))
    return stream.getvalue()


GOLDEN = """\
reach        3/4         0.4 s
facts        3/4         0.6 s
measure      3/4        18.2 s   slowest gpu03
collectives  3/4         9.8 s   nccl 2.27, 24 ranks, bond0
level        normal
not there    no RDMA device (HCA) on 4 of 4 nodes
measured     all-reduce busbw 11.2 GB/s at 64.0 MiB; nccl, 24 ranks on 3 of 4
             nodes over bond0 (routes between all hosts); every sum right

network.py
  hostname_is_not_loopback  gpu[01,03] passed  gpu02 FAILED
  swap_is_off               gpu[01-03] advice
  own_check                 cluster BROKEN
  mtu_is_uniform            gpu[01-03] passed
  memlock_is_unlimited      not applicable: no RDMA device
gpus.py
  gpu_has_full_pcie_width   23 gpus passed  gpu03:5 FAILED
  no_new_xid                gpu[01-03] not measured

── failed ──────────────────────────────────────────────────────────────────────
gpu02  hostname_is_not_loopback
  found     gpu02 resolves to 127.0.1.1 on gpu02
  expected  an address its peers can reach
  why       GLOO and Ray advertise it; the other ranks dial themselves and wait
  do        put "10.0.0.12 gpu02" before 127.0.1.1 in /etc/hosts (needs root)
            $ ssh gpu02 'hostname -i'
gpu03:5  gpu_has_full_pcie_width
  found     x8
  expected  x16
  why       every copy is slow
  do        reseat 5
            $ ssh gpu03 'nvidia-smi -i 5'

── broken checks ───────────────────────────────────────────────────────────────
cluster  own_check
  found     own.py:3: NameError: name 'x' is not defined

── advice: it works, it could be better ────────────────────────────────────────
gpu[01-03]  swap_is_off
  found     8 GiB of swap
  expected  none
  why       a swapped engine stalls
  do        swapoff -a

── not measured ────────────────────────────────────────────────────────────────
gpu04  6 checks  not reached: Connection refused
  do        start sshd
gpu[01-03]  no_new_xid  only root can read the kernel log (optional)

culprits  gpu04  Connection refused (node_unreachable, certain)
          gpu02 resolves to 127.0.1.1 on gpu02 (gloo_hostname_loopback, almost
          certain)
28 passed, 2 failed, 9 not measured, 3 not applicable, 3 advice,
1 broken in 29.0 s

── plan: vllm 0.33 ─────────────────────────────────────────────────────────────
FITS  TP 8 inside a node; 4 replicas
      TP 32 discarded: crosses bond0, 11.2 GB/s
model  /models/Qwen2.5 72B on gpu01
GiB    weights 17.0 │ KV 48.0
KV     1,259,000 tokens: 153.7 requests of 8k, 64 run at once.  Weights load in
       3 min 20 s.
NCCL_SOCKET_IFNAME=bond0 vllm serve '/models/Qwen2.5 72B' \\
    --tensor-parallel-size 8 --max-model-len 8192 \\
    --gpu-memory-utilization 0.86 --enforce-eager
  bond0            carried the measured collective between the nodes
  0.86             gpu03:2 has 68.9 of 79.2 GiB free (pid 4121, nvidia-smi dmon)
  --enforce-eager  no room for graphs

culprits  gpu04 node_unreachable · gpu02 gloo_hostname_loopback
exit 1  the cluster is wrong   ~/runs/latest
"""


def test_the_page_on_80_columns_is_this():
    assert printed() == GOLDEN


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_only_what_must_not_be_broken_is_wider_than_the_terminal(width):
    for line in printed(width=width).splitlines():
        assert len(line) <= width or not line[width - 20 :].strip().count(" ") > 8, line


def test_quiet_prints_failures_broken_checks_counts_and_the_exit_only():
    text = printed(verbosity=-1)
    assert text.startswith("── failed")
    assert "gpu02  hostname_is_not_loopback" in text
    assert text.endswith("1 broken in 29.0 s\nexit 1  the cluster is wrong   ~/runs/latest\n")
    for absent in ("reach   ", "passed  ", "plan:", "culprits", "── advice", "── not measured"):
        assert absent not in text


def test_verbose_names_every_check_and_every_subject_in_the_order_judged():
    lines = printed(verbosity=1).splitlines()
    assert "network.py::hostname_is_not_loopback[gpu02] FAILED" in lines
    assert "gpus.py::gpu_has_full_pcie_width[gpu03:5] FAILED" in lines
    assert "network.py::memlock_is_unlimited[gpu01] not applicable: no RDMA device" in lines
    assert sum("::" in line for line in lines) == len(samples.verdicts().verdicts)
    first = next(index for index, line in enumerate(lines) if "::" in line)
    assert [line.split("[")[1][:5] for line in lines[first : first + 3]] == ["gpu01", "gpu02", "gpu03"]


def judged(check: str, several: list[Verdict], about: str = "") -> Verdicts:
    abouts = {check: About(title=check, why="because", do=about)}
    return Verdicts(diag="0", exit_status=1, checks=abouts, verdicts=tuple(several), culprits=(), stages=())


def test_the_same_finding_on_many_nodes_is_explained_once():
    names = [f"gpu{number:02}" for number in range(1, 9)]
    several = [samples.verdict("c", name, "failed", found=f"{name} says no", expected="yes") for name in names]
    text = printed(verdicts=judged("c", several, "ask\n$ ssh {node} ask"), snapshot=samples.snapshot(8), plan=None)
    assert "gpu[01-08]  c\n  found     e.g. gpu01 says no\n" in text
    assert text.count("found ") == 1
    assert "$ ssh gpu01 ask" in text


def test_many_different_findings_of_one_check_leave_the_page_readable():
    several = [
        samples.verdict("c", f"gpu{number:02}", "failed", found=f"{number} ms", expected="0") for number in range(1, 40)
    ]
    brief = printed(verdicts=judged("c", several), snapshot=samples.snapshot(40), plan=None)
    assert brief.count("found ") == 5
    assert "c: likewise on gpu[06-39]; -v explains each" in brief
    assert printed(verdicts=judged("c", several), snapshot=samples.snapshot(40), verbosity=1).count("found ") == 39


def test_checks_that_say_the_same_share_a_line():
    names = ("a", "b", "c")
    several = [samples.verdict(check, node, "passed") for check in names for node in ("gpu01", "gpu02")]
    several.append(samples.verdict("c", "gpu03", "failed", found="x"))
    verdicts = msgspec.structs.replace(judged("a", several), checks={})
    text = printed(verdicts=verdicts, plan=None)
    assert "checks\n  c           gpu[01-02] passed  gpu03 FAILED\n  2 checks    gpu[01-02] passed\n" in text


def test_checks_that_wait_for_another_are_said_once():
    several = [
        samples.verdict("a", "gpu01", "not_measured", summary="no torch"),
        samples.verdict("b", "gpu01", "not_measured", summary="needs a, which was not measured"),
        samples.verdict("c", "gpu01", "not_measured", summary="needs b, which was not measured"),
    ]
    text = printed(verdicts=judged("a", several), plan=None)
    assert "gpu01  a  no torch\ngpu01  2 checks  need others, which failed or were not measured\n" in text


def test_many_nodes_with_a_reason_each_leave_the_page_readable():
    names = [f"gpu{number:04}" for number in range(1, 301)]
    several = [
        samples.verdict(check, name, "not_measured", summary=f"not reached: key of {number}")
        for number, name in enumerate(names)
        for check in ("a", "b")
    ]
    culprits = tuple(
        Culprit(kind="node", nodes=(name,), cause="host_key_unknown", summary=f"key {name}", confidence=1.0)
        for name in names
    )
    verdicts = msgspec.structs.replace(judged("a", several), culprits=culprits)
    text = printed(verdicts=verdicts, plan=None)
    assert "gpu0005  2 checks  not reached: key of 4\n" in text
    assert "  likewise gpu[0006-0300], each for a reason of its own; -v says them\n" in text
    assert "          gpu[0006-0300]  likewise (host_key_unknown)\n" in text
    assert len(text.splitlines()) < 40


def test_where_no_node_was_reached_the_checks_are_still_told():
    several = [samples.verdict("a", "gpu04", "not_measured", summary="not reached: Connection refused")]
    text = printed(verdicts=judged("a", several), plan=None)
    assert "  a           gpu04 not measured\n" in text


def test_a_check_that_applies_nowhere_is_counted_with_its_reason():
    several = [samples.verdict(check, "gpu01", "skipped", summary="no RDMA device") for check in ("a", "b")]
    abouts = {check: About(title=check, why="", do="") for check in ("a", "b")}
    verdicts = Verdicts(diag="0", exit_status=2, checks=abouts, verdicts=tuple(several), culprits=(), stages=())
    assert "  2 checks    not applicable: no RDMA device\n" in printed(verdicts=verdicts, plan=None)


def test_a_collective_that_was_not_measured_says_why_beside_its_stage():
    why = Missing("no torch under python3; name another with --python")
    snapshot = msgspec.structs.replace(samples.snapshot(), collective=why)
    text = " ".join(printed(snapshot=snapshot).split())
    assert "9.8 s not measured: no torch under python3; name another with --python" in text
    assert "measured all-reduce" not in text


def test_what_was_left_behind_on_a_node_is_said():
    first, *rest = samples.snapshot().nodes
    first = msgspec.structs.replace(first, left_behind=("pid 4121 (D state)",))
    snapshot = msgspec.structs.replace(samples.snapshot(), nodes=(first, *rest))
    assert "left behind  gpu01: pid 4121 (D state)\n" in printed(snapshot=snapshot)


def test_a_node_that_was_not_reached_is_named_even_without_a_culprit():
    verdicts = msgspec.structs.replace(samples.verdicts(), culprits=())
    assert "not reached  gpu04 (1 of 4 nodes)\n" in printed(verdicts=verdicts)


def test_an_encoding_without_box_characters_gets_plain_ones():
    class Ascii(Terminal):
        encoding = "ascii"

    stream = Ascii()
    ink = Ink(stream, width=80)
    ink.write(page(shown(), ink))
    assert stream.getvalue().isascii()
    assert "-- failed ---" in stream.getvalue()
    assert encodable("µs é", "latin-1") == "µs é"


def test_colour_is_for_terminals_and_no_color_is_obeyed(monkeypatch):
    class Tty(Terminal):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in Ink(Tty())("gpu02 FAILED", "failed")
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as context:
            context.setenv(name, value)
            assert Ink(Tty())("gpu02 FAILED", "failed") == "gpu02 FAILED"
    assert Ink(Terminal())("gpu02 FAILED", "failed") == "gpu02 FAILED"


def test_what_a_node_said_does_not_steer_the_terminal():
    assert printable("a\x1b[2Jb\rc\u202ed\udc80") == "a\\x1b[2Jb\\rc\\u202ed\\udc80"
    several = [samples.verdict("c", "gpu01", "failed", found="\x1b]0;x\x07", expected="y")]
    assert "\x1b" not in printed(verdicts=judged("c", several))


def test_a_thousand_nodes_are_reported_in_seconds():
    checks = {f"c{n}": Check(id=f"c{n}", about=samples.ABOUTS["own_check"], file="checks/f.py", line=1, per_node=True)
              for n in range(35)}  # fmt: skip
    every = [
        Verdict(check=check, node=f"gpu{node:04}", subject=f"interface:eth{nic}", outcome="passed")
        for check in checks
        for node in range(1000)
        for nic in range(8)
    ]
    every[7] = samples.verdict("c0", "gpu0001", "failed", "interface:eth0", found="no")
    verdicts = Verdicts(diag="0", exit_status=1, checks={}, verdicts=tuple(every), culprits=(), stages=())
    began = time.process_time()
    text = printed(verdicts=verdicts, checks=checks, snapshot=samples.snapshot(3), plan=None)
    assert time.process_time() - began < 4
    assert "  34 checks   8,000 interfaces passed\n" in text
    assert "  c0          7,999 interfaces passed  gpu0001:eth0 FAILED\n" in text
