"""Which part of NCCL's ways is at fault when an all-reduce in a node is wrong, hangs, or is slow? Decided here; pure.

Ways are switched off one after the other, each on top of those before, down to plain sockets. The first step that makes
the result right, or faster, names the cause; where none does, a step that changes nothing names a way that was not
in use although it should have been.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from diag.facts.expected import all_reduce
from diag.facts.node import Node
from diag.facts.rates import models
from diag.facts.record import is_known
from diag.facts.speed import NcclLog, NodeCollectives, Rung

BETTER = 1.25
"""So many times the busbw of the step before is no chance."""
SAME = 0.1
LARGE_BYTES = 256 << 20


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """``off``: what it switches off, in words; ``sets``: on top of all steps before."""

    name: str
    off: str
    sets: Mapping[str, str]


DEFAULT = Step(name="default", off="", sets={})
STEPS: tuple[Step, ...] = (
    DEFAULT,
    Step(name="NVLS off", off="NVLS (multicast in NVSwitch)", sets={"NCCL_NVLS_ENABLE": "0"}),
    Step(name="P2P off", off="peer access between GPUs (P2P)", sets={"NCCL_P2P_DISABLE": "1"}),
    Step(name="SHM off", off="shared host memory (SHM)", sets={"NCCL_SHM_DISABLE": "1"}),
    Step(name="one NIC", off="all HCAs but one", sets={}),
    Step(name="socket", off="RDMA", sets={"NCCL_NET": "Socket", "NCCL_IB_DISABLE": "1"}),
)


def steps(log: NcclLog | None) -> tuple[Step, ...]:
    """Those that switch something off here; what the log does not show stays in. None: there is no log."""
    hcas = log.hcas if log else ()
    chosen = []
    for step in STEPS:
        if step.name == "NVLS off" and log is not None and log.nvls is False:
            continue
        if step.name == "one NIC":
            if len(hcas) > 1:
                first = hcas[0].partition("/")[0]
                chosen.append(msgspec.structs.replace(step, sets={"NCCL_IB_HCA": f"={first}"}))
        elif step.name != "socket" or hcas or log is None:
            chosen.append(step)
    return tuple(chosen)


def variables(chosen: Sequence[Step], place: int) -> dict[str, str]:
    """Of that step and all before."""
    return {name: value for step in chosen[: place + 1] for name, value in step.sets.items()}


def why_degraded(node: Node, together: NodeCollectives, behind: float | None) -> str:
    """What one of the referees says against the node's collectives; empty: nothing. ``behind``: its share, by peers."""
    wrong = [row for row in together.times if not row.verified]
    if wrong:
        return f"wrong sums in {wrong[0].collective}"
    if not together.times:
        return together.summary or "nothing came through"
    if behind is not None:
        return f"{behind:.1%} below its peers"
    largest, names = together.largest("all_reduce"), set(models(node).values())
    if largest is None or largest.size_bytes < LARGE_BYTES or len(names) != 1:
        return ""
    nvls = together.log.nvls if is_known(together, "log") else None
    wanted = all_reduce(names.pop(), together.world_size, nvls=nvls)
    low = wanted is not None and largest.busbw_bytes_per_s < wanted.least
    return "below what its model reaches" if low else ""


def says(rungs: Sequence[Rung]) -> str:
    """The cause, in one line; empty while the rungs do not tell."""
    for before, after in pairwise(rungs):
        if _is_bad(before) and not _is_bad(after):
            how = "comes through" if before.busbw_bytes_per_s is None else "is right"
            return f"it {how} without {_off(after)}: that is at fault"
    if rungs and all(map(_is_bad, rungs)):
        return "no step helps, not even plain sockets: a GPU, its driver or the library itself"
    sound = [rung for rung in rungs if not _is_bad(rung)]
    for before, after in pairwise(sound):
        if _rate(after) >= BETTER * _rate(before):
            return f"it is {_rate(after) / _rate(before):.1f} times as fast without {_off(after)}: that is at fault"
    for before, after in pairwise(sound):
        if abs(_rate(after) / _rate(before) - 1) < SAME:
            return f"it is the same without {_off(after)}: that was not in use"
    return "every step makes it slower, as it should: the links or GPUs themselves are slow" if len(sound) > 1 else ""


def _is_bad(rung: Rung) -> bool:
    return rung.busbw_bytes_per_s is None or not rung.verified


def _rate(rung: Rung) -> float:
    return rung.busbw_bytes_per_s or 0.0


def _off(rung: Rung) -> str:
    return next((step.off for step in STEPS if step.name == rung.step), rung.step)


def is_decided(rungs: Sequence[Rung]) -> bool:
    """Whether the last step already named the cause, so that no more load is made."""
    return "at fault" in says(rungs)
