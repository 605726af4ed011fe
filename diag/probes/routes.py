"""Where does a node send packets? Routes of the main table; policy routing is not looked at."""

from __future__ import annotations

from diag.facts.network import Route
from diag.probes.probe import Answers, Probe, always, told
from diag.probes.verbs import Ask, Request


def read(answers: Answers) -> tuple[Route, ...]:
    return told(answers, "routes", tuple[Route, ...])


PROBE = Probe(topic="routes", requests=always(Request(name="routes", verb=Ask("routes:routes"))), read=read)
