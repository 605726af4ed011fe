"""How does a job run on a node, and what is left of it?"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from diag.probes.verbs import Ask, Request
from tests.remote.agents import is_running, shell, until

FREEZER = Path("/sys/fs/cgroup/freezer")


def test_its_lines_arrive_while_it_runs_and_its_output_at_the_end(workshop):
    session = workshop.session()
    arrived: list[float] = []
    script = """echo '@diag {"phase": "import", "rank": 0}'; sleep 0.5; echo text; echo more >&2; printf '@diag [1]'"""
    end = session.job(["/bin/sh", "-c", script], {}, 10, lambda _: arrived.append(time.monotonic()))
    assert time.monotonic() - arrived[0] > 0.4
    assert (end.status, end.signal, end.timed_out, end.left_behind) == (0, None, False, ())
    assert all(text in end.output for text in ("text\n", "more\n", '@diag {"phase": "import", "rank": 0}\n'))
    assert 0.4 < end.seconds < 5


def test_a_last_line_without_its_end_counts_and_one_that_is_no_json_does_not(workshop):
    end, lines = shell(workshop.session(), """echo '@diag {broken'; echo ' @diag 1'; printf '@diag {"last": true}'""")
    assert lines == [{"last": True}]
    assert "@diag {broken" in end.output


def test_an_exit_status_and_a_signal_are_told_apart(workshop):
    session = workshop.session()
    assert (shell(session, "exit 7")[0].status, shell(session, "kill -SEGV $$")[0].signal) == (7, signal.SIGSEGV)


def test_what_announces_itself_as_a_secret_never_leaves_the_node(workshop):
    end, _ = shell(
        workshop.session(), "echo started; echo 'Authorization: Bearer abc123'; echo hf_abcdefghijklmnopqrst >&2"
    )
    assert end.output == "started\nAuthorization: ***\n***\n"
    assert end.output_bytes == len("started\nAuthorization: Bearer abc123\nhf_abcdefghijklmnopqrst\n")


def test_only_the_end_of_a_long_output_is_kept(workshop):
    end, _ = shell(workshop.session(), "seq 1 200000")
    assert len(end.output) == 65536
    assert end.output.endswith("\n199999\n200000\n")


def test_a_flood_of_lines_arrives_whole_although_the_reader_is_slow(workshop):
    lines: list[object] = []

    def slow(line):
        if len(lines) % 1000 == 0:
            time.sleep(0.01)
        lines.append(line["n"])

    script = 'for n in range(60000): print(\'@diag {"n": %d, "filler": "%s"}\' % (n, \'x\' * 100))'
    end = workshop.session().job(["{python}", "-c", script], {}, 60, slow)
    assert end.status == 0
    assert lines == list(range(60000))


def test_it_writes_only_into_the_private_folder(workshop):
    session = workshop.session()
    end, _ = shell(session, "pwd; echo $HOME; echo $TMPDIR; echo $XDG_CACHE_HOME; echo {dir}; stat -c %a {dir}")
    cwd, home, temporary, cache, folder, mode = end.output.split()
    assert Path(folder).parent == workshop.folder
    assert (cwd, mode) == (folder, "700")
    assert {Path(path).parent for path in (home, temporary, cache)} == {Path(folder)}
    session.end(5)
    workshop.assert_nothing_is_left()


def test_it_finds_the_packages_of_the_users_own_home_all_the_same(workshop):
    end, _ = shell(workshop.session(), "echo $PYTHONUSERBASE")
    assert end.output.strip() == os.environ.get("PYTHONUSERBASE", str(Path("~/.local").expanduser()))


def test_it_imports_from_the_zip_that_was_sent(workshop):
    argv = ["{python}", "-c", "import alive, verbs; print(alive.__file__)"]
    end = workshop.session().job(argv, {"PYTHONPATH": "{pyz}"}, 10, print)
    assert end.output.strip().endswith("/alive.py"), end.output


def test_it_inherits_neither_the_protocol_nor_the_lock(workshop):
    end, _ = shell(workshop.session(), "ls -l /proc/self/fd; echo $DIAG_ALIVE_FD; readlink /proc/self/fd/0")
    *descriptors, alive, stdin = end.output.splitlines()
    inherited = {line.split()[-3] for line in descriptors if "->" in line}
    assert inherited <= {"0", "1", "2", "3", alive}  # 3: the folder that ls reads
    assert stdin == "/dev/null"
    assert "diag.lock" not in end.output


def test_it_is_modest(workshop):
    script = "cat /proc/self/oom_score_adj; nice; ulimit -c; ionice 2>/dev/null || echo idle"
    end, _ = shell(workshop.session(), script)
    adjustment, nice, core, io = end.output.split()
    assert (adjustment, int(nice) >= 10, core, io) == ("1000", True, "0", "idle")


def test_a_command_that_does_not_exist_is_a_status(workshop):
    end = workshop.session().job(["/no/such/command"], {}, 5, print)
    assert (end.status, "No such file or directory" in end.output) == (127, True)


def test_a_folder_that_does_not_exist_is_a_status(workshop):
    end = workshop.session().job(["true"], {}, 5, print, cwd="/no/such/folder")
    assert (end.status, "/no/such/folder" in end.output) == (127, True)


def test_a_node_where_nothing_can_be_written_says_so(workshop):
    session = workshop.session(private_dir__PARENTS=("/proc",), first="import os;os.environ['TMPDIR']='/proc'")
    end, _ = shell(session, "true")
    assert end.status == 126
    assert "no private folder can be made" in end.output


def test_past_its_deadline_all_of_it_is_ended(workshop):
    session = workshop.session()
    script = "(setsid sleep 300 & env -i setsid sleep 300 &); trap '' TERM; echo started; sleep 300"
    began = time.monotonic()
    end, _ = shell(session, script, deadline_s=1.5)
    assert (end.timed_out, end.left_behind, time.monotonic() - began < 6) == (True, (), True)
    assert "started" in end.output
    assert not [pid for pid in workshop.processes() if b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_what_it_started_in_sessions_of_its_own_is_ended_with_it(workshop):
    """torchrun gives every rank its own session; a daemon goes further and leaves its parent."""
    script = """
