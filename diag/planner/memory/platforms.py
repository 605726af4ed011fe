"""What is different of a device for which an engine's figures were not taken?

They were taken on NVIDIA's and AMD's GPUs with memory of their own. Where programs share the host's memory, what the
system and the network hold there counts as taken by the engine. Elsewhere a plugin brings its own runner: its steps
are others, and its spreads wider.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from diag.hardware import joined_by
from diag.planner.memory.attempt import Device
from diag.planner.memory.terms import Term, Terms
from diag.planner.rules import EngineRules, Spread
from diag.units import GIB

UNIFIED = ("gb10", "orin", "thor")
"""Parts of the names of devices that share the host's memory."""
TAKEN_FROM = ("nvidia", "amd")

SHARED_NON_TORCH = Spread(
    low=0.3 * GIB,
    mid=3 * GIB,
    high=6 * GIB,
    source="memory shared with the host: 5.7 GiB in a log of two GB10, less on one",
)
SHARED_GRAPHS = Spread(
    low=0, mid=1.5 * GIB, high=5.2 * GIB, source="memory shared with the host: 0.05 and 5.1 GiB in logs of two GB10"
)
OTHER_STEPS = (0.4, 1.4)
"""Of the activations: 0.4 and 1.3 in logs of two Ascend devices."""
OTHER_NON_TORCH_BYTES = GIB // 2
"""At most as much more: 0.42 GiB in a log of an Intel GPU, 0.03 in one of Ascend."""


def elsewhere(terms: Terms, device: Device, rules: EngineRules, joined: Mapping[str, Spread]) -> Terms:
    """The terms as they are on this device. ``joined``: of several ranks' libraries, by what joins their GPUs."""
    if (libraries := joined.get(joined_by(device.name))) is not None:
        terms = msgspec.structs.replace(terms, non_torch=Term.of(libraries))
    if device.vendor == "nvidia" and any(name in device.name.lower() for name in UNIFIED):
        return _shared(terms)
    if device.vendor == "amd":
        return msgspec.structs.replace(terms, graphs=_times(terms.graphs, rules.hip_graphs))
    return terms if device.vendor in TAKEN_FROM else _foreign(terms, device.vendor)


def _times(term: Term, factors: Spread) -> Term:
    return Term(
        low=int(term.low * factors.low), mid=int(term.mid * factors.mid), high=int(term.high * factors.high),
        source=f"{factors.source}; {term.source}",
    )  # fmt: skip


def _shared(terms: Terms) -> Terms:
    graphs = _wider(terms.graphs, SHARED_GRAPHS) if terms.graphs.high else terms.graphs
    return msgspec.structs.replace(terms, graphs=graphs, non_torch=_wider(terms.non_torch, SHARED_NON_TORCH))


def _wider(term: Term, spread: Spread) -> Term:
    return Term(
        low=min(term.low, int(spread.low)), mid=int(spread.mid), high=max(term.high, int(spread.high)),
        source=spread.source,
    )  # fmt: skip


def _foreign(terms: Terms, vendor: str) -> Terms:
    less, more = OTHER_STEPS
    told = f"on {vendor} an engine's plugin has steps of its own: {less} to {more} times"
    steps = {
        name: msgspec.structs.replace(
            term, low=int(term.low * less), high=int(term.high * more), source=f"{told}; {term.source}"
        )
        for name, term in (("sampler", terms.sampler), ("forward", terms.forward), ("vision", terms.vision))
    }
    libraries = terms.non_torch
    wider = msgspec.structs.replace(libraries, low=0, high=libraries.high + OTHER_NON_TORCH_BYTES)
    return msgspec.structs.replace(terms, **steps, non_torch=wider, graphs=_from_none(terms.graphs),
                                   kept=_from_none(terms.kept))  # fmt: skip


def _from_none(term: Term) -> Term:
    """Of another kind, or not there: any number of bytes up to the same."""
    return msgspec.structs.replace(term, low=0)
