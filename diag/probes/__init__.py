"""What to ask: one module per topic, which verbs (data) and how to read the answer (a pure function).

A new topic is a module with a PROBE, and a line in PROBES.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from diag.facts.record import Missing, NotMeasured
from diag.probes import (
    between,
    containers,
    devices,
    filesystems,
    gpu_systems,
    gpus,
    hcas,
    hostnames,
    interfaces,
    limits,
    memories,
    models,
    ports,
    processes,
    rdma_systems,
    readspeed,
    routes,
    settings,
    software,
    systems,
    torch_views,
    xids,
)
from diag.probes.probe import Answers, Probe, Wishes
from diag.probes.verbs import Answer, Request

PROBES: tuple[Probe, ...] = (
    systems.PROBE,
    memories.PROBE,
    limits.PROBE,
    containers.PROBE,
    filesystems.PROBE,
    hostnames.PROBE,
    interfaces.PROBE,
    routes.PROBE,
    ports.LISTENERS,
    ports.EPHEMERAL,
    devices.PROBE,
    gpus.PROBE,
    between.PROBE,
    gpu_systems.PROBE,
    hcas.PROBE,
    rdma_systems.PROBE,
    xids.PROBE,
    torch_views.PROBE,
    processes.PROBE,
    software.PROBE,
    settings.PROBE,
    models.PROBE,
)
TOPICS = (*(probe.topic for probe in PROBES), "clock", "read_speed", "speed", "increases")
"""Fields of ``facts.Node`` that a measurement fills; the last four are not asked for in the facts' frame."""

BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a reader raises that meets what its author did not foresee."""
FAULT = "a fault of diag, not of the node: its reader"
SHOWN = 80

RAW_AT_MOST = 65536
"""Evidence of one topic on one node; what is longer is cut, its full length kept."""
RAW_OF_A_NODE_AT_MOST = 200_000
"""Of all topics together: the last ones are cut, to nothing if need be."""

read_speed_request = readspeed.request
read_speed = readspeed.read
fold_resolutions = hostnames.fold


def requests_for(*, model_path: str | None, names: Sequence[str] = ()) -> tuple[Request, ...]:
    """Everything the facts stage asks of a node, in one frame; ``names`` are those it shall resolve."""
    wishes = Wishes(model_path=model_path, names=tuple(names))
    asked = {request.name: request for probe in PROBES for request in probe.requests(wishes)}
    return (*asked.values(), hostnames.names_request(names)) if names else tuple(asked.values())


def facts_from(answers: Sequence[Answer]) -> dict[str, Any]:
    """Topic -> its record, or Missing: fields for ``msgspec.structs.replace(node, **…)``."""
    named = {answer.name: answer for answer in answers}
    return {probe.topic: _read(probe, named) for probe in PROBES}


def _read(probe: Probe, answers: Answers) -> Any:
    try:
        return probe.read(answers)
    except NotMeasured as why:
        return Missing(str(why))
    except BROKEN as error:
        return Missing(f"{FAULT} of {probe.topic} broke on what the node answered: {_where(error)}")


def _where(error: Exception) -> str:
    """``KeyError: 'used' (metax.py:110)``, the innermost line; one cell of a tool must not cost the whole Snapshot."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:SHOWN]} ({frame.filename.rpartition('/')[2]}:{frame.lineno})"


def evidence(answers: Sequence[Answer]) -> Iterator[tuple[str, bytes, int]]:
    """(topic, raw JSON of its answers, length before any cut), for each topic that was answered."""
    left = RAW_OF_A_NODE_AT_MOST
    for probe in PROBES:
        asked = [request.name for request in probe.requests(Wishes(model_path=""))]
        raw = {answer.name: answer.value for answer in answers if answer.why is None and _is_one(answer.name, asked)}
        if raw:
            encoded = msgspec.json.encode(raw, order="sorted")
            kept = encoded[: min(RAW_AT_MOST, left)]
            left -= len(kept)
            yield probe.topic, kept, len(encoded)


def _is_one(name: str, asked: Sequence[str]) -> bool:
    """Names that end in the model path are asked for with an empty one: a blank at the end."""
    return any(name == one or (one.endswith(" ") and name.startswith(one)) for one in asked)
