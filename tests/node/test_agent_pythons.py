"""Under which interpreters does the agent run? 3.8 and newer, one process each; what is older is told so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from diag.errors import NodeError
from diag.probes.verbs import Ask, Read, Request, Run
from tests.remote.agents import shell

FOUND = sorted(Path("~/.pyenv/versions").expanduser().glob("*/bin/python"))
SYSTEM = [Path(path) for name in ("python3.8", "python3.9", "python3.10", "python3.11", "python3.12", "python3.13")
          for path in [shutil.which(name, path="/usr/bin:/usr/local/bin")] if path]  # fmt: skip


def version(python: Path) -> tuple[int, ...]:
    return tuple(map(int, python.parts[-3].split(".")))


NEW = [python for python in FOUND if version(python) >= (3, 8)] + SYSTEM
OLD = [python for python in FOUND if version(python) < (3, 8)]


@pytest.mark.parametrize("python", NEW, ids=str)
def test_it_answers_runs_a_job_and_leaves_nothing(workshop, python):
    session = workshop.session(python=str(python))
    assert Path(session.hello.executable).samefile(python)
    answers = session.ask(
        [
            Request(name="ask", verb=Ask("proc:line", {"path": "/proc/sys/kernel/ostype"})),
            Request(name="read", verb=Read(globs=("/proc/loadavg",))),
            Request(name="run", verb=Run(argv=("uname",))),
            Request(name="late", verb=Run(argv=("sleep", "60")), deadline_s=0.3),
        ],
        10,
    )
    assert [answer.why is None for answer in answers] == [True, True, True, False]
    end, lines = shell(session, """echo '@diag {"a": 1}'; (setsid sleep 300 &); exit 3""")
    assert (end.status, lines, end.left_behind) == (3, [{"a": 1}], ())
    assert shell(session, "sleep 300", deadline_s=0.3)[0].timed_out
    assert session.end(8) == ()
    workshop.assert_nothing_is_left()


@pytest.mark.parametrize("python", OLD, ids=str)
def test_an_older_one_is_named_with_what_to_do(workshop, python):
    found = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    with pytest.raises(NodeError) as error:
        workshop.session(python=str(python))
    assert error.value.cause == "python_missing"
    assert error.value.do == "name another with --python"
    assert (found.stdout + found.stderr).split()[1] in error.value.what
