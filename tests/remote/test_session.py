"""What does a session make of what a node says, and of what it does not say?"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from diag.errors import NodeError
from diag.inventory import Host
from diag.probes.verbs import Answer, Ask, Request
from diag.remote import frames, payload
from diag.remote.session import Session, open_session
from tests.remote.fake import HELLO, FakeTransport, Recorded, Scripted, obedient

HOST = Host(name="gpu01")
REQUESTS = (Request(name="a", verb=Ask("x:a")), Request(name="b", verb=Ask("x:b")))


OPENED: list[Session] = []


@pytest.fixture(autouse=True)
def _dropped() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().abort()


def opened(channel: Recorded, host: Host = HOST, deadline_s: float = 5) -> Session:
    OPENED.append(open_session(host, FakeTransport({host.name: channel}), deadline_s))
    return OPENED[-1]


def refusal(channel: Recorded, host: Host = HOST, deadline_s: float = 0.2) -> NodeError:
    with pytest.raises(NodeError) as caught:
        opened(channel, host, deadline_s)
    assert caught.value.where == host.name
    assert channel.closed
    return caught.value


def test_the_agents_code_is_sent_and_its_hello_is_kept():
    channel = Scripted(obedient({}))
    session = opened(channel)
    assert channel.sent == payload.payload()
    assert (session.hello.user, session.hello.lock.held, session.login_noise_bytes) == ("ops", True, 0)


@pytest.mark.parametrize(
    "noise",
    [b"Welcome!\n", b"\x00\x01\xff\n" * 9, b"no newline", frames.MARKER[:7] * 3, b"diag-agent 1\n", b"x" * 100_000],
)
def test_what_a_login_shell_prints_first_is_skipped_and_counted_whatever_it_is(noise):
    stream = noise + frames.MARKER + frames.frame(HELLO)
    for step in (1, 7, len(stream)):
        if len(stream) // step > 5000:
            continue
        session = opened(Recorded(*(stream[at : at + step] for at in range(0, len(stream), step))))
        assert (session.login_noise_bytes, session.hello.pid) == (len(noise), 4711)


def test_answers_come_back_in_the_order_of_the_requests_with_their_reasons():
    session = opened(Scripted(obedient({"a": {"n": 1}})))
    a, b = session.ask(REQUESTS, 5)
    assert a == Answer(name="a", value={"n": 1})
    assert (b.name, b.why) == ("b", "the fake does not know")
    assert session.end(5) == ()


def test_a_large_frame_is_compressed_both_ways():
    session = opened(Scripted(obedient({"a": "x" * 1_000_000, "b": 0})))
    sent = len(session.channel.sent)
    answers = session.ask([Request(name="a", verb=Ask("x:a", {"text": "y" * 1_000_000}))], 5)
    assert len(answers[0].value) == 1_000_000
    assert len(session.channel.sent) - sent < 20_000


def test_a_node_that_stays_silent_is_named_with_how_long():
    session = opened(Scripted(lambda _: ()))
    with pytest.raises(NodeError, match=r"^gpu01: no answer within 0\.2 s$") as caught:
        session.ask(REQUESTS, 0.2)
    assert caught.value.cause == "agent_silent"
    with pytest.raises(NodeError, match="no answer within"):
        session.end(0.2)


def test_an_agent_that_ends_in_the_middle_is_noticed_at_once():
    session = opened(Recorded(frames.MARKER + frames.frame(HELLO), b"\x00\x00", b""))
    began = time.monotonic()
    with pytest.raises(NodeError, match="gpu01: the agent ended"):
        session.ask(REQUESTS, 60)
    assert time.monotonic() - began < 2


def test_the_last_words_of_an_agent_that_broke_are_shown():
    stream = frames.MARKER + frames.frame(HELLO)
    session = opened(Recorded(stream, b"", words="Traceback …\nMemoryError: no room\n", status=1))
    with pytest.raises(NodeError, match="gpu01: the agent ended: MemoryError: no room"):
        session.ask(REQUESTS, 5)


def test_bytes_of_others_between_the_frames_are_shown():
    session = opened(Recorded(frames.MARKER + frames.frame(HELLO), b"wall: system goes down\n" * 3))
    with pytest.raises(NodeError, match=r"something else writes into the agent's answers: b'wall: system"):
        session.ask(REQUESTS, 5)


def test_what_the_agent_cannot_do_it_says():
    session = opened(Scripted(lambda message: [{"id": message["id"], "error": "ValueError: unknown request 'x'"}]))
    with pytest.raises(NodeError, match="the agent could not do it: ValueError: unknown request 'x'"):
        session.ask(REQUESTS, 5)


def test_several_threads_get_each_their_own_answers():
    def reply(message):
        time.sleep(0.001)
        return [
            {"id": message["id"], "answers": [{"name": r["name"], "value": message["id"]} for r in message["requests"]]}
        ]

    session = opened(Scripted(reply))
    wrong: list[object] = []

    def talk(number: int) -> None:
        for turn in range(20):
            name = f"{number}.{turn}"
            answers = session.ask([Request(name=name, verb=Ask("x:a"))], 10)
            wrong.extend(answer for answer in answers if answer.name != name)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_aborting_frees_whoever_waits():
    session = opened(Scripted(lambda _: ()))
    threading.Timer(0.2, session.abort).start()
    began = time.monotonic()
    with pytest.raises(NodeError, match=r"the connection was dropped|the agent ended"):
        session.ask(REQUESTS, 60)
    assert time.monotonic() - began < 3


def test_the_clock_is_taken_from_the_shortest_round_trip():
    delays = iter([0.05, 0.0, 0.05])

    def reply(message):
        time.sleep(next(delays))
        yield {"id": message["id"], "time": time.time() + 37}

    session = opened(Scripted(reply))
    offset_s, uncertainty_s = session.clock(samples=3)
    assert uncertainty_s < 0.02
    assert abs(offset_s - 37) <= uncertainty_s + 0.005


def test_a_line_handler_that_fails_stops_the_job_and_keeps_its_exception():
    stopped: list[int] = []

    def reply(message):
        if message["do"] == "job":
            yield {"id": message["id"], "event": "line", "line": {}}
        if message["do"] == "stop":
            stopped.append(message["job"])

    session = opened(Scripted(reply))
    with pytest.raises(ZeroDivisionError):
        session.job(["true"], {}, 5, lambda line: 1 / len(line))
    assert len(stopped) == 1


def test_an_interpreter_that_is_not_there_is_named_with_what_to_do():
    error = refusal(Recorded(b"", words="bash: line 1: /opt/py: No such file or directory\n", status=127), Host(
        name="gpu01", python="/opt/py"))  # fmt: skip
    assert (error.cause, error.do) == ("python_missing", "name another with --python")
    assert "/opt/py does not run there: bash: line 1: /opt/py: No such file or directory" in error.what


def test_a_python_too_old_to_parse_is_named_too():
    error = refusal(Recorded(b"", words="  File '<string>', line 1\nSyntaxError: invalid syntax\n", status=1))
    assert (error.cause, "SyntaxError: invalid syntax" in error.what) == ("python_missing", True)


def test_a_wrapper_that_fails_says_its_own_last_words():
    host = Host(name="gpu01", exec=("docker", "exec", "-i", "vllm"))
    error = refusal(Recorded(b"", words="Error response from daemon: No such container: vllm\n", status=1), host)
    assert error.cause == "container_not_there"
    assert error.what.startswith("docker exec -i vllm failed, so python3 was not started: Error response")
    assert "No such container: vllm" in error.what
    assert error.do == "try docker exec -i vllm python3 --version there, or name another with --exec"


NO_DOCKER = "'docker' is not found there: install it, or name another with --exec"


@pytest.mark.parametrize(
    ("words", "do"),
    [
        ("bash: line 1: exec: docker: not found\n", NO_DOCKER),
        ("zsh:1: command not found: docker\n", NO_DOCKER),
        (
            'OCI runtime exec failed: exec: "python3": executable file not found in $PATH\n',
            "name another with --python",
        ),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n",
            "try docker exec -i vllm python3 --version there, or name another with --exec",
        ),
        (
            "docker: 1: nosuch: not found\n",
            "try docker exec -i vllm python3 --version there, or name another with --exec",
        ),
    ],
)
def test_what_is_not_there_before_or_behind_a_wrapper_is_told_apart(words, do):
    host = Host(name="gpu01", exec=("docker", "exec", "-i", "vllm"))
    error = refusal(Recorded(b"", words=words, status=127), host)
    cause = "python_missing" if 'python3"' in words else "container_not_there"
    assert (error.cause, error.do) == (cause, do)


@pytest.mark.parametrize(("status", "said"), [(None, "it ended without a word"), (3, "it ended with status 3 and no")])
def test_a_wrapper_that_says_nothing_is_told_by_its_status(status, said):
    error = refusal(Recorded(b"", status=status), Host(name="gpu01", exec=("nsenter",)))
    assert f"nsenter python3 does not run there: {said}" in error.what


def test_a_program_that_ends_well_without_speaking_is_no_python():
    error = refusal(Recorded(b"", status=0), Host(name="gpu01", python="/bin/true"))
    assert (error.cause, error.do) == ("python_missing", "name another with --python")
    assert error.what == "/bin/true is no Python: it ended with status 0 before the agent spoke"
    error = refusal(Recorded(b"-B -c import\n", b"", status=0), Host(name="gpu01", python="/bin/echo"))
    assert error.what.endswith("before the agent spoke; the last it printed: '-B -c import'")


@pytest.mark.parametrize("status", [1, -9, None])
def test_an_agent_that_died_before_it_spoke_is_not_taken_for_another_program(status):
    error = refusal(Recorded(b"", words="MemoryError\n", status=status), Host(name="gpu01", python="/opt/python3"))
    assert (error.cause, "MemoryError" in error.what) == ("agent_silent", True)


def test_where_nobody_named_the_interpreter_another_program_may_run_in_its_place():
    error = refusal(Recorded(b"Hi ops, no shell for you\n", b"", status=0))
    assert (error.cause, "no shell for you" in error.what) == ("agent_silent", True)
    assert "ForceCommand" in error.do


def test_an_account_that_only_says_goodbye_is_shown_with_what_it_said():
    error = refusal(Recorded(b"This account is currently not available.\n", b"", status=1))
    assert (error.cause, "This account is currently not available." in error.what) == ("agent_silent", True)


def test_a_login_that_never_gets_to_the_agent_is_shown_with_what_it_printed():
    error = refusal(Recorded(b"Enter your token: "), deadline_s=0.3)
    assert error.cause == "agent_silent"
    assert "no agent spoke within 0.3 s" in error.what
    assert "Enter your token:" in error.what


def test_what_stopped_the_transport_stays_its_cause():
    with pytest.raises(NodeError) as caught:
        open_session(HOST, FakeTransport({"gpu01": NodeError("gpu01", "host_key_changed", "x")}), 5)
    assert caught.value.cause == "host_key_changed"


def test_idle_sessions_keep_their_lease():
    script = """
from diag.remote import heartbeat
heartbeat.EVERY_S = 0.05
from tests.remote.fake import *
from diag.inventory import Host
from diag.remote.session import open_session
import threading, time
channels = {str(n): Scripted(obedient({})) for n in range(3)}
sessions = [open_session(Host(name=name), FakeTransport(channels), 5) for name in channels]
time.sleep(0.5)
for session in sessions:
    session.abort()
counts = [channel.renewals for channel in channels.values()]
time.sleep(0.2)
later = [channel.renewals for channel in channels.values()]
print(min(counts) > 3, max(later) - min(counts) <= 2, [t.name for t in threading.enumerate() if "heart" in t.name])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "True True []\n", done.stderr
