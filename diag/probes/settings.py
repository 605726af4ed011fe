"""Which variables and files steer NCCL, GLOO, CUDA, Ray and the engines on a node?"""

from __future__ import annotations

from diag.facts.software import Setting
from diag.probes.probe import Answers, Probe, always, gap, told
from diag.probes.verbs import Ask, Request


def read(answers: Answers) -> tuple[Setting, ...]:
    rows = told(answers, "settings", tuple[tuple[str, str, str], ...])
    return tuple(Setting(name=name, value=value if name else gap(value), source=source) for name, value, source in rows)


PROBE = Probe(topic="settings", requests=always(Request(name="settings", verb=Ask("settings:settings"))), read=read)
