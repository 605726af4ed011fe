from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import pytest

from diag.errors import NodeError


def everything(channel, *, until_s=5.0) -> bytes:
    read, until = b"", time.monotonic() + until_s
    while (chunk := channel.receive(1 << 16, 1)) != b"" and time.monotonic() < until:
        read += chunk or b""
    return read


def test_what_is_sent_comes_back_from_cat(node, ssh_config, connect):
    channel = connect(ssh_config(node), "cat")
    channel.send(b"over there")
    assert channel.receive(100, 5) == b"over there"


def test_a_megabyte_goes_through_in_both_directions(node, ssh_config, connect):
    channel = connect(ssh_config(node), "head", "-c", str(1 << 20))
    sent = os.urandom(1 << 20)
    sender = threading.Thread(target=channel.send, args=(sent,))
    sender.start()
    assert everything(channel) == sent
    sender.join()


def test_nothing_within_the_time_is_not_the_end(node, ssh_config, connect):
    channel = connect(ssh_config(node), "cat")
    assert channel.receive(100, 0.05) is None


def test_the_end_of_the_command_is_the_end_of_the_stream_and_has_a_status(node, ssh_config, connect):
    channel = connect(ssh_config(node), "sh", "-c", "echo said; exit 7")
    assert everything(channel) == b"said\n"
    assert channel.exit_status(5) == 7
    assert channel.receive(100, 0) == b""


def test_a_command_that_a_signal_ended_has_no_status(node, ssh_config, connect):
    channel = connect(ssh_config(node), "sh", "-c", "kill -9 $$")
    assert everything(channel) == b""
    assert channel.exit_status(5) is None


def test_a_command_that_still_runs_has_no_status(node, ssh_config, connect):
    assert connect(ssh_config(node), "cat").exit_status(0.05) is None


def test_the_end_of_standard_error_is_kept(node, ssh_config, connect):
    channel = connect(ssh_config(node), "sh", "-c", "seq 100000 >&2; echo done")
    assert everything(channel) == b"done\n"
    errors = channel.errors()
    assert errors.endswith("99999\n100000\n")
    assert len(errors) == 8192


def test_more_standard_error_than_the_window_stops_nothing(node, ssh_config, connect):
    channel = connect(ssh_config(node), "sh", "-c", "head -c 5000000 /dev/zero >&2; echo done")
    assert everything(channel) == b"done\n"


def test_the_channel_says_which_address_it_reached(node, ssh_config, connect):
    assert connect(ssh_config(node), "cat").address == "127.0.0.1"


def test_closing_wakes_who_receives(node, ssh_config, connect):
    channel = connect(ssh_config(node), "cat")
    threading.Timer(0.1, channel.close).start()
    began = time.monotonic()
    assert channel.receive(100, 5) == b""
    assert time.monotonic() - began < 2


def test_closing_twice_is_closing_once(node, ssh_config, connect):
    channel = connect(ssh_config(node), "cat")
    channel.close()
    channel.close()


@pytest.mark.parametrize("stopped", ["a command that reads nothing", "a frozen node"])
def test_closing_wakes_who_sends(stopped, node, ssh_config, connect):
    channel = connect(ssh_config(node), "sh", "-c", "echo $PPID $$; exec sleep 60")
    sshd, command = map(int, channel.receive(100, 5).split())
    failed: list[NodeError] = []

    def send() -> None:
        try:
            channel.send(bytes(30 << 20))
        except NodeError as error:
            failed.append(error)

    if stopped == "a frozen node":
        os.kill(sshd, signal.SIGSTOP)
    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(0.3)
    assert sender.is_alive()
    began = time.monotonic()
    channel.close()
    assert time.monotonic() - began < 0.2
    sender.join(2)
    for pid in (sshd, command):
        with contextlib.suppress(ProcessLookupError):  # sshd may have ended its command by now
            os.kill(pid, signal.SIGKILL)
    assert [error.cause for error in failed] == ["agent_silent"]


def test_sending_after_the_other_end_is_gone_says_so(node, ssh_config, connect):
    channel = connect(ssh_config(node), "true")
    assert channel.exit_status(5) == 0
    with pytest.raises(NodeError) as caught:
        send_for(channel, 2)
    assert caught.value.cause == "agent_silent"


def send_for(channel, seconds) -> None:
    """Between the end of the command and the end of the channel there is a moment in which bytes are lost."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        channel.send(b"x")


def test_sending_over_a_closed_connection_says_so(node, ssh_config, connect):
    channel = connect(ssh_config(node), "cat")
    channel.close()
    with pytest.raises(NodeError, match="gone"):
        channel.send(b"x")


def test_a_connection_that_sshd_drops_ends_the_stream(make_node, ssh_config, connect):
    node = make_node()
    channel = connect(ssh_config(node), "sh", "-c", "echo $PPID; cat")
    os.kill(int(channel.receive(100, 5)), 9)
    assert channel.receive(100, 5) == b""


def test_the_words_of_a_command_arrive_as_they_were(node, ssh_config, connect):
    words = ("it's", 'a "b"', "$HOME `id` \\ \\\\ !x", "", "*", "new\nline", "é", "-n", "~", "a;b|c&d")
    channel = connect(ssh_config(node), "python3", "-c", "import sys; print(sys.argv[1:])", *words)
    assert everything(channel).decode() == f"{list(words)}\n"


def test_a_second_command_runs_beside_the_first_on_one_connection(node, ssh_config, connect):
    channel = connect(ssh_config(node), "cat")
    beside = channel.beside(("sh", "-c", "echo beside; cat"), 5)
    assert beside is not None
    assert beside.receive(100, 5) == b"beside\n"
    assert beside.address == channel.address
    beside.close()
    channel.send(b"still there")
    assert channel.receive(100, 5) == b"still there"
    channel.close()
    assert everything(beside) == b""


def test_a_host_that_allows_one_session_a_connection_says_so(make_node, ssh_config, connect):
    channel = connect(ssh_config(make_node(more="MaxSessions 1")), "cat")
    assert channel.beside(("true",), 5) is None
    channel.send(b"still there")
    assert channel.receive(100, 5) == b"still there"
