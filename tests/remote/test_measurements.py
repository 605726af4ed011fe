"""Does a node's record come out of real measurements? A real agent and its children, on the CPU of this machine."""

from __future__ import annotations

import pytest

from diag.errors import NodeError
from diag.remote.child import Child
from diag.remote.measurements import measure
from diag.remote.schedule import Schedule
from tests.remote.agents import Workshop, workshop

__all__ = ["workshop"]
pytestmark = pytest.mark.torch

MIB = 1 << 20


def child(number: int, topic: str, call: str, *gpus: int, deadline_s: float = 30.0, **arguments: object) -> Child:
    return Child(
        id=number,
        topic=topic,
        gpus=gpus,
        call=call,
        arguments=arguments,
        devices=("cpu",) * len(gpus),
        deadline_s=deadline_s,
        wedge="p2p" if topic == "p2p" else "",
    )


def plan(*rounds: tuple[Child, ...], seconds: float = 60.0) -> Schedule:
    return Schedule(level="normal", rounds=rounds, seconds=seconds, expected_s=1.0)


ALL = plan(
    (
        child(1, "gemm", "gemm:measure", 0, dtype="bf16", n=256, seconds=0.1),
        child(2, "gemm", "gemm:measure", 1, dtype="fp32", n=256, seconds=0.1),
    ),
    (child(3, "hbm", "copies:inside", 0, size_bytes=4 * MIB, seconds=0.05),),
    (child(4, "host copies", "copies:with_host", 0, size_bytes=MIB, seconds=0.05, directions=["h2d", "d2h"]),),
    (child(5, "fingerprint", "fingerprint:measure", 0, n=256, rounds=2),),
    (child(6, "fill", "fill:measure", 0, block_bytes=2 * MIB, limit_bytes=8 * MIB),),
    (child(7, "p2p", "p2p:pair", 0, 1, size_bytes=MIB, seconds=0.05),),
)


def test_every_topic_is_measured_verified_and_read(workshop: Workshop):
    found = measure(workshop.session(), ALL)
    assert found.lost == ()
    assert {(row.gpu, row.dtype, row.verified) for row in found.gemms} == {(0, "bf16", True), (1, "fp32", True)}
    assert [row.kind for row in found.bandwidths] == ["hbm", "h2d", "d2h"]
    assert all(row.verified and row.bytes_per_s > 0 for row in found.bandwidths)
    assert found.fingerprints[0].exact == found.fingerprints[0].expected
    assert found.fills[0].allocatable_bytes == 8 * MIB
    assert [(row.source, row.target, row.verified, row.direct) for row in found.p2p] == [
        (0, 1, True, False),
        (1, 0, True, False),
    ]
    assert found.torch
    assert found.interpreter


def test_one_that_hangs_is_lost_and_no_pair_is_begun_after_it(workshop: Workshop):
    """The deadline is too short for anything, as it is for a copy that never ends."""
    stuck = child(1, "p2p", "p2p:pair", 0, 1, deadline_s=0.2, size_bytes=MIB, seconds=60)
    after = child(2, "p2p", "p2p:pair", 0, 2, size_bytes=MIB, seconds=0.05)
    hbm = child(3, "hbm", "copies:inside", 0, size_bytes=MIB, seconds=0.05)
    found = measure(workshop.session(), plan((stuck,), (after,), (hbm,)))
    lost = {one.gpus: one for one in found.lost}
    assert (lost[0, 1].how, lost[0, 2].how) == ("killed", "skipped")
    assert "no end within 0.2 s" in lost[0, 2].why
    assert found.bandwidths[0].verified


def test_an_agent_that_dies_is_an_error_of_its_node(workshop: Workshop):
    session = workshop.session()
    session.abort()
    with pytest.raises(NodeError):
        measure(session, ALL)
