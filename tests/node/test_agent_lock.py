"""Who holds the node? Two agents at once, and what earlier ones left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from diag.errors import DiagError
from diag.probes.verbs import Ask, Request
from tests.remote.agents import Workshop, shell, until


def test_the_second_agent_says_who_holds_the_lock_and_answers_all_the_same(workshop):
    first = workshop.session()
    second = workshop.session()
    assert first.hello.lock.held
    lock = second.hello.lock
    assert (lock.held, lock.pid, lock.user) == (False, first.hello.pid, first.hello.user)
    assert abs(lock.started - first.hello.time) < 1
    assert lock.token == first.token != second.token
    assert lock.why.startswith(f"another diag is at work: pid {first.hello.pid} of {first.hello.user} since 20")
    assert second.ask([Request(name="a", verb=Ask("os:getpid"))], 5)[0].value
    second.end(5)
    assert (workshop.folder / "diag.lock").exists()
    first.end(5)
    workshop.assert_nothing_is_left()


def test_the_lock_is_free_again_when_its_holder_ended(workshop):
    workshop.session().end(5)
    assert workshop.session().hello.lock.held


def test_a_holder_that_is_tidying_up_is_waited_for(workshop):
    """A run was interrupted, and is started again at once."""
    first = workshop.session()
    lock = workshop.folder / "diag.lock"
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "ending": True}))
    threading.Timer(0.7, first.end, (5,)).start()
    began = time.monotonic()
    assert workshop.session().hello.lock.held
    assert time.monotonic() - began > 0.6


def test_an_agent_signs_that_it_ends_before_it_tidies_up(workshop):
    """A job that is hard to end gives us the time to look."""
    first = workshop.session()
    script = "for i in $(seq 60); do setsid sleep 60 & done; echo there; wait"

    def work() -> None:
        with contextlib.suppress(DiagError, OSError):
            shell(first, script)

    threading.Thread(target=work, daemon=True).start()
    assert until(lambda: len(workshop.processes()) > 60)
    lock, seen = workshop.folder / "diag.lock", set()
    os.kill(first.hello.pid, signal.SIGTERM)
    while lock.exists():
        with contextlib.suppress(OSError, ValueError):
            seen.add(json.loads(lock.read_text()).get("ending", False))
    assert True in seen


def test_a_killed_holder_does_not_keep_the_lock(workshop):
    first = workshop.session()
    assert until(lambda: len(workshop.processes()) == 2)  # its watcher is there
    os.kill(first.hello.pid, signal.SIGKILL)
    assert until(lambda: not (workshop.folder / "diag.lock").exists())
    assert workshop.session().hello.lock.held


@pytest.mark.parametrize(
    "stale", [b"", b"{", b"[]", b'{"pid": 1, "started": 1e300, "user": "\\u001b[31m"}', b"x" * 9999]
)
def test_whatever_a_dead_run_left_in_the_file_does_not_hold_it(workshop, stale):
    (workshop.folder / "diag.lock").write_bytes(stale)
    session = workshop.session()
    assert session.hello.lock.held
    assert json.loads((workshop.folder / "diag.lock").read_text())["pid"] == session.hello.pid
    session.end(5)
    workshop.assert_nothing_is_left()


@pytest.mark.parametrize("nonsense", [b"", b"{", b"[]", b'{"pid": 1, "started": 1e300, "user": "x"}'])
def test_a_holder_that_did_not_sign_is_still_a_holder(workshop, nonsense):
    first = workshop.session()
    (workshop.folder / "diag.lock").write_bytes(nonsense)
    second = workshop.session()
    assert first.hello.lock.held
    assert second.hello.lock.why == "another diag is at work (its lock file does not say whose)"


def test_a_link_or_a_pipe_in_its_place_is_not_followed(workshop, tmp_path_factory):
    target = tmp_path_factory.mktemp("elsewhere") / "target"
    target.write_text("precious")
    (workshop.folder / "diag.lock").symlink_to(target)
    session = workshop.session()
    assert not session.hello.lock.held
    assert session.hello.lock.why.startswith("no lock: ")
    assert target.read_text() == "precious"
    session.end(5)
    (workshop.folder / "diag.lock").unlink()
    os.mkfifo(workshop.folder / "diag.lock")
    assert "not a regular file" in workshop.session().hello.lock.why


def test_where_the_first_place_cannot_be_written_the_second_holds_the_lock(workshop):
    places = ("/proc/diag.lock", str(workshop.folder / "second.lock"))
    assert workshop.session(lock__PATHS=places).hello.lock.held
    assert not workshop.session(lock__PATHS=places).hello.lock.held


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def shared_folder() -> Iterator[Workshop]:
    """Sticky and writable for all, like /tmp. Not pytest's own folder: every run of pytest closes that to others."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)
        shop = Workshop(Path(folder))
        yield shop
        shop.end()


def test_another_user_sees_who_holds_it_and_takes_it_over_when_it_is_free(shared_folder):
    python = "/usr/bin/python3"  # one that others may run
    first = shared_folder.session(python=python)
    second = shared_folder.session(python=python, wrapper=NOBODY)
    assert (second.hello.lock.pid, second.hello.lock.user) == (first.hello.pid, "root")
    first.end(5)
    third = shared_folder.session(python=python, wrapper=NOBODY)
    assert (third.hello.user, third.hello.lock.why) == ("nobody", "")
    assert shell(third, "id -u; echo $TMPDIR")[0].output.startswith("65534\n" + str(shared_folder.folder))
    fourth = shared_folder.session(python=python)
    assert (fourth.hello.lock.held, fourth.hello.lock.user) == (False, "nobody")
    for session in (second, third, fourth):
        assert session.end(5) == ()
    shared_folder.assert_nothing_is_left()


def test_another_users_stale_file_is_signed_anew(shared_folder):
    python = "/usr/bin/python3"
    stale = shared_folder.folder / "diag.lock"
    stale.write_text('{"pid": 1, "started": 1, "user": "gone"}')
    stale.chmod(0o666)
    holder = shared_folder.session(python=python, wrapper=NOBODY)
    assert holder.hello.lock.held
    assert shared_folder.session(python=python).hello.lock.pid == holder.hello.pid
