"""Is this machine a node like any other?"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from diag.errors import NodeError
from diag.inventory import Host
from diag.probes.verbs import Ask, Request
from diag.remote.local import LocalTransport
from diag.remote.session import open_session
from tests.remote.agents import is_running, until

HOST = Host(name="here", transport="local")


def refusal(host: Host) -> NodeError:
    with pytest.raises(NodeError) as caught:
        open_session(host, LocalTransport(), 10)
    return caught.value


def test_its_default_interpreter_is_our_own():
    session = open_session(HOST, LocalTransport(), 20)
    assert session.hello.executable == sys.executable
    assert (session.hello.hostname, session.channel.address) == (os.uname().nodename, "127.0.0.1")
    session.end(5)
    assert not is_running(session.hello.pid)


def test_the_inventorys_environment_is_the_agents():
    host = Host(name="here", transport="local", env=(("NCCL_DEBUG", "a b'c\"$HOME"),))
    session = open_session(host, LocalTransport(), 20)
    (answer,) = session.ask([Request(name="e", verb=Ask("os:getenv", {"key": "NCCL_DEBUG"}))], 5)
    assert answer.value == "a b'c\"$HOME"
    session.end(5)


def test_a_wrapper_starts_the_interpreter():
    host = Host(name="here", transport="local", exec=("nice", "-n", "3"))
    session = open_session(host, LocalTransport(), 20)
    assert session.end(5) == ()


def test_an_interpreter_that_is_not_there_is_one_clear_line():
    error = refusal(Host(name="here", transport="local", python="/no/python3"))
    assert str(error) == (
        "here: /no/python3 cannot be started here: No such file or directory; name another with --python"
    )
    assert error.cause == "python_missing"


def test_an_interpreter_that_is_not_there_behind_a_wrapper_is_one_clear_line():
    error = refusal(Host(name="here", transport="local", python="/no/python3", exec=("env",)))
    assert error.cause == "python_missing"
    assert "env /no/python3 does not run there: env: " in error.what


def test_something_else_than_python_is_one_clear_line():
    error = refusal(Host(name="here", transport="local", python="/bin/false"))
    assert (error.cause, error.what) == ("agent_silent", "the agent ended before it spoke (status 1): no message")


def test_noise_before_the_agent_is_skipped_whatever_it_is():
    noisy = ("sh", "-c", 'head -c 100000 /dev/urandom; echo Welcome; echo careful >&2; exec "$@"', "sh")
    session = open_session(Host(name="here", transport="local", exec=noisy), LocalTransport(), 20)
    assert session.login_noise_bytes == 100008
    assert session.end(5) == ()


def test_one_that_never_speaks_is_silent_at_the_deadline():
    host = Host(name="here", transport="local", exec=("sh", "-c", "echo Password:; cat >/dev/null; sleep 2"))
    began = time.monotonic()
    with pytest.raises(NodeError, match=r"no agent spoke within 0.5 s; the last it printed: 'Password:'"):
        open_session(host, LocalTransport(), 0.5)
    assert time.monotonic() - began < 3


def test_what_never_became_an_agent_is_not_left_running():
    host = Host(name="here", transport="local", exec=("sh", "-c", "sleep 61.4321; true"))
    with pytest.raises(NodeError, match="no agent spoke"):
        open_session(host, LocalTransport(), 0.5)
    assert until(lambda: not [path for path in Path("/proc").glob("[0-9]*/cmdline") if _holds(path, b"61.4321")])


def _holds(path: Path, text: bytes) -> bool:
    try:
        return text in path.read_bytes()
    except OSError:
        return False


def test_sending_to_one_that_does_not_read_ends_and_closing_frees_the_sender():
    channel = LocalTransport().open(HOST, ("sleep", "2"), 5)
    errors: list[NodeError] = []

    def send():
        try:
            channel.send(bytes(1 << 20))
        except NodeError as error:
            errors.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(0.2)
    channel.close()
    sender.join(5)
    assert [error.what for error in errors] == ["the connection was dropped"]
    assert until(lambda: channel.exit_status(0) is not None)


def test_what_a_command_says_on_standard_error_is_kept_to_its_last():
    channel = LocalTransport().open(HOST, ("sh", "-c", "seq 1 100000 >&2; echo last words >&2"), 5)
    while channel.receive(100, 5) is None:
        pass
    assert channel.exit_status(5) == 0
    assert channel.errors().endswith("100000\nlast words\n")
    channel.close()


def test_a_session_leaves_no_descriptor_open():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        open_session(HOST, LocalTransport(), 20).end(5)
    assert until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)
