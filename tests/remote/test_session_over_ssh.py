"""Does an agent behind a real sshd live and end as one beside us?"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from diag.errors import NodeError
from diag.inventory import Host
from diag.probes.verbs import Ask, Request
from diag.remote.session import Session, open_session
from diag.remote.ssh import SshOptions, SshTransport
from tests.remote.agents import Workshop, shell, until
from tests.remote.ssh import sshd


@pytest.fixture(scope="module")
def node(tmp_path_factory) -> Iterator[sshd.Sshd]:
    if lacking := sshd.missing():
        pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("node")
    key = sshd.make_key(folder / "user_key")
    with sshd.running_sshd(folder / "sshd", authorized=[key]) as running:
        (folder / "known_hosts").write_text(f"{running.name} {running.host_key}\n")
        lines = ("Host node", "HostName 127.0.0.1", f"Port {running.port}", f"IdentityFile {key}", "IdentitiesOnly yes")
        known = (f"UserKnownHostsFile {folder}/known_hosts", "GlobalKnownHostsFile none")
        (running.folder / "ssh_config").write_text("\n".join((*lines, *known)) + "\n")
        yield running


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    shop = Workshop(tmp_path)
    yield shop
    shop.end()


@pytest.fixture
def connect(node, workshop) -> Callable[..., Session]:
    def open_(python: str = sys.executable, deadline_s: float = 20, wrapper: tuple[str, ...] = ()) -> Session:
        transport = SshTransport(SshOptions(config_path=str(node.folder / "ssh_config")))
        host = Host(name="node", python=python, exec=wrapper, env=(("TMPDIR", str(workshop.folder)),))
        workshop.sessions.append(open_session(host, transport, deadline_s))
        return workshop.sessions[-1]

    return open_


def test_it_answers_runs_a_job_and_leaves_nothing(connect, workshop):
    session = connect()
    assert session.ask([Request(name="a", verb=Ask("os:getpid"))], 10)[0].value
    assert session.clock()[1] < 1
    end, lines = shell(session, """echo '@diag {"a": "b c"}'; (setsid sleep 300 &); exit 3""")
    assert (end.status, lines, end.left_behind) == (3, [{"a": "b c"}], ())
    assert session.end(8) == ()
    workshop.assert_nothing_is_left()


def test_what_the_login_prints_is_skipped_and_counted(connect, node):
    (node.home / ".bashrc").write_text("echo Welcome; printf '\\x00\\x01\\xff'; echo careful >&2\n")
    try:
        assert connect().login_noise_bytes in (0, 11)  # 0: the user's shell is another one
    finally:
        (node.home / ".bashrc").unlink()


def test_an_interpreter_that_is_not_there_is_named_with_what_to_do(connect):
    with pytest.raises(NodeError) as caught:
        connect("/no/python3")
    assert (caught.value.cause, caught.value.do) == ("python_missing", "name another with --python")
    assert "/no/python3" in caught.value.what


def test_a_program_that_is_no_python_and_a_wrapper_that_is_not_there_are_named(connect):
    with pytest.raises(NodeError) as caught:
        connect("/bin/true")
    assert caught.value.cause == "python_missing"
    assert caught.value.what == "/bin/true is no Python: it ended with status 0 before the agent spoke"
    with pytest.raises(NodeError) as caught:
        connect(wrapper=("nonexist", "-i"))
    assert caught.value.cause == "container_not_there"
    assert caught.value.do == "'nonexist' is not found there: install it, or name another with --exec"


def test_a_dropped_connection_ends_the_agent_and_its_job(connect, workshop):
    session = connect()
    job = threading.Thread(target=_expect_silence, args=(lambda: shell(session, "(setsid sleep 300 &); sleep 300"),))
    job.start()
    assert until(lambda: len(workshop.processes()) >= 5)
    session.abort()
    workshop.assert_nothing_is_left()
    job.join(5)
    assert not job.is_alive()


def test_a_frozen_agent_is_silent_at_the_deadline_and_gone_once_thawed(connect, workshop):
    session = connect()
    os.kill(session.hello.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(NodeError, match=r"node: no answer within 0\.5 s"):
        session.ask([Request(name="a", verb=Ask("os:getpid"))], 0.5)
    assert time.monotonic() - began < 3
    session.abort()
    os.kill(session.hello.pid, signal.SIGCONT)
    workshop.assert_nothing_is_left()


def test_a_killed_agent_is_noticed_at_once(connect, workshop):
    session = connect()
    threading.Timer(0.3, os.kill, (session.hello.pid, signal.SIGKILL)).start()
    began = time.monotonic()
    with pytest.raises(NodeError, match="node: the agent ended"):
        shell(session, "sleep 300", deadline_s=60)
    assert time.monotonic() - began < 5
    workshop.assert_nothing_is_left()


def _expect_silence(call):
    with pytest.raises(NodeError):
        call()
