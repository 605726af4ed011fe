from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diag import probes
from diag.facts.record import Missing, peek
from diag.inventory import Host
from diag.remote.local import LocalTransport
from diag.remote.session import Session, open_session

HERE = Path(__file__).parent


@contextmanager
def agent_behind(*wrapper: str) -> Iterator[Session]:
    host = Host(name="me", transport="local", python=sys.executable, exec=wrapper)
    session = open_session(host, LocalTransport(), 20)
    try:
        yield session
    finally:
        assert session.end(5) == ()


@pytest.mark.lab
def test_a_model_on_a_dead_mount_is_not_measured_and_hides_nothing_else(tmp_path: Path):
    wrapper = ("unshare", "--mount", sys.executable, "-B", str(HERE / "dead_mount.py"), str(tmp_path))
    with agent_behind(*wrapper) as session:
        answers = session.ask(probes.requests_for(model_path=str(tmp_path / "Qwen3"), names=("localhost",)), 4)
    topics = probes.facts_from(answers)
    assert topics["model"] == Missing("no answer within 3 s")
    filesystems = {filesystem.use: filesystem for filesystem in topics["filesystems"]}
    assert peek(filesystems["model"], "kind").why == f"{tmp_path / 'Qwen3'}: no answer within 3 s"
    assert filesystems["shm"].kind == "tmpfs"
    assert [topic for topic, found in topics.items() if isinstance(found, Missing)] == ["model"]


@pytest.mark.lab
def test_a_name_server_that_never_answers_leaves_only_its_names_unknown(tmp_path: Path):
    unshare = ("unshare", "--mount", "--net")
    with agent_behind(*unshare, sys.executable, "-B", str(HERE / "dead_resolver.py"), str(tmp_path)) as session:
        began = time.monotonic()
        answers = session.ask(probes.requests_for(model_path=None, names=("slow.example", "localhost")), 20)
        assert time.monotonic() - began < 10
    topics = probes.facts_from(answers)
    assert [topic for topic, found in topics.items() if isinstance(found, Missing)] == ["model"]
    assert [(row.name, peek(row, "addresses")) for row in probes.fold_resolutions({"me": answers})] == [
        ("localhost", ("127.0.0.1",)),
        ("slow.example", Missing("no name server answered within 6 s")),
    ]  # fmt: skip