import os, sys, time
ready, tell = os.pipe()
for escape in range(3):
    if os.fork() == 0:
        os.setsid()
        if escape and os.fork():
            os._exit(0)
        if escape == 2:
            os.execve('/bin/sleep', ['sleep', '300'], {})
        print('@diag %d' % os.getpid(), flush=True)
        os.write(tell, b'.')
        time.sleep(300)
os.read(ready, 1), os.read(ready, 1)
"""
    lines: list[int] = []
    end = workshop.session().job([sys.executable, "-c", script], {}, 20, lines.append)
    assert (end.status, end.left_behind, len(lines)) == (0, (), 2)
    assert not any(map(is_running, lines))


def test_stopped_processes_are_ended_too(workshop):
    end, lines = shell(workshop.session(), "sleep 300 & echo @diag $!; kill -STOP $!; kill -STOP $$", deadline_s=1.5)
    assert (end.timed_out, end.left_behind) == (True, ())
    assert not is_running(lines[0])


def test_two_at_once_do_not_end_each_other(workshop):
    session = workshop.session()
    ends = {}

    def run(name, script):
        ends[name] = shell(session, script)

    threads = [
        threading.Thread(target=run, args=("short", "(setsid sleep 300 &) ; sleep 0.2")),
        threading.Thread(target=run, args=("long", "(setsid sh -c 'sleep 1; echo kept') ; exit 5")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends["short"][0].status == 0
    assert (ends["long"][0].status, ends["long"][0].output) == (5, "kept\n")


def test_it_can_be_stopped_from_another_thread(workshop):
    session = workshop.session()
    began = time.monotonic()
    argv = ["/bin/sh", "-c", "echo '@diag {}'; sleep 300"]
    end = session.job(argv, {}, 20, lambda _: threading.Thread(target=session.stop_jobs).start())
    assert (end.signal, end.timed_out, time.monotonic() - began < 15) == (signal.SIGKILL, False, True)


def test_requests_are_answered_while_it_runs(workshop):
    session = workshop.session()
    job = threading.Thread(target=shell, args=(session, "sleep 1"))
    job.start()
    assert session.clock(3)[1] < 0.5
    job.join()


def test_shared_memory_that_it_made_goes_and_what_was_there_stays(workshop):
    """NCCL and OpenMP remove their files in /dev/shm only when they end by themselves."""
    there = Path(f"/dev/shm/diag-test-there-{os.getpid()}")
    new = Path(f"/dev/shm/diag-test-new-{os.getpid()}")
    there.touch()
    try:
        shell(workshop.session(), f"exec 8>{new} 9<>{there}; echo x >&8; sleep 300", deadline_s=1.5)
        assert (new.exists(), there.exists()) == (False, True)
    finally:
        there.unlink()
        new.unlink(missing_ok=True)


def test_folders_that_it_locked_and_links_that_it_left_are_removed_without_following(workshop, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "kept").touch()
    session = workshop.session()
    shell(
        session,
        f"mkdir -p a/b/c; touch a/b/f; ln -s {outside} a/out; ln -s {outside} tmp/out; chmod 0 a/b; chmod 500 a",
    )
    assert session.end(5) == ()
    workshop.assert_nothing_is_left()
    assert (outside / "kept").exists()


def test_a_process_that_cannot_be_killed_is_named(workshop):
    """A frozen cgroup keeps even SIGKILL waiting, like a process in state D."""
    cgroup = FREEZER / f"diag-test-{os.getpid()}"
    if os.geteuid() != 0 or not (FREEZER / "cgroup.procs").exists():
        pytest.skip("needs root and the freezer of cgroup v1")
    cgroup.mkdir()
    try:
        session = workshop.session(descendants__LIMIT_S=0.5)
        script = (
            f"sleep 300 & echo @diag $!; echo $! > {cgroup}/cgroup.procs; echo FROZEN > {cgroup}/freezer.state; exit 4"
        )
        end, (pid,) = shell(session, script)
        assert end.status == 4
        assert len(end.left_behind) == 1
        assert end.left_behind[0].startswith(f"process {pid} (sleep), state ")
        assert session.end(5) == end.left_behind
    finally:
        (cgroup / "freezer.state").write_text("THAWED")
        assert until(lambda: not (cgroup / "cgroup.procs").read_text())
        cgroup.rmdir()


def test_the_private_folder_is_not_readable_for_others(workshop):
    session = workshop.session()
    shell(session, "true")
    (folder,) = (path for path in workshop.folder.iterdir() if path.is_dir())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_full_disk_is_passed_over(workshop):
    full, roomy = workshop.folder / "full", workshop.folder / "roomy"
    full.mkdir()
    roomy.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "full", full], check=False).returncode
    ):
        pytest.skip("needs root and tmpfs")
    try:
        first = f"import os;os.environ['TMPDIR']={str(full)!r}"
        session = workshop.session(first=first, private_dir__PARENTS=(str(roomy),))
        assert Path(shell(session, "echo {dir}")[0].output.strip()).parent == roomy
        assert session.end(5) == ()
        assert not [*full.iterdir(), *roomy.iterdir()]
    finally:
        subprocess.run(["umount", full], check=True)


def test_where_no_more_processes_may_be_started_the_answer_says_so(workshop):
    """And without its watcher the agent still tells its own processes from all others."""
    first = "import os;os.fork=lambda:os.open('/proc/x',0)"
    session = workshop.session(first=first)
    (answer,) = session.ask([Request(name="a", verb=Ask("os:getpid"))], 5)
    assert answer.why.startswith("no process can be started: ")
    assert shell(session, "true")[0].status == 126
    assert session.end(5) == ()
    workshop.assert_nothing_is_left()


def test_without_its_watcher_the_agent_still_ends_what_it_started(workshop):
    fails_once = "(calls.append(1), fork() if len(calls) > 1 else os.open('/proc/x', 0))[1]"
    first = f"import os;fork=os.fork;calls=[];os.fork=lambda:{fails_once}"
    session = workshop.session(first=first)
    end, lines = shell(session, "(setsid sleep 300 & echo @diag $!); exit 0")
    assert (end.status, end.left_behind) == (0, ())
    assert not is_running(lines[0])
