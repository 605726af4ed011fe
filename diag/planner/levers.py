"""Which smallest change makes a plan fit that does not, or not for sure?

Changes are tried, not guessed: the first that comes out as FITS is told, with what it frees. A parameter stands as
``{name=value}``: the engine's file knows its flag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec

from diag.planner.candidates import why_impossible
from diag.planner.case import Case
from diag.planner.deployment import Deployment
from diag.planner.memory.guessing import why_undivided
from diag.planner.model.requantized import requantized
from diag.planner.nudges import nudges, own_share
from diag.planner.running import kv_support, running
from diag.planner.search import best_of
from diag.planner.trial import RANK, Trial, Way, attempt
from diag.planner.unknown import NotKnown
from diag.units import size

MOST_GPUS = 64
OF_A_NODE = 8
"""GPUs as nodes usually have."""
NOISE = 0.02
"""Of a GPU's memory: what idle ones differ by."""

Told = tuple[Trial, str]
Change = Callable[[Case, Trial], Iterator[Told]]


def lever(case: Case, best: Trial) -> str | None:
    """None: it fits for sure. The smallest change that fits; where none does, the smallest that is at least risky."""
    if best.verdict == "FITS":
        return None
    fits, risky = RANK["FITS"], RANK["RISKY"]
    told = _first(case, best, fits, _cheap(fits))
    if told is None and (told := _first(case, best, fits, DEAR)) is not None and best.rank < risky:
        share = _first(case, best, risky, (partial(_share, rank=risky),))
        told = told if share is None else f"{share}; for sure {told}"
    if told is None and best.rank < risky:
        told = _first(case, best, risky, (*_cheap(risky), *DEAR))
    return told or f"more GPUs or GPUs with more memory: {best.outcome.why}"


def _cheap(rank: int) -> tuple[Change, ...]:
    """Small ones first."""
    return _freed, partial(_nudged, rank=rank), _eager, _smaller_cache


def _first(case: Case, best: Trial, rank: int, changes: Iterable[Change]) -> str | None:
    """That reaches ``rank``."""
    for change in changes:
        for trial, words in _known(change, case, best):
            if trial.rank >= rank:
                return words if trial.verdict == "FITS" else f"{words}: {trial.verdict} then"
    return None


def _known(change: Change, case: Case, best: Trial) -> Iterator[Told]:
    try:
        yield from change(case, best)
    except NotKnown:
        return


def _nudged(case: Case, best: Trial, rank: int) -> Iterator[Told]:
    for one in sorted(nudges(case, best, rank), key=lambda one: one.size):
        yield one.trial, one.words


def _share(case: Case, best: Trial, rank: int) -> Iterator[Told]:
    found = own_share(case, best, rank)
    if found is not None:
        yield found.trial, found.words


def _freed(case: Case, best: Trial) -> Iterator[Told]:
    """What others hold: where somebody is seen, where other GPUs have more, or where it is more than the weights."""
    tight, devices = case.found.tightest, case.found.devices
    most = max(one.free_bytes / one.total_bytes for one in devices)
    dominates = case.device.held_bytes > best.weights_bytes
    idle = case.device.seen_bytes / case.device.total_bytes if dominates else most
    taken = [one for one in devices if one.holders or idle - one.free_bytes / one.total_bytes > NOISE]
    if taken:
        device = msgspec.structs.replace(case.device, free_bytes=case.device.seen_bytes)
        trial = attempt(msgspec.structs.replace(case, device=device), best.way)
        others = f" and {len(taken) - 1} more GPUs" if len(taken) > 1 else ""
        yield trial, f"free {tight.where}{others}: {tight.holders or 'see who holds its memory'}"


def _eager(case: Case, best: Trial) -> Iterator[Told]:
    graphs = size(best.outcome.memory.cuda_graph_bytes.high or 0)
    trial = _changed(case, best.way, enforce_eager=True)
    yield trial, f"{{enforce_eager=true}} saves up to {graphs} of CUDA graphs, at the price of slower decoding"


def _smaller_cache(case: Case, best: Trial) -> Iterator[Told]:
    support = kv_support("fp8", case.rules, case.device)
    if best.way.kv_cache_dtype == "auto" and support is not None and support.kind == "native":
        yield _changed(case, best.way, kv_cache_dtype="fp8"), "{kv_cache_dtype=fp8} halves the KV cache"


def _more_gpus(case: Case, best: Trial) -> Iterator[Told]:
    """More of the same: wider first, as nodes usually are, then deeper; what the user settled stays."""
    wide = max(OF_A_NODE, case.cluster.per_node)
    for deployment in _larger(best.deployment, wide, case):
        here = max(case.cluster.per_node, deployment.gpus)
        larger = msgspec.structs.replace(case, cluster=msgspec.structs.replace(case.cluster, per_node=here))
        why = why_impossible(deployment, case.architecture, case.rules, larger.cluster)
        if (why or why_undivided(case.draft, deployment, case.rules)) is None:
            trial = attempt(larger, msgspec.structs.replace(best.way, deployment=deployment))
            yield trial, f"{deployment.gpus} such GPUs a replica ({deployment.told})"


def _larger(least: Deployment, wide: int, case: Case) -> Iterator[Deployment]:
    pinned, found = case.wanted.pinned, msgspec.structs.replace(least, nodes=1)
    while found.gpus < MOST_GPUS:
        if pinned.tensor_parallel_size is None and found.tp * found.dp * 2 <= wide and not case.rules.by_layers:
            found = msgspec.structs.replace(found, tp=found.tp * 2)
        elif pinned.pipeline_parallel_size is None:
            found = msgspec.structs.replace(found, pp=found.pp * 2)
        else:
            return
        yield found


def _quantized(case: Case, best: Trial) -> Iterator[Told]:
    for name, words in (("fp8", "8 bit"), ("int8", "8 bit"), ("awq", "4 bit")):
        try:
            run = running(requantized(case.architecture, name), case.rules, case.device, "auto")
        except NotKnown:
            continue
        if run.refused is None and run.unknown is None:
            changed = msgspec.structs.replace(case, architecture=run.architecture)
            trial = best_of(changed, best.deployment)
            yield trial, f"a checkpoint in {words} ({name}): {size(trial.weights_bytes)} of weights a GPU"


DEAR: tuple[Change, ...] = (_more_gpus, _quantized)


def _changed(case: Case, way: Way, **changes: object) -> Trial:
    return attempt(case, msgspec.structs.replace(way, **changes))
