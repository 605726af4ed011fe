"""What does a pair that could not be measured say, and whom does it blame? The ends here say what a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from diag.data_interface import Place
from diag.facts.links import Flow
from diag.facts.record import is_known, peek
from diag.probes.verbs import Answer, Request
from diag.remote.pairs import Spot, measure

WELL = {"rate": 1e8, "windows": [1e8], "latency_s": 1e-4, "path_mtu": 1500, "retransmits": 0}


class End:
    """Says the same whenever it is asked for a pair; a text: why it answers nothing."""

    def __init__(self, said: dict[str, Any] | str) -> None:
        self.said = said

    def ask(self, requests: Sequence[Request], _deadline_s: float) -> tuple[Answer, ...]:
        why, value = (self.said, None) if isinstance(self.said, str) else (None, self.said)
        return tuple(Answer(name=request.name, value=value, why=why) for request in requests)


def failed(step: str, error: str) -> dict[str, Any]:
    return {"failed": {"step": step, "error": error, "why": f"OSError: {error}"}}


def flows(dialler: dict[str, Any] | str, listener: dict[str, Any] | str) -> tuple[Flow, ...]:
    spots = {
        name: Spot(place=Place(node=name, interface="eth0", address=address), port=20000, mtu_bytes=1500, streams=2)
        for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2"))
    }
    sessions: Any = {"a": End(dialler), "b": End(listener)}
    return measure(sessions, spots, [("a", "b")], 1, 0.1).flows


def test_a_pair_that_carries_data_has_both_directions():
    assert [(flow.source, flow.target, flow.bytes_per_s) for flow in flows(WELL, WELL)] == [
        ("a", "b", 1e8),
        ("b", "a", 1e8),
    ]


@pytest.mark.parametrize(
    ("dialler", "listener"),
    [
        (failed("receive", "ECONNRESET"), failed("accept", "EADDRINUSE")),
        (failed("connect", "ECONNREFUSED"), failed("accept", "EMFILE")),
        (failed("connect", "ECONNREFUSED"), "no process can be started: Resource temporarily unavailable"),
        (failed("connect", "EADDRNOTAVAIL"), failed("accept", "ETIMEDOUT")),
        ("no answer within 10.6 s", failed("accept", "ETIMEDOUT")),
    ],
)
def test_what_a_node_could_not_even_try_is_no_fault_of_the_link(dialler, listener):
    for flow in flows(dialler, listener):
        assert not is_known(flow, "bytes_per_s")
        assert (flow.cause, peek(flow, "bytes_per_s").why[:10]) == ("", "not tried:")


def test_what_does_not_answer_is_a_firewall():
    there, back = flows(failed("connect", "ETIMEDOUT"), failed("connect", "ETIMEDOUT"))
    assert (there.cause, back.cause) == ("firewall_blocks_ports", "firewall_blocks_ports")
    assert peek(there, "bytes_per_s").why == "a cannot connect to b at 10.0.0.2:20000: no answer (ETIMEDOUT)"
