"""Does ``diag run`` judge this machine, write its run directory, and say before the run what it was asked wrongly?"""

from __future__ import annotations

import gzip
import json
import os
import platform
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import pytest

from diag import rundir
from diag.facts import snapshot as snapshots
from tests.cli.conftest import ROOT
from tests.remote.ssh import sshd

PASSIVE = ("run", "--level", "passive")
SILENT = "sh -c 'exec cat >/dev/null'"
"""A wrapper in which no agent starts: the stage reach waits for it, and it ends with its input."""


def test_this_machine_is_judged_and_planned_for(diag, tmp_path):
    done = diag(*PASSIVE)
    assert done.status in (0, 1, 3), done.err
    name = platform.node()
    assert "reach        1/1" in done.out
    assert f"{name} passed" in done.out
    assert "── plan: vllm " in done.out
    assert f"exit {done.status}  " in done.out
    assert rundir.last_run().is_relative_to(tmp_path / "state")


def test_out_is_the_run_directory_and_holds_everything(diag, tmp_path):
    done = diag(*PASSIVE, "--out", tmp_path / "mine", "--json", "--junit", tmp_path / "copy.xml")
    run = tmp_path / "mine"
    assert {entry.name for entry in run.iterdir()} == {
        "snapshot.json", "evidence", "verdicts.json", "plan.json", "junit.xml",
    }  # fmt: skip
    assert (run / "verdicts.json").read_text() == done.out
    assert json.loads(done.out)["exit_status"] == done.status
    assert [stage["name"] for stage in json.loads(done.out)["stages"]][-2:] == ["judge", "plan"]
    assert json.loads((run / "plan.json").read_text())["schema"] == 1
    assert ET.parse(run / "junit.xml").getroot().tag == "testsuites"
    assert (tmp_path / "copy.xml").read_bytes() == (run / "junit.xml").read_bytes()
    for evidence in snapshots.load(run).nodes[0].evidence:
        assert gzip.decompress((run / "evidence" / f"{evidence.sha256}.gz").read_bytes())
    assert rundir.last_run() == run
    assert all(line.split()[0] in ("reach", "facts", "collectives", "judge", "plan") for line in done.err.splitlines())


def test_a_run_can_be_judged_again(diag, tmp_path):
    first = json.loads(diag(*PASSIVE, "--out", tmp_path / "mine", "--json").out)
    again = json.loads(diag("check", tmp_path / "mine", "--json").out)
    assert again["verdicts"] == first["verdicts"]
    assert again["exit_status"] == first["exit_status"]


def test_a_model_that_is_nowhere_is_an_answer_not_the_end(diag, tmp_path):
    done = diag(*PASSIVE, "--model", "/nosuch/model", "--out", tmp_path / "mine", "-k", "open_files")
    plan = json.loads((tmp_path / "mine" / "plan.json").read_text())
    assert plan["verdict"] == "UNKNOWN"
    assert "/nosuch/model" in plan["reason"]
    assert "UNKNOWN" in done.out


def test_a_bundled_name_is_for_the_plan_only(diag, tmp_path):
    done = diag(*PASSIVE, "--model", "Qwen3-0.6B", "--out", tmp_path / "mine", "-k", "model or open_files")
    assert done.status == 0, done.out
    plan = json.loads((tmp_path / "mine" / "plan.json").read_text())
    assert plan["recipe"]["argv"][:3] == ["vllm", "serve", "Qwen/Qwen3-0.6B"]
    assert plan["cautions"] == [
        "--model is a bundled name, for the plan only: no files were looked for on the nodes (--model DIR does)",
        "whether its nodes and GPUs are fit was not judged by all checks: -k model or open_files left some out",
    ]
    verdicts = json.loads((tmp_path / "mine" / "verdicts.json").read_text())["verdicts"]
    assert {each["outcome"] for each in verdicts if each["check"] == "model_exists"} == {"skipped"}


