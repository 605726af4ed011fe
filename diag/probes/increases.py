"""Which counters of NICs and HCAs rose between two readings: what means errors or congestion, and bytes?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from diag.facts.counters import BYTES_OF_HCA, BYTES_OF_NIC, meaning_of
from diag.facts.rdma import Increase
from diag.probes.probe import Answers, told
from diag.probes.verbs import Ask, Request

NAME = "nic counters"


class Reading(msgspec.Struct, frozen=True):
    """Interface -> counter -> value, ``mlx5_0/1`` -> counter -> value, and when, by the node's own clock."""

    nics: dict[str, dict[str, int]]
    hcas: dict[str, dict[str, int]]
    at_s: float


def request(interfaces: Sequence[str] | None = None) -> Request:
    """``interfaces``: these only; None: all of the node that are not a container's. HCAs always all."""
    arguments = {} if interfaces is None else {"interfaces": list(interfaces)}
    return Request(name=NAME, verb=Ask("nic_counters:read", arguments))


def read(answers: Answers) -> Reading:
    """Raises NotMeasured."""
    return told(answers, NAME, Reading)


def between(before: Reading, after: Reading, during: str) -> tuple[Increase, ...]:
    """What was not counted before, or began anew (the driver was loaded again), is no increase."""
    return (*_risen(before.hcas, after.hcas, during), *_risen(before.nics, after.nics, during))


def carried(before: Reading, after: Reading) -> dict[str, float]:
    """Interface, or HCA and port -> bytes per second, of both directions the busier one.

    What counts no bytes is not in it, nor what began to count anew meanwhile.
    """
    passed_s = max(1e-3, after.at_s - before.at_s)
    counted = [
        *((name, before.nics.get(name, {}), last, BYTES_OF_NIC) for name, last in after.nics.items()),
        *((name, before.hcas.get(name, {}), last, BYTES_OF_HCA) for name, last in after.hcas.items()),
    ]
    found = {}
    for name, first, last, each_bytes in counted:
        rises = [(last[way] - first[way]) * each for way, each in each_bytes.items() if way in first and way in last]
        if rises and min(rises) >= 0:
            found[name] = max(rises) / passed_s
    return found


def _risen(
    before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]], during: str
) -> Iterator[Increase]:
    for place, counted in after.items():
        device, _, port = place.partition("/")
        for name, value in counted.items():
            by = value - before.get(place, {}).get(name, value)
            if by > 0 and meaning_of(name) is not None:
                yield Increase(device=device, port=int(port) if port else None, counter=name, by=by, during=during)
