"""Every question of the facts' frame, asked of a real agent under every interpreter found."""

from __future__ import annotations

from pathlib import Path

import pytest

from diag import probes
from diag.facts.record import Missing, is_known
from diag.inventory import Host
from diag.remote.local import LocalTransport
from diag.remote.session import open_session
from tests.node.asking import interpreters
from tests.node.models import write_model


@pytest.mark.parametrize("python", interpreters())
def test_every_topic_is_answered_and_read(python: str, tmp_path: Path):
    model = write_model(tmp_path / "Qwen3")
    session = open_session(Host(name="me", transport="local", python=python), LocalTransport(), 20)
    try:
        topics = probes.facts_from(session.ask(probes.requests_for(model_path=str(model), names=("localhost",)), 20))
    finally:
        session.end(5)
    unknown = {topic: found.why for topic, found in topics.items() if isinstance(found, Missing)}
    assert unknown == {}
    assert is_known(topics["model"], "weights_bytes")
    assert [filesystem.use for filesystem in topics["filesystems"]][:4] == ["shm", "tmp", "root", "model"]
