"""What does the agent answer, and what can a request not do to it?"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diag.probes.verbs import Answer, Ask, Read, Request, Run
from diag.remote.session import Session


def asked(session: Session, verb: Ask | Read | Run, deadline_s: float = 5) -> Answer:
    (answer,) = session.ask([Request(name="it", verb=verb, deadline_s=deadline_s)], deadline_s + 5)
    return answer


def test_a_function_of_the_zip_is_called_with_its_arguments(workshop):
    answer = asked(workshop.session(), Ask("proc:line", {"path": "/proc/sys/kernel/ostype"}))
    assert (answer.value, answer.why) == ("Linux", None)


def test_files_are_read_by_glob_up_to_the_limit_and_the_unreadable_are_left_out(workshop, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x" * 100)
    (tmp_path / "b.txt").write_bytes(b"\xff ok")
    os.mkfifo(tmp_path / "c.txt")
    globs = (f"{tmp_path}/?.txt", "/no/such/file", "/root/../etc")
    answer = asked(workshop.session(), Read(globs=globs, limit_bytes=10))
    assert answer.value == {f"{tmp_path}/a.txt": "x" * 10, f"{tmp_path}/b.txt": "\ufffd ok", f"{tmp_path}/c.txt": ""}


def test_a_tool_is_run_without_a_shell_and_its_streams_come_back_apart(workshop):
    answer = asked(workshop.session(), Run(argv=("sh", "-c", "echo out $A; echo err >&2; exit 3"), env={"A": "a b"}))
    assert answer.value == {"status": 3, "stdout": "out a b\n", "stderr": "err\n"}


def test_a_long_output_is_cut_and_does_not_block_the_tool(workshop):
    answer = asked(workshop.session(), Run(argv=("head", "-c", "9000000", "/dev/zero"), limit_bytes=1000))
    assert (answer.value["status"], len(answer.value["stdout"])) == (0, 1000)


def test_a_missing_tool_is_an_answer(workshop):
    assert asked(workshop.session(), Run(argv=("no-such-tool",))).why.startswith("FileNotFoundError:")


def test_a_tool_past_its_deadline_is_ended_and_named(workshop):
    session = workshop.session()
    began = time.monotonic()
    assert "sleep was still running" in asked(session, Run(argv=("sleep", "60")), deadline_s=0.5).why
    assert time.monotonic() - began < 3
    session.end(5)
    workshop.assert_nothing_is_left()


def test_a_tool_that_closes_its_streams_and_goes_on_is_ended_too(workshop):
    argv = ("sh", "-c", "exec >&- 2>&-; exec sleep 300")
    assert "sh was still running" in asked(workshop.session(), Run(argv=argv), deadline_s=0.5).why


def test_an_exception_is_an_answer_in_one_line(workshop):
    assert asked(workshop.session(), Ask("os:stat", {"path": "/no\nsuch"})).why == (
        "FileNotFoundError: [Errno 2] No such file or directory: '/no\\nsuch'"
    )


@pytest.mark.parametrize(
    ("function", "arguments"), [("no_such:thing", {}), ("os:no_such", {}), ("os:getpid", {"a": 1}), ("sys:exit", {})]
)
def test_a_wrong_request_is_an_answer(workshop, function, arguments):
    assert asked(workshop.session(), Ask(function, arguments)).why


def test_a_value_that_is_no_json_is_an_answer(workshop):
    session = workshop.session()
    assert "ValueError" in asked(session, Ask("ast:literal_eval", {"node_or_string": "1e999"})).why
    assert "TypeError" in asked(session, Ask("ast:literal_eval", {"node_or_string": "b'x'"})).why


def test_bytes_that_are_no_text_survive_the_way(workshop, tmp_path):
    (tmp_path / "names").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "names") + b"/\xff")).touch()
    assert asked(workshop.session(), Ask("os:listdir", {"path": str(tmp_path / "names")})).value == ["?"]


def test_a_large_answer_arrives_whole(workshop, tmp_path):
    (tmp_path / "large").write_text("".join(map(str, range(900_000))))
    answer = asked(workshop.session(), Read(globs=(f"{tmp_path}/large",), limit_bytes=1 << 30))
    assert answer.value == {f"{tmp_path}/large": (tmp_path / "large").read_text()}


def test_a_request_that_hangs_holds_up_no_other(workshop, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    hang = Run(argv=("cat", str(tmp_path / "fifo")))
    requests = [Request(name=f"hangs {n}", verb=hang, deadline_s=1) for n in range(3)]
    requests += [Request(name=f"works {n}", verb=Ask("os:getpid")) for n in range(3)]
    answers = {answer.name: answer for answer in workshop.session().ask(requests, 10)}
    assert all(answers[f"hangs {n}"].why for n in range(3))
    assert all(answers[f"works {n}"].value and answers[f"works {n}"].seconds < 0.9 for n in range(3))


def test_a_crash_of_the_library_it_calls_costs_one_frame_not_the_agent(workshop):
    session = workshop.session()
    crash, other = Request(name="crash", verb=Ask("os:abort")), Request(name="other", verb=Ask("os:getpid"))
    answers = session.ask([other, crash], 5)
    assert answers[0].value
    assert answers[1].why == "the process that answers was ended by signal 6"
    assert asked(session, Ask("os:getpid")).value


def test_a_request_that_stops_the_interpreter_does_not_stop_the_agent(workshop):
    """A C call that never returns and never lets go of the interpreter: no thread beside it runs."""
    session = workshop.session()
    spin = Request(name="spin", verb=Ask("re:match", {"pattern": "(a+)+b", "string": "a" * 60}), deadline_s=0.5)
    (answer,) = session.ask([spin], 5)
    assert answer.why == "no answer within 0.5 s"
    assert session.clock(1)[1] < 1
    session.end(5)
    workshop.assert_nothing_is_left()


def test_what_a_function_prints_reaches_neither_the_protocol_nor_anybody(workshop):
    session = workshop.session()
    printing = Request(name="prints", verb=Ask("os:system", {"command": "echo spoilt; echo spoilt >&2"}))
    assert session.ask([printing], 5)[0].value == 0
    assert asked(session, Ask("builtins:print", {"sep": "x"})).why is None
    assert "spoilt" not in session.channel.errors()


def test_the_clock_of_this_machine_differs_from_itself_by_nothing(workshop):
    offset_s, uncertainty_s = workshop.session().clock()
    assert abs(offset_s) <= uncertainty_s + 0.001
    assert uncertainty_s < 0.5


@pytest.fixture
def dead_mount(tmp_path: Path) -> Iterator[Path]:
    """A mount whose server never answers: every access waits in the kernel."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("needs root and FUSE")
    libc: Any = ctypes.CDLL(None, use_errno=True)
    mount_point, fuse = tmp_path / "dead", os.open("/dev/fuse", os.O_RDWR)
    mount_point.mkdir()
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"dead", os.fsencode(mount_point), b"fuse", 0, options):
        pytest.skip(f"cannot mount FUSE here: {os.strerror(ctypes.get_errno())}")
    yield mount_point
    libc.umount2(os.fsencode(mount_point), 2)
    os.close(fuse)


def test_a_dead_mount_holds_up_neither_the_others_nor_the_end(workshop, dead_mount):
    session = workshop.session()
    requests = [
        Request(name="dead", verb=Ask("os:listdir", {"path": str(dead_mount)}), deadline_s=1),
        Request(name="dead too", verb=Read(globs=(f"{dead_mount}/*/*",)), deadline_s=1),
        Request(name="alive", verb=Ask("os:getpid")),
    ]
    began = time.monotonic()
    dead, dead_too, alive = session.ask(requests, 10)
    assert (dead.why, dead_too.why) == ("no answer within 1 s", "no answer within 1 s")
    assert alive.value
    assert session.end(5) == ()
    assert time.monotonic() - began < 5
    assert not workshop.processes()


def test_a_job_that_is_sent_into_a_dead_mount_ends_at_its_deadline(workshop, dead_mount):
    session = workshop.session()
    end = session.job(["true"], {}, 0.7, print, cwd=str(dead_mount))
    assert (end.timed_out, end.left_behind) == (True, ())
    assert session.end(5) == ()
    assert not workshop.processes()
