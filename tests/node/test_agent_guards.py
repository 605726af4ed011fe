"""Is that removed at an agent's end which is no process of its own, and said what could not be?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from diag.remote.payload import text_of
from diag.remote.runtimes import Guard
from tests.remote.agents import until


def files(folder: Path, looks: int = 1) -> Guard:
    """What a runtime's list and removal do, with files for containers."""
    folder.mkdir()
    (folder / "5c1f").write_text("")
    show = ("sh", "-c", f"ls -d {folder}/*", "sh")
    return Guard(what="files:", list=show, remove=("rm",), looks=looks, gone=("No such file",))


def test_an_agent_removes_what_it_guards(workshop, tmp_path):
    session = workshop.session()
    session.guard((files(tmp_path / "guarded"),))
    assert session.end(10) == ()
    assert list((tmp_path / "guarded").iterdir()) == []


def test_so_does_its_watcher_when_it_is_killed(workshop, tmp_path):
    session = workshop.session()
    session.guard((files(tmp_path / "guarded"),))
    os.kill(session.hello.pid, signal.SIGKILL)
    assert until(lambda: not list((tmp_path / "guarded").iterdir()), 10)


def test_what_is_no_longer_guarded_stays(workshop, tmp_path):
    session = workshop.session()
    session.guard((files(tmp_path / "guarded"),))
    session.guard(())
    session.end(10)
    assert len(list((tmp_path / "guarded").iterdir())) == 1


def test_what_stays_is_said_with_the_reason(workshop):
    session = workshop.session(guards__LIMIT_S=1.0)
    keeps = ("sh", "-c", "echo 'no permission' >&2; false")
    session.guard((Guard(what="container x", list=("echo", "5c1f"), remove=keeps),))
    assert session.end(10) == ("container x 5c1f: no permission",)


def test_what_cannot_be_looked_at_is_not_taken_for_gone(workshop):
    session = workshop.session(guards__LIMIT_S=1.0)
    session.guard((Guard(what="container x:", list=("/nowhere/docker", "ps")),))
    (line,) = session.end(10)
    assert line.startswith("container x: ")
    assert "No such file or directory" in line


def test_what_comes_late_is_waited_for(workshop, tmp_path):
    """The client is dead, and the daemon still makes the container: the second look finds it."""
    session = workshop.session()
    folder, looks = tmp_path / "late", tmp_path / "late.looks"
    folder.mkdir()
    late = f"echo >> {looks}; [ $(wc -l < {looks}) = 2 ] && touch {folder}/x; ls -d {folder}/* 2>/dev/null; true"
    session.guard((Guard(what="late:", list=("sh", "-c", late), remove=("rm",), looks=3),))
    assert session.end(10) == ()
    assert list(folder.iterdir()) == []
    looks.unlink()
    folder.rmdir()


def test_a_sweep_ends_what_carries_the_token_and_removes_its_folders(tmp_path):
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "DIAG_JOB": "abc.1."}
    (tmp_path / "diag-abc.77").mkdir()
    (tmp_path / "diag-abd").mkdir()
    other = subprocess.Popen(["sleep", "60"], env={**environment, "DIAG_JOB": "abd.1."})
    ours = subprocess.Popen(["sleep", "60"], env=environment)
    try:
        sweep = [sys.executable, "-B", "-c", text_of("sweep.py"), "abc"]
        done = subprocess.run(sweep, env={"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=True)
        assert ours.wait(1) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()
    assert done.stdout.strip() == ""
    assert [path.name for path in tmp_path.iterdir()] == ["diag-abd"]
