"""When does an agent end, and what does it leave? Nothing, whatever ended it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from diag.errors import NodeError
from diag.probes.verbs import Ask, Request, Run
from diag.remote import frames, heartbeat, payload
from tests.node.trees import METAX, pci_device, plant
from tests.remote.agents import is_running, shell, until

STUBBORN = "trap '' TERM HUP INT; (setsid sleep 300 &); echo @diag $$; sleep 300; sleep 300"


@pytest.fixture
def busy(workshop):
    """An agent with a job that will not end by itself."""
    session = workshop.session(agent__LEASE_S=8.0)
    lines: list[int] = []
    argv = ["/bin/sh", "-c", STUBBORN]
    thread = threading.Thread(target=lambda: _ignored(session.job, argv, {}, 60, lines.append), daemon=True)
    thread.start()
    assert until(lambda: lines)
    assert until(lambda: len(workshop.processes()) >= 5)  # agent, watcher, shell, two sleeps
    return session


def _ignored(call, *arguments: object) -> None:
    with contextlib.suppress(NodeError):  # the connection is cut on purpose
        call(*arguments)


def test_asked_to_it_says_goodbye_and_nothing_is_left(workshop, busy):
    assert busy.end(8) == ()
    assert not workshop.left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_its_jobs(workshop, busy, number):
    os.kill(busy.hello.pid, number)
    workshop.assert_nothing_is_left()


def test_the_end_of_its_input_ends_it_and_its_jobs(workshop, busy):
    busy.channel.close()
    workshop.assert_nothing_is_left()


def test_input_that_ends_in_the_middle_of_a_frame_ends_it(workshop, busy):
    busy.channel.send(frames.frame({"do": "answer", "id": 9, "requests": []})[:-5])
    busy.channel.close()
    workshop.assert_nothing_is_left()


def test_a_reader_that_is_gone_ends_it_although_its_input_stays_open(workshop):
    channel = workshop.channel()
    channel.send(payload.payload())
    channel.send(frames.frame({"do": "job", "id": 1, "argv": ["/bin/sh", "-c", STUBBORN], "deadline_s": 60}))
    assert until(lambda: len(workshop.processes()) >= 5)
    channel._streams[1].close()
    workshop.assert_nothing_is_left()
    channel.close()


def test_silence_past_the_lease_ends_it(workshop):
    session = workshop.session(agent__LEASE_S=1.0)
    heartbeat.stop(session)
    assert until(lambda: not is_running(session.hello.pid), 4)
    workshop.assert_nothing_is_left()


def test_word_that_waited_while_it_was_frozen_renews_the_lease(workshop):
    session = workshop.session(agent__LEASE_S=1.0)
    os.kill(session.hello.pid, signal.SIGSTOP)
    time.sleep(0.2)
    session.send_alive()
    time.sleep(1.5)
    os.kill(session.hello.pid, signal.SIGCONT)
    assert session.clock(1)


def test_thawed_after_the_controller_left_it_ends_at_once(workshop, busy):
    os.kill(busy.hello.pid, signal.SIGSTOP)
    busy.channel.close()
    time.sleep(0.3)
    assert is_running(busy.hello.pid)
    os.kill(busy.hello.pid, signal.SIGCONT)
    workshop.assert_nothing_is_left()


def test_killed_with_sigkill_its_watcher_cleans_up_and_ends(workshop, busy):
    (folder,) = (path for path in workshop.folder.iterdir() if path.is_dir())
    assert folder.name.startswith("diag-")
    os.kill(busy.hello.pid, signal.SIGKILL)
    workshop.assert_nothing_is_left()


def test_killed_with_sigkill_while_it_answers_nothing_is_left(workshop):
    session = workshop.session()
    request = Request(name="long", verb=Run(argv=("sleep", "300")), deadline_s=60)
    threading.Thread(target=_ignored, args=(session.ask, [request], 60), daemon=True).start()
    assert until(lambda: len(workshop.processes()) >= 4)  # agent, watcher, the child that answers, sleep
    os.kill(session.hello.pid, signal.SIGKILL)
    workshop.assert_nothing_is_left()


def test_what_a_vendor_s_tool_left_behind_is_ended(workshop, tmp_path):
    """The tool was run for a function and ended in time; its own child is nobody's."""
    root = plant(tmp_path / "root", pci_device("0000:01:00.0", METAX))
    tool = tmp_path / "mx-smi"
    tool.write_text("#!/bin/sh\nsetsid sleep 300 >/dev/null 2>&1 &\n")
    tool.chmod(0o755)
    about = {"name": "mx-smi", "places": [str(tmp_path)], "libraries": [], "commands": {"table": []}}
    verb = Ask("accelerators:tools", {"vendors": {"metax": [about]}, "seconds": 5, "root": root})
    session = workshop.session()
    (answer,) = session.ask([Request(name="it", verb=verb)], 10)
    assert answer.value["vendors"][0]["said"]["table"]["status"] == 0
    assert session.end(8) == ()
    assert until(lambda: not workshop.processes())


