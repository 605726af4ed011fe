from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from diag.remote.payload import BOOTSTRAP
from diag.remote.ssh_command import command_line

SHELLS = ("sh", "dash", "bash", "zsh", "fish", "tcsh", "csh", "ksh")
WORDS = (
    "plain", "", "two words",
    "it's", '"quoted"', "$HOME", "`id`", "$(id)", "a\\b", "\\\\", "\\'", "!x", "!!", "a!'b\\!",
    "*", "?", "[a]", "{a,b}", "~", "#", ";", "&", "|", "<", ">", "(", ")", "%s", "^a^b", "=ls", "-n", "tab\there", "é",
    BOOTSTRAP,
)  # fmt: skip
SHOW = "import sys; sys.stdout.write(repr(sys.argv[1:]))"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_word_passes_the_login_shell_as_it_is(shell):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    line = command_line((sys.executable, "-c", SHOW, *WORDS))
    run = subprocess.run([shell, "-c", line], capture_output=True, text=True, check=False)
    assert run.stdout == repr(list(WORDS)), run.stderr


def test_the_shell_becomes_the_command():
    line = command_line(("sh", "-c", "echo $PPID"))
    shell = subprocess.Popen(["bash", "-c", f"{line}; echo no"], stdout=subprocess.PIPE, text=True)
    assert shell.communicate()[0] != "no\n"


def test_plain_words_stay_readable():
    assert command_line(("docker", "exec", "-i", "vllm", "python3", "-B")) == "exec docker exec -i vllm python3 -B"
