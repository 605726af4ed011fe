"""Does ``diag`` start at once, and does every way to end have its own status?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from diag import __version__
from diag.cli.commands import COMMANDS
from tests.cli.conftest import RECORDED, ROOT

HEAVY = {"paramiko", "pytest", "rich", "msgspec", "ClusterShell", "cryptography", "torch"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["completion", "bash"]])
def test_help_imports_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "diag", *arguments],
        check=True, capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "click" in imported
    assert not imported & HEAVY


def test_help_names_every_command_and_every_exit_status(diag):
    text = diag("--help").out
    for name, means in COMMANDS.items():
        assert f"  {name} " in text
        assert means in text
    for status in ("0 ", "1 ", "2 ", "3 ", "130 ", "70 "):
        assert f" {status}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(diag, name):
    done = diag(name, "--help")
    assert done.status == 0
    assert done.out.startswith(f"Usage: diag {name} ")


def test_version_is_one_line(diag):
    assert diag("--version").out == f"diag {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["run", "--nosuch"], ["check", "--fail-on", "x"], ["plan", "a", "b"]]
)
def test_what_cannot_be_parsed_is_asked_wrongly(diag, arguments):
    done = diag(*arguments)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("diag: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_those_of_the_shell(diag, shell):
    done = diag("completion", shell)
    assert done.status == 0
    assert f"_DIAG_COMPLETE={shell}_complete" in done.out


def test_completion_completes_commands_and_options(process):
    env = {**os.environ, "_DIAG_COMPLETE": "bash_complete", "COMP_WORDS": "diag che", "COMP_CWORD": "1"}
    assert process(env=env).stdout.split() == ["plain,check"]
    env |= {"COMP_WORDS": "diag run --hostf", "COMP_CWORD": "2"}
    assert process(env=env).stdout.split() == ["plain,--hostfile"]


def test_a_reader_that_has_seen_enough_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m diag check {RECORDED} -v | head -1",
        shell=True, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_the_status_is_kept_where_nobody_reads(tmp_path):
    own = tmp_path / "own.py"
    own.write_text(
        '"""Wrong."""\n\ndef check_nothing_is_right(cluster):\n    """Why.\n\n    Do."""\n    assert False\n'
    )
    command = f"{sys.executable} -m diag check {RECORDED} -v --checks {tmp_path} | true"
    piped = ["bash", "-c", f"set -o pipefail; {command}"]
    done = subprocess.run(piped, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("streams", "status", "line"),
    [
        (">/dev/full", 2, "diag: standard output: no space left on device"),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&-", 0, ""),
    ],
)
def test_a_stream_that_cannot_be_used_is_no_bug(streams, status, line):
    command = ["bash", "-c", f"{sys.executable} -m diag check {RECORDED} {streams}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == status
    assert done.stderr.strip() == line


def test_a_bug_of_ours_keeps_its_traceback():
    broken = "import sys, diag.cli, diag.cli.commands as c; c.FILES['run'] = 'nowhere'"
    program = f"{broken}; sys.argv = ['diag', 'run']; diag.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 70
    assert "Traceback" in done.stderr
    assert "diag.cli.nowhere" in done.stderr


INTERRUPTED_AT = """
import os, runpy, signal, sys

class Impatience:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatience())
sys.argv = ["diag", "run", "--hosts", "localhost:1"]
runpy.run_module("diag", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("name", ["diag.cli", "click", "diag.cli.commands", "msgspec", "paramiko", "pytest", "rich"])
def test_an_interrupt_during_the_imports_ends_without_a_traceback(name):
    program = INTERRUPTED_AT.format(name=name)
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 130
    assert done.stderr in {"", "diag: interrupted\n"}


@pytest.mark.parametrize("delay_s", [0.05, 0.15, 0.3])
def test_an_early_interrupt_ends_with_130(delay_s, tmp_path):
    """Python's own start, which nobody can interrupt in peace, is over when it prints."""
    arguments = ["diag", "run", "--hosts", "localhost:1", "--out", str(tmp_path / "run")]
    program = f"import sys; sys.argv = {arguments}; print('up', flush=True); from diag.cli import main; main()"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", program], **streams, text=True, cwd=ROOT)
    assert process.stdout.readline() == "up\n"
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode in {130, 3}, err  # 3: it was done by then