def test_a_directory_of_that_name_is_the_model(diag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Qwen3-0.6B").mkdir()
    diag(*PASSIVE, "--model", "Qwen3-0.6B", "--out", tmp_path / "mine", "-k", "model_exists")
    assert json.loads((tmp_path / "mine" / "snapshot.json").read_text())["model_path"] == "Qwen3-0.6B"


def test_a_plan_for_no_model_says_that_it_is_an_example(diag, tmp_path):
    diag(*PASSIVE, "--out", tmp_path / "mine", "-k", "open_files")
    for plan in (json.loads((tmp_path / "mine" / "plan.json").read_text()),
                 json.loads(diag("plan", tmp_path / "mine", "--json").out)):  # fmt: skip
        assert "no --model given: an example, Qwen/Qwen3-0.6B" in plan["cautions"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_writes_what_it_knows_and_ends_with_130(tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-m", "diag", "run", "--json", "--out", str(tmp_path / "mine"), "--exec", SILENT],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    until = time.monotonic() + 30
    while not (tmp_path / "mine" / "evidence").is_dir() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["exit_status"] == 130
    assert snapshots.load(tmp_path / "mine").interrupted
    assert (tmp_path / "mine" / "plan.json").exists()


def test_an_interrupt_after_the_measuring_loses_nothing(tmp_path):
    """It comes while the page is made or the files are written: those take less long than deciding to drop them."""
    checks = tmp_path / "own"
    checks.mkdir()
    text = '"""It interrupts the controller."""\nimport os, signal\n\ndef check_all_is_told(cluster):\n'
    (checks / "own.py").write_text(f'{text}    """Why.\n\n    Do."""\n    os.kill(os.getpid(), signal.SIGINT)\n')
    process = subprocess.run(
        [sys.executable, "-m", "diag", *PASSIVE, "--json", "--out", str(tmp_path / "mine"), "--checks", str(checks)],
        check=False, capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert process.returncode == 130, process.stderr
    assert json.loads(process.stdout)["exit_status"] == 130
    assert {"verdicts.json", "plan.json", "junit.xml"} <= {entry.name for entry in (tmp_path / "mine").iterdir()}


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root: it mounts a disk of 64 KiB")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_costs_the_files_not_the_answer(diag, small_disk):
    done = diag(*PASSIVE, "--out", small_disk / "run")
    assert done.status == 2
    assert "── plan: vllm " in done.out
    assert "exit 2  not every file could be written" in done.out
    assert done.err.splitlines()[-1].startswith(f"diag: {small_disk}/run")
    assert "cannot be written: no space left on device; name another run directory" in done.err
    assert not list((small_disk / "run").rglob("*.part"))


@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-", "2> >(true)"])
def test_progress_that_nobody_reads_costs_nothing(tmp_path, stderr):
    command = f"{sys.executable} -m diag run --level passive --json --out {tmp_path / 'mine'} {stderr}"
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, cwd=ROOT, timeout=60)
    assert json.loads(done.stdout)["exit_status"] == done.returncode


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--hosts", "gpu[1-"], "diag: --hosts: 'gpu[1-': unclosed range; expected e.g. gpu[01-04]"),
        (["--hosts", ""], "diag: --hosts: '': no host named; expected e.g. gpu[01-04]"),
        (["--hosts", "a", "--hostfile", "b"], "diag: --hosts and --hostfile: hosts selected in more than one way"),
        (["--hostfile", "nosuch"], "diag: nosuch: no such file"),
        (["--inventory", "nosuch"], "diag: nosuch: no such file"),
        (["--ssh-config", "nosuch"], "diag: --ssh-config: nosuch: no such file"),
        (["--identity", "nosuch"], "diag: --identity: nosuch: no such file"),
        (["--engine", "nosuch"], "diag: --engine: 'nosuch' is not known"),
        (["--engine", "vllm==abc"], "diag: --engine: 'vllm==abc': 'abc' is no version; expected e.g. vllm==0.33.0"),
        (["--hosts", "x" * 64], f"diag: --hosts: '{'x' * 40}'…: no host name: a part longer than 63 characters"),
        (["--python=-c"], "diag: --python: '-c': begins with a dash; expected a program's name or path"),
        (["--python", "/a\nb"], "diag: --python: '/a\\nb': a line break in it; leave it out"),
        (["--python", "/a\udcff"], "diag: --python: '/a\\udcff': a byte that is no UTF-8 in it; leave it out"),
        (["--exec", "a\nb"], "diag: --exec: 'a\\nb': a line break in it; leave it out"),
        (["--exec=-c"], "diag: --exec: '-c': begins with a dash; expected a program's name or path"),
        (["--exec", "''"], "diag: --exec: '': empty; expected a program's name or path"),
        (["--model", "/a\nb"], "diag: --model: '/a\\nb': a line break in it; leave it out"),
        (["--model", ""], "diag: --model: '': empty; name a directory or a bundled model, or leave it out"),
        (["--exclude", "nosuch:1"], "diag: --exclude: 'nosuch' is no node of it; expected one of "),
        (["--hostfile", "/dev/zero"], "diag: /dev/zero: no regular file; expected a text file"),
        (["--inventory", "/dev/zero"], "diag: /dev/zero: no regular file; expected a text file"),
        (["--hostfile", "a\x1b[31m\nb"], "diag: a\\x1b[31m b: no such file"),
        (["--ssh-config", "/dev/zero"], "diag: --ssh-config: /dev/zero: no regular file"),
        (["--identity", "~nosuch/x"], "diag: --identity: ~nosuch/x: ~nosuch is nobody's home here"),
        (["--checks", "nosuch"], "diag: --checks: "),
        (["-k", "nosuch"], "diag: -k: 'nosuch' matches no check"),
        (["--out", "/proc/nosuch"], "diag: /proc/nosuch: cannot be written"),
        (["--out", "/etc"], "diag: /etc: not empty and no run directory of diag"),
        (["--junit", "/nosuch/x.xml"], "diag: --junit: /nosuch: no directory that can be written to"),
    ],
)
def test_what_was_asked_wrongly_is_one_line_before_the_run(diag, arguments, line):
    done = diag("run", *arguments)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


def test_the_commands_to_copy_go_the_way_of_the_run(diag, tmp_path, monkeypatch):
    if lacking := sshd.missing():
        pytest.skip(lacking)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "own").mkdir()
    about = '"""Why.\n\n    Do: look.\n    $ ssh {node} \'uptime; id\'"""'
    check = f"def check_never(node):\n    {about}\n    assert not node.name\n"
    (tmp_path / "own" / "own.py").write_text(f'"""It fails."""\n\n{check}')
    key, config = sshd.make_key(tmp_path / "key"), tmp_path / "config"
    with sshd.running_sshd(tmp_path / "sshd", authorized=[key]) as node:
        (tmp_path / "known").write_text(f"{node.name} {node.host_key}\n")
        config.write_text(f"UserKnownHostsFile {tmp_path}/known\nGlobalKnownHostsFile none\n")
        (tmp_path / "hosts").write_text("here address=127.0.0.1\n")
        done = diag(
            *PASSIVE, "--hostfile", tmp_path / "hosts", "--port", node.port, "--user", sshd.USER, "--identity", key,
            "--ssh-config", config, "--checks", tmp_path / "own", "-k", "never", "--out", tmp_path / "mine",
        )  # fmt: skip
    way = f"$ ssh -F {config} -i {key} -p {node.port} -l {sshd.USER} -o HostName=127.0.0.1 here 'uptime; id'"
    assert done.status == 1, done.err
    assert way in done.out
    assert way in (tmp_path / "mine" / "junit.xml").read_text()
    assert "$ uptime; id\n" in diag("check", tmp_path / "mine", "--checks", tmp_path / "own", "-k", "never").out


def test_a_judge_that_is_not_done_in_time_costs_its_verdicts_and_no_file(diag, tmp_path):
    done = diag(*PASSIVE, "--deadline", "judge=0.01", "--out", tmp_path / "mine", "--json")
    assert done.status == 2
    assert done.err.splitlines()[-1] == (
        "diag: judge: not done within 0.01 s; give it more time: --deadline judge=SECONDS"
    )
    written = json.loads((tmp_path / "mine" / "verdicts.json").read_text())
    assert written == json.loads(done.out)
    assert (written["exit_status"], written["verdicts"], written["stages"][-2]["name"]) == (2, [], "judge")
    assert {"plan.json", "junit.xml", "snapshot.json"} <= {path.name for path in (tmp_path / "mine").iterdir()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--deadline", "facts"], "expected STAGE=SECONDS"),
        (["--deadline", "lunch=3"], "STAGE one of reach, facts"),
        (["--deadline", "facts=soon"], "'soon' is no number of seconds; expected e.g. facts=60"),
        (["--deadline", "facts=-1"], "'-1' is no number of seconds"),
        (["--deadline", "facts=nan"], "'nan' is no number of seconds"),
        (["--max-size", "big"], "'big' is no size; expected e.g. 64GiB"),
        (["--level", "full"], "'full' is not one of"),
        (["--port", "0"], "0 is not in the range"),
        (["--max-size", "9TiB"], "'9TiB': too large for a message; expected at most 8GiB"),
        (["--max-size", "9" * 400], "'99999999999999999999…' is no size; expected e.g. 64GiB"),
        (["--max-size", "0"], "'0': too small to be measured; expected at least 8KiB"),
        (["--connect-timeout", "nan"], "nan is no number of seconds"),
        (["--interface", ""], "--interface: '': empty"),
    ],
)
def test_an_option_that_makes_no_sense_says_what_would(diag, arguments, words):
    done = diag("run", *arguments)
    assert done.status == 2
    assert words in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--minutes", "5"), "--minutes: only level burn lasts for minutes"),
        (("--level", "burn", "--minutes", "0"), "--minutes: 0 is no number of minutes"),
        (("--level", "burn", "--minutes", "nan"), "--minutes: nan is no number of minutes"),
        (("--even-if-shared", "vgpu"), "'vgpu' is not one of"),
        (("--baseline", "/nonexistent"), "/nonexistent: no such Snapshot"),
        (("--engine", "all"), "--engine: a run plans for one engine, not for all; name one of vllm, sglang, "),
    ],
)
def test_load_that_was_asked_for_wrongly_is_said_before_any_host_is_touched(diag, words, said):
    done = diag("run", *words)
    assert done.status == 2
    assert said in done.err


def test_an_earlier_run_is_kept_with_the_new_one(diag, tmp_path):
    diag(*PASSIVE, "--out", tmp_path / "first")
    diag(*PASSIVE, "--out", tmp_path / "second", "--baseline", tmp_path / "first")
    earlier, later = (snapshots.load(tmp_path / name) for name in ("first", "second"))
    assert earlier.baseline is None
    assert later.baseline.run_id == earlier.run_id
