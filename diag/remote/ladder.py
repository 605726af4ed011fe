"""Which part of NCCL's ways is at fault when an all-reduce in a node is wrong, hangs, or is slow? Decided here; pure.

It begins as the engine runs it, then without the variables that the engine sets. Then, with them again, ways are
switched off one after the other, each on top of those before, down to plain sockets. The first step that makes the
result right, or faster, names the cause; where none does, a step that changes nothing names a way that was not in use
although it should have been. A step that ended before it could tell counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from diag.facts.node import Node
from diag.facts.rates import published
from diag.facts.record import NotMeasured, is_known
from diag.facts.speed import NO_TIME, NcclLog, NodeCollectives, Rung

BETTER = 1.25
"""So many times the busbw of the step before is no chance."""
SAME = 0.1
LARGE_BYTES = 256 << 20


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """``off``: what it switches off, in words; ``sets``: on top of all steps before."""

    name: str
    off: str
    sets: Mapping[str, str]


VARIABLES_OFF = "variables off"
STEPS: tuple[Step, ...] = (
    Step(name="default", off="", sets={}),
    Step(name=VARIABLES_OFF, off="the engine's variables", sets={}),
    Step(name="NVLS off", off="NVLS (multicast in NVSwitch)", sets={"NCCL_NVLS_ENABLE": "0"}),
    Step(name="P2P off", off="peer access between GPUs (P2P)", sets={"NCCL_P2P_DISABLE": "1"}),
    Step(name="SHM off", off="shared host memory (SHM)", sets={"NCCL_SHM_DISABLE": "1"}),
    Step(name="one NIC", off="all HCAs but one", sets={}),
    Step(name="socket", off="RDMA", sets={"NCCL_NET": "Socket", "NCCL_IB_DISABLE": "1"}),
)


def steps(log: NcclLog | None, engine: Mapping[str, str] | None = None) -> tuple[Step, ...]:
    """Those that switch something off here; what the log does not show stays in. None: there is no log.

    ``engine``: its variables; what they switch off by themselves is no step.
    """
    hcas = log.hcas if log else ()
    chosen = []
    for step in STEPS:
        if step.name == "NVLS off" and log is not None and log.nvls is False:
            continue
        if step.name == "one NIC":
            if len(hcas) > 1:
                first = hcas[0].partition("/")[0]
                chosen.append(msgspec.structs.replace(step, sets={"NCCL_IB_HCA": f"={first}"}))
        elif step.name == VARIABLES_OFF:
            chosen += [step] if engine else []
        elif step.name != "socket" or hcas or log is None:
            chosen.append(step)
    return tuple(step for step in chosen if not step.sets or not step.sets.items() <= (engine or {}).items())


def variables(chosen: Sequence[Step], place: int, engine: Mapping[str, str] | None = None) -> dict[str, str]:
    """The engine's, and of that step and all before; one step is without any."""
    if chosen[place].name == VARIABLES_OFF:
        return {}
    return {**(engine or {}), **{name: value for step in chosen[: place + 1] for name, value in step.sets.items()}}


def why_degraded(node: Node, together: NodeCollectives, behind: float | None) -> str:
    """What one of the referees says against the node's collectives; empty: nothing. ``behind``: its share, by peers."""
    in_time = together.times or not any(why.startswith(NO_TIME) for _, why in together.left_out)
    if together.stopped or not in_time:
        return ""
    if not together.times:
        return together.summary or "nothing came through"
    wrong = [row for row in together.times if not row.verified]
    if wrong:
        return f"wrong sums in {wrong[0].collective}"
    if behind is not None:
        return f"{behind:.1%} below its peers"
    return "below what its model reaches" if _is_low(node, together) else ""


def _is_low(node: Node, together: NodeCollectives) -> bool:
    largest = together.largest("all_reduce")
    if largest is None or largest.size_bytes < LARGE_BYTES:
        return False
    try:
        wanted = published(node, together, nvls=together.log.nvls if is_known(together, "log") else None)
    except NotMeasured:
        return False
    return wanted is not None and largest.busbw_bytes_per_s < wanted.least


def has_failed(together: NodeCollectives) -> bool:
    """It was wrong, or did not come through; else it is slow."""
    return not together.times or not all(row.verified for row in together.times)


def says(rungs: Sequence[Rung], *, failed: bool = False, whole: bool = True) -> str:
    """The cause, in one line; empty while the rungs do not tell.

    ``failed``: the ladder is climbed for that, not for slowness; ``whole``: no step is left to be tried.
    """
    known = [rung for rung in rungs if rung.known]
    if failed and known and known[0] is rungs[0] and not _is_bad(known[0]):
        return (
            "an all-reduce comes through and is right this time: it does not fail each time, or in this kind and size"
        )
    told = _says_of_variables(known)
    ways = [rung for rung in rungs if rung.step != VARIABLES_OFF]
    told = told or _says_of_failures(ways, whole)
    return told if told or failed else _says_of_rates([way for way in ways if way.known], whole)


def _says_of_variables(known: Sequence[Rung]) -> str:
    """The step without them, against the first."""
    without = next((rung for rung in known if rung.step == VARIABLES_OFF), None)
    if without is None or known[0] is without or _is_bad(without):
        return ""
    named = " ".join(f"{name}={value}" for name, value in known[0].variables)
    if _is_bad(known[0]):
        return f"it {_how(known[0])} without the engine's variables ({named}): they are at fault"
    times = _rate(without) / _rate(known[0])
    faster = f"it is {times:.1f} times as fast without the engine's variables ({named}): they are at fault"
    return faster if times >= BETTER else ""


def _says_of_failures(ways: Sequence[Rung], whole: bool) -> str:
    """A step after which it came right; with it those before it that could not tell."""
    known = [rung for rung in ways if rung.known]
    for before, after in pairwise(known):
        if _is_bad(before) and not _is_bad(after):
            names = [_off(rung) for rung in ways[ways.index(before) + 1 : ways.index(after) + 1]]
            what = f"{names[0]}: that is" if len(names) == 1 else f"{' and '.join(names)}: one of them is"
            return f"it {_how(before)} without {what} at fault"
    if whole and known and known[-1] is ways[-1] and all(map(_is_bad, known)):
        return "no step helps, not even plain sockets: a GPU, its driver or the library itself"
    return ""


def _says_of_rates(known: Sequence[Rung], whole: bool) -> str:
    sound = [rung for rung in known if not _is_bad(rung)]
    for before, after in pairwise(sound):
        if _rate(after) >= BETTER * _rate(before):
            return f"it is {_rate(after) / _rate(before):.1f} times as fast without {_off(after)}: that is at fault"
    for before, after in pairwise(sound):
        if abs(_rate(after) / _rate(before) - 1) < SAME:
            return f"it is the same without {_off(after)}: that was not in use"
    slower = "every step makes it slower, as it should: the links or GPUs themselves are slow"
    return slower if whole and len(sound) > 1 else ""


def _how(before: Rung) -> str:
    return "comes through" if before.busbw_bytes_per_s is None else "is right"


def _is_bad(rung: Rung) -> bool:
    return rung.busbw_bytes_per_s is None or not rung.verified


def _rate(rung: Rung) -> float:
    return rung.busbw_bytes_per_s or 0.0


def _off(rung: Rung) -> str:
    return next((step.off for step in STEPS if step.name == rung.step), rung.step)


def is_decided(rungs: Sequence[Rung], *, failed: bool = False) -> bool:
    """Whether no more load is made: the last step already named the cause, or what failed does not fail again."""
    told = says(rungs, failed=failed, whole=False)
    return "at fault" in told or "this time" in told
