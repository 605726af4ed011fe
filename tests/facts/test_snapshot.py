"""Does a Snapshot keep what was measured, and say of everything else that it was not?"""

from __future__ import annotations

import msgspec
import pytest

from diag.errors import DiagError
from diag.facts.causes import CAUSES
from diag.facts.node import Node, Reach
from diag.facts.record import Missing, NotMeasured, is_known, peek
from diag.facts.snapshot import SCHEMA, Controller, Snapshot, load, save
from diag.facts.system import Limits, Memory


def a_snapshot(**fields: object) -> Snapshot:
    node = Node(
        name="gpu01",
        address="10.0.0.1",
        reach=Reach(outcome="answered"),
        limits=Limits(memlock_soft_bytes=None, nofile_hard=1048576, stack_soft_bytes=Missing("refused")),
        memory=Missing("no answer within 8 s"),
    )
    return Snapshot(
        schema=SCHEMA, taken_at="2026-01-01T00:00:00+00:00", run_id="r1", level="normal",
        controller=Controller(hostname="laptop", python="3.11.7", diag="0.1.0"), nodes=(node,), **fields,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["snapshot.json", "snapshot.json.gz"])
def test_a_saved_snapshot_loads_equal(tmp_path, name):
    save(a_snapshot(), tmp_path / name)
    assert load(tmp_path / name) == a_snapshot()
    assert load(tmp_path) == a_snapshot()


def test_reading_a_missing_fact_raises_with_the_reason():
    node = a_snapshot().node("gpu01")
    with pytest.raises(NotMeasured, match="no answer within 8 s"):
        _ = node.memory
    with pytest.raises(NotMeasured, match="refused"):
        _ = node.limits.stack_soft_bytes


def test_a_fact_the_snapshot_never_held_is_not_measured_rather_than_none():
    with pytest.raises(NotMeasured, match="does not hold it"):
        _ = Memory(total_bytes=1).available_bytes


def test_none_is_an_answer_of_the_device():
    assert a_snapshot().node("gpu01").limits.memlock_soft_bytes is None


def test_a_missing_fact_can_be_looked_at_without_raising():
    node = a_snapshot().node("gpu01")
    assert not is_known(node, "memory")
    assert peek(node, "memory") == Missing("no answer within 8 s")


def test_only_what_may_be_unknown_can_be_missing_in_a_file(tmp_path):
    save(msgspec.structs.replace(a_snapshot(), level=Missing("lost")), tmp_path / "snapshot.json")
    with pytest.raises(DiagError, match=r"Expected `str`, got `object` - at `\$\.level`"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b"\x1f\x8bbroken", b'{"record":"snapshot","schema":1}'])
def test_what_is_no_snapshot_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "snapshot.json"
    path.write_bytes(content)
    with pytest.raises(DiagError, match=r"snapshot\.json: not a Snapshot of diag") as refusal:
        load(path)
    assert "\n" not in str(refusal.value)


def test_an_absent_snapshot_and_a_newer_one_are_refused(tmp_path):
    with pytest.raises(DiagError, match="no such Snapshot"):
        load(tmp_path / "nowhere")
    save(msgspec.structs.replace(a_snapshot(), schema=SCHEMA + 1), tmp_path / "snapshot.json")
    with pytest.raises(DiagError, match="upgrade diag"):
        load(tmp_path)


def test_causes_are_identifiers_with_a_definition():
    assert all(cause.replace("_", "").isalnum() and cause.islower() and text for cause, text in CAUSES.items())
    assert {"node_unreachable", "rank_frozen", "gloo_hostname_loopback", "version_differs"} <= CAUSES.keys()
