"""Which smallest change makes a plan fit that does not, or not for sure?

Changes are tried, not guessed: the first that comes out as FITS is told, with what it frees. A parameter stands as
``{name=value}``: the engine's file knows its flag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from diag.planner.candidates import why_impossible
from diag.planner.case import Case
from diag.planner.deployment import Deployment
from diag.planner.memory.guessing import why_undivided
from diag.planner.model.requantized import requantized
from diag.planner.running import kv_support, running
from diag.planner.search import best_of
from diag.planner.trial import RANK, Trial, Way, attempt
from diag.planner.unknown import NotKnown
from diag.units import size

FEWER_SEQS = (1024, 512, 256, 128, 64, 32, 16, 8, 1)
SHORTER = (131072, 65536, 32768, 16384, 8192, 4096, 2048, 1024)
MOST_GPUS = 64
OF_A_NODE = 8
"""GPUs as nodes usually have."""
NOISE = 0.02
"""Of a GPU's memory: what idle ones differ by."""

Told = tuple[Trial, str]


def lever(case: Case, best: Trial) -> str | None:
    """None: it fits for sure. The first change that fits; where none does, the first that is at least risky."""
    if best.verdict == "FITS":
        return None
    tried = list(_changes(case, best))
    for rank in (RANK["FITS"], RANK["RISKY"]):
        told = next((words for trial, words in tried if RANK[trial.verdict] >= rank > RANK[best.verdict]), None)
        if told is not None:
            return told
    return f"more GPUs or GPUs with more memory: {best.outcome.why}"


def _changes(case: Case, best: Trial) -> Iterator[Told]:
    """Small ones first."""
    fewer = (_fewer_requests, _shorter_context, _eager, _smaller_cache)
    for changes in (_freed, _own_share, *fewer, _more_gpus, _quantized):
        yield from _known(changes, case, best)


def _known(changes: Callable[[Case, Trial], Iterator[Told]], case: Case, best: Trial) -> Iterator[Told]:
    try:
        yield from changes(case, best)
    except NotKnown:
        return


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


def _own_share(case: Case, best: Trial) -> Iterator[Told]:
    """Where the user pinned one that is too large or too small."""
    if case.wanted.pinned.gpu_memory_utilization is not None:
        pinned = msgspec.structs.replace(case.wanted.pinned, gpu_memory_utilization=None)
        wanted = msgspec.structs.replace(case.wanted, pinned=pinned)
        trial = attempt(msgspec.structs.replace(case, wanted=wanted), best.way)
        own, set_by_user = trial.outcome.utilization, best.outcome.utilization
        yield trial, f"{{gpu_memory_utilization={own:.2f}}} instead of {set_by_user:g}"


def _fewer_requests(case: Case, best: Trial) -> Iterator[Told]:
    for seqs in FEWER_SEQS:
        if seqs < best.batch.max_num_seqs:
            trial = attempt(case, msgspec.structs.replace(best.way, max_num_seqs=seqs))
            yield trial, f"{{max_num_seqs={seqs}}}{_freed_by(best, trial)}"


def _freed_by(best: Trial, trial: Trial) -> str:
    before, after = best.outcome.memory.activation_bytes.high or 0, trial.outcome.memory.activation_bytes.high or 0
    return f" frees {size(before - after)}" if before > after else ""


def _shorter_context(case: Case, best: Trial) -> Iterator[Told]:
    for length in SHORTER:
        if length < best.way.max_model_len:
            yield _changed(case, best.way, max_model_len=length), f"{{max_model_len={length}}}: a shorter context"


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


def _changed(case: Case, way: Way, **changes: object) -> Trial:
    return attempt(case, msgspec.structs.replace(way, **changes))
