"""Does the board name who is missing, frozen, dead or of another version, to all who are there and to the controller?

Members are processes of their own that use the product's roll call; torch is not needed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NODE = Path(__file__).parents[2] / "diag" / "node"
HERE = "127.0.0.1"
TOKEN = "5" * 32
MISSING_S = 1.0
BOARD = f"import sys; sys.path.insert(0, {str(NODE)!r}); import board; board.MISSING_S = {MISSING_S}; board.main()"
MEMBER = f"""
import os, sys, time; sys.path.insert(0, {str(NODE)!r})
import markers, rollcall
markers.start_clock()
who, patience_s, version = sys.argv[1], float(sys.argv[2]), sys.argv[3]
def leave(roll, troubles):
    markers.say(troubles=troubles)
    roll.bye()
    os._exit(4)
roll = rollcall.Roll(who, "spawned", patience_s, leave)
roll.on_sigterm()
roll.say("imported", patience_s, torch=version)
complete = roll.await_all("imported", 10)
markers.say(complete=complete)
if complete:
    time.sleep(float(sys.argv[4]))
    roll.bye()
else:
    time.sleep(1)
"""


class Gathering:
    """A board and its members; ``said``: each one's lines once it ended."""

    def __init__(self, ranks: int) -> None:
        asked = {"address": HERE, "peers": [HERE], "nodes": 1, "ranks": ranks, "deadline_s": 30}
        self.processes: list[subprocess.Popen[str]] = []
        self.board = self._start(BOARD, json.dumps(asked), DIAG_TOKEN=TOKEN)
        assert self.board.stdout is not None
        self.port = lines(self.board.stdout.readline())[0]["port"]

    def member(
        self, who: str, *, patience_s: float = 5.0, version: str = "2.13.0", stays_s: float = 20.0, token: str = TOKEN
    ) -> subprocess.Popen[str]:
        place = {"address": HERE, "port": self.port, "source": HERE, "node": 0}
        arguments = (who, str(patience_s), version, str(stays_s))
        return self._start(MEMBER, *arguments, DIAG_TOKEN=token, DIAG_BOARD=json.dumps(place))

    def _start(self, code: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        argv = (sys.executable, "-S", "-c", code, *arguments)
        self.processes.append(subprocess.Popen(argv, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True))
        return self.processes[-1]

    def said(self, process: subprocess.Popen[str]) -> list[dict[str, Any]]:
        return lines(process.communicate(timeout=15)[0])

    def seen(self) -> list[dict[str, str]]:
        """What the board told the controller."""
        self.board.kill()
        return [line["trouble"] for line in self.said(self.board) if "trouble" in line]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("@diag ")) for line in text.splitlines() if line.startswith("@diag ")]


def blamed(said: list[dict[str, Any]]) -> dict[str, str]:
    return {trouble["who"]: trouble["cause"] for line in said for trouble in line.get("troubles", ())}


@pytest.fixture
def gather() -> Iterator[Callable[[int], Gathering]]:
    made: list[Gathering] = []

    def make(ranks: int) -> Gathering:
        made.append(Gathering(ranks))
        return made[-1]

    yield make
    for gathering in made:
        gathering.end()


def test_all_go_on_once_all_are_there(gather):
    gathering = gather(3)
    members = [gathering.member(f"rank:{rank}", stays_s=0) for rank in range(3)]
    assert [gathering.said(member)[-1]["complete"] for member in members] == [True] * 3
    assert gathering.seen() == []


def test_a_missing_rank_is_named_by_every_other(gather):
    gathering = gather(3)
    members = [gathering.member(f"rank:{rank}") for rank in (0, 2)]
    assert [blamed(gathering.said(member)) for member in members] == [{"rank:1": "rank_missing"}] * 2
    assert [(trouble["who"], trouble["cause"]) for trouble in gathering.seen()] == [("rank:1", "rank_missing")]


def test_a_killed_rank_is_named_by_every_other_and_they_are_not(gather):
    gathering = gather(3)
    members = [gathering.member(f"rank:{rank}") for rank in range(3)]
    for member in members:
        assert member.stdout is not None
        member.stdout.readline()  # complete
    members[1].kill()
    assert [blamed(gathering.said(members[rank])) for rank in (0, 2)] == [{"rank:1": "rank_died"}] * 2
    assert gathering.seen() == [{"who": "rank:1", "cause": "rank_died", "what": "its process ended in phase imported"}]


def test_two_that_die_at_once_are_both_named(gather):
    gathering = gather(3)
    members = [gathering.member(f"rank:{rank}") for rank in range(3)]
    for member in members:
        assert member.stdout is not None
        member.stdout.readline()
    members[1].kill()
    members[2].kill()
    assert blamed(gathering.said(members[0])) == {"rank:1": "rank_died", "rank:2": "rank_died"}


def test_a_frozen_rank_is_named_by_every_other(gather):
    gathering = gather(3)
    members = [gathering.member(f"rank:{rank}", patience_s=4.0) for rank in range(3)]
    for member in members:
        assert member.stdout is not None
        member.stdout.readline()
    members[2].send_signal(signal.SIGSTOP)
    assert [blamed(gathering.said(member)) for member in members[:2]] == [{"rank:2": "rank_frozen"}] * 2


def test_a_rank_of_another_torch_is_named_before_anything_is_initialised(gather):
    gathering = gather(3)
    members = [gathering.member(f"rank:{rank}", version=v) for rank, v in enumerate(("2.13.0", "2.13.0+cpu", "2.12.1"))]
    said = [gathering.said(member) for member in members]
    assert [blamed(one) for one in said] == [{"rank:2": "version_differs"}] * 3
    assert "loaded torch 2.12.1, the others 2.13.0" in json.dumps(said[0])


def test_torchruns_sigterm_is_a_farewell_not_a_death(gather):
    gathering = gather(2)
    members = [gathering.member(f"rank:{rank}") for rank in range(2)]
    for member in members:
        assert member.stdout is not None
        member.stdout.readline()
    members[1].terminate()
    assert members[1].wait(5) == 128 + signal.SIGTERM
    time.sleep(0.5)
    assert members[0].poll() is None
    assert gathering.seen() == []


def test_a_lost_board_is_named(gather):
    gathering = gather(1)
    member = gathering.member("rank:0")
    assert member.stdout is not None
    member.stdout.readline()
    gathering.board.kill()
    assert blamed(gathering.said(member)) == {"board": "agent_silent"}


def test_whoever_lacks_the_token_is_not_listened_to(gather):
    gathering = gather(1)
    gathering.member("rank:7", token="6" * 32)
    with socket.create_connection((HERE, gathering.port), 5) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(100) == b""
    assert gathering.said(gathering.member("rank:0", stays_s=0))[-1]["complete"] is True


def test_the_board_listens_on_its_address_only(gather):
    gathering = gather(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", gathering.port), 2)
