"""Who knocked, and what was closed to whom? Agents here answer by the book."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diag.data_interface import choose
from diag.probes.verbs import Answer, Request
from diag.remote.port_matrix import measure
from tests.checks.machines import cpu_node

PORTS = (8000, 29500)


class Agent:
    """``knocked``: what it says of its knocking; None: nothing."""

    def __init__(self, knocked: dict[str, Any] | None) -> None:
        self.knocked = knocked

    def ask(self, requests: Sequence[Request], _deadline_s: float) -> tuple[Answer, ...]:
        (request,) = requests
        if request.name == "free":
            return (Answer(name="free", value=list(PORTS)),)
        if self.knocked is None:
            return (Answer(name="knock", why="did not answer within 7.5 s"),)
        return (Answer(name="knock", value=self.knocked),)


def test_who_knocked_is_kept_and_whose_knocking_is_not_known_is_not_among_them():
    nodes = [cpu_node(number) for number in (1, 2, 3)]
    places = {place.node: place for place in choose(nodes).places}
    closed = {"tried": 4, "untried": 0, "failed": [[8000, "ETIMEDOUT", ["node2", "node3"]]]}
    well = {"tried": 4, "untried": 0, "failed": []}
    sessions: Any = {"node1": Agent(closed), "node2": Agent(well), "node3": Agent(None)}
    matrix, lost = measure(sessions, places, PORTS, 1.0)
    assert (matrix.nodes, matrix.tried, lost) == (("node1", "node2"), 8, {})
    assert dict(matrix.not_tried)["node3"] == "did not answer within 7.5 s"
    assert [(row.sources, row.targets, row.ports) for row in matrix.closed] == [(("node1",), ("node2",), (8000,))]