def test_its_controller_killed_with_sigkill_nothing_is_left(workshop):
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.remote.agents import Workshop
session = Workshop(Path({str(workshop.folder)!r})).session()
argv = ["/bin/sh", "-c", "(setsid sleep 300 &) ; echo @diag 1; sleep 300"]
session.job(argv, {{}}, 60, lambda line: print(line, flush=True))
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as controller:
        assert controller.stdout.readline() == b"1\n"
        assert workshop.processes()
        controller.kill()
    workshop.assert_nothing_is_left()


def test_ctrl_c_in_the_terminal_does_not_reach_it(workshop):
    session = workshop.session()
    assert os.getsid(session.hello.pid) != os.getsid(0)
    assert os.getpgid(session.hello.pid) != os.getpgid(0)


def test_while_it_answers_a_long_request_its_input_is_still_heard(workshop):
    session = workshop.session()
    request = Request(name="long", verb=Run(argv=("sleep", "300")), deadline_s=60)
    threading.Thread(target=_ignored, args=(session.ask, [request], 60), daemon=True).start()
    assert until(lambda: len(workshop.processes()) >= 4)
    assert session.end(5) == ()
    assert not workshop.left()


def test_a_rank_below_a_launcher_that_closes_descriptors_notices_the_end(workshop):
    """As torchrun does; here nobody is left to clean up, only the rank's own watch can end it."""
    rank = "import alive, os, time; alive.watch(); print('@diag %d' % os.getpid(), flush=True); time.sleep(300)"
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {rank!r}], start_new_session=True)"
    session = workshop.session()
    lines: list[int] = []
    job = (["{python}", "-c", launcher], {"PYTHONPATH": "{pyz}"}, 60, lines.append)
    threading.Thread(target=_ignored, args=(session.job, *job), daemon=True).start()
    assert until(lambda: lines)
    agent_and_watcher = [pid for pid in workshop.processes() if _command(pid) == _command(session.hello.pid)]
    assert len(agent_and_watcher) == 2
    for pid in sorted(agent_and_watcher, reverse=True):
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: not is_running(lines[0]))


def _command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_without_a_private_folder_in_memory_the_code_lies_in_a_file_that_goes_too(workshop):
    session = workshop.session(first="import os;del os.memfd_create")
    (folder,) = (path for path in workshop.folder.iterdir() if path.is_dir())
    assert [path.name for path in folder.iterdir()] == ["node.pyz"]
    end, _ = shell(session, "ls {pyz} {dir}")
    assert end.status == 0
    os.kill(session.hello.pid, signal.SIGKILL)
    workshop.assert_nothing_is_left()


def test_an_agent_that_breaks_is_cleaned_up_after_and_its_last_words_are_kept(workshop, busy):
    busy.channel.send((9).to_bytes(4, "big") + b"no JSON !")
    workshop.assert_nothing_is_left()
    with pytest.raises(NodeError, match=r"the agent ended: json\.decoder\.JSONDecodeError: "):
        busy.clock(1)
