"""What is the plan for the GPUs that a Snapshot found?"""

from __future__ import annotations

import msgspec

from diag import hardware
from diag.facts.plan import Discarded, EngineName, KvCache, MemorySplit, Parameters, Plan
from diag.facts.snapshot import Snapshot
from diag.planner import accelerators, alternatives, drafting, exclusion, gpu_words, measurements, visible
from diag.planner.backends import backed
from diag.planner.candidates import Cluster, parameters
from diag.planner.case import Case
from diag.planner.domains import domains
from diag.planner.levers import lever
from diag.planner.loading import load_seconds
from diag.planner.memory.attempt import Device
from diag.planner.model.checkpoint import checkpoint
from diag.planner.model.models import Model, read_architecture
from diag.planner.model.requantized import ON_LOADING, requantized
from diag.planner.network.environment import NONE, NetworkEnvironment, environment
from diag.planner.planned import Place, Planned
from diag.planner.rules import EngineRules
from diag.planner.running import Running, running
from diag.planner.search import Found, Refused, search, why_lost
from diag.planner.selection import chosen
from diag.planner.trial import RANK, Trial
from diag.planner.trial import parameters as trial_parameters
from diag.planner.unknown import NotKnown
from diag.planner.wanted import Wanted
from diag.units import gbit_per_s


def plan_gpus(
    snapshot: Snapshot, found: accelerators.Accelerators, model: Model, rules: EngineRules, wanted: Wanted
) -> Planned:
    """Raises NotKnown where the planner does not understand the model, or its files contradict its config."""
    architecture = read_architecture(model)
    if architecture.encoder:
        raise NotKnown(
            f"{architecture.name} is an encoder: it keeps no KV cache that grows", "plan for a model that generates"
        )
    files = checkpoint(model, architecture)
    stored = architecture if wanted.pinned.quantization in ON_LOADING else None
    if wanted.pinned.quantization:
        architecture = requantized(architecture, wanted.pinned.quantization)
    device = _device(found)
    rules = backed(rules, architecture, device, wanted.pinned)
    run = running(architecture, rules, device, wanted.pinned.kv_cache_dtype or "auto", wanted.pinned.dtype)
    guessing = drafting.asked(model, architecture, rules, wanted.pinned, snapshot)
    guessing = drafting.lacking(guessing.draft, files) or guessing
    whole = Case(
        snapshot=snapshot,
        found=found,
        cluster=Cluster(nodes=len(found.nodes), per_node=found.per_node),
        domains=domains(snapshot, found),
        model=model,
        architecture=run.architecture,
        rules=rules,
        files=drafting.loaded(guessing.draft, files),
        device=device,
        measured=measurements.measured(found.nodes),
        wanted=wanted,
        stored=stored,
        draft=drafting.as_run(guessing.draft, run.architecture),
        notes=run.notes,
    )
    refused = _asked_too_much(whole) or _refusal(run.refused, run.lever) or _refusal(guessing.refused, guessing.lever)
    if refused is not None:
        return _refused(whole, refused[0], lever=refused[1])
    every = (_of(whole, selected) for selected in accelerators.selections(found))
    case, result = chosen(every, (_of(whole, one) for one in accelerators.quicker(found, _slow(whole))))
    return _planned(case, run, result)


def _asked_too_much(whole: Case) -> tuple[str, str] | None:
    """What no selection of the GPUs changes: why, and what to do instead."""
    if (too_long := whole.wanted.too_long(whole.architecture.max_len)) is not None:
        return too_long
    if whole.offloaded_bytes and not whole.rules.offloads:
        return f"{whole.rules.engine} keeps no part of the weights in the host's memory", OTHER
    return None


def _refusal(why: str | None, lever: str | None) -> tuple[str, str] | None:
    return None if why is None else (why, lever or OTHER)


def _slow(whole: Case) -> dict[str, str]:
    """Nodes whose links carry far less than the others', with what they do."""
    found = whole.domains.rates
    if found is None:
        return {}
    told = f"{found.method} {{}} at most to any other node, usual {gbit_per_s(found.usual)}"
    return {name: told.format(gbit_per_s(rate)) for name, rate in found.slow_nodes.items()}


def _of(whole: Case, found: accelerators.Accelerators) -> Case:
    """The same for fewer nodes."""
    if found is whole.found:
        return whole
    return msgspec.structs.replace(
        whole,
        found=found,
        cluster=Cluster(nodes=len(found.nodes), per_node=found.per_node),
        domains=domains(whole.snapshot, found),
        device=_device(found),
        measured=measurements.measured(found.nodes),
    )


def _device(found: accelerators.Accelerators) -> Device:
    """A fraction of memory holds for all ranks alike: the smallest GPU's total, the smallest free share of it."""
    tight, small = found.tightest, found.smallest
    visible = hardware.visible_of(small.name, small.total_bytes)
    return Device(
        name=small.name,
        total_bytes=small.total_bytes,
        free_bytes=int(tight.free_bytes / tight.total_bytes * small.total_bytes),
        capability=small.capability or _published(hardware.row_of(small.name)),
        vendor=small.vendor,
        usable_bytes=visible if visible != small.total_bytes else None,
    )


def _published(row: hardware.DeviceRow | None) -> tuple[int, int] | None:
    """Where it was not read: compute capability goes with the name."""
    if row is None or row.compute_capability is None:
        return None
    major, _, minor = row.compute_capability.partition(".")
    return int(major), int(minor)


def _planned(case: Case, run: Running, result: Found) -> Planned:
    if not result.trials:
        return _refused(case, result.refused[0].reason, result.refused)
    best = result.trials[0]
    others = alternatives.alternatives(case, best)
    seconds, speed_source = load_seconds(case.model, case.found.nodes, case.files.total_bytes)
    chosen = trial_parameters(case, best)
    network = _network(case, best)
    plan = Plan(
        verdict=best.verdict,
        reason=gpu_words.reason(case, best),
        lever=lever(case, best),
        notes=(
            *gpu_words.notes(case, best),
            *network.notes,
            *((doubt,) if (doubt := visible.doubt(case.device.vendor, _hidden(case))) else ()),
            *(one.note for one in others if one.note),
            *case.notes,
        ),
        engine=EngineName(name=case.rules.engine, version=case.rules.version),
        parameters=chosen,
        memory=best.outcome.memory,
        kv=best.kv,
        load_seconds=seconds,
        discarded=_discarded(case, best, result, others),
        sources=gpu_words.sources(case, best) | {"load_seconds": speed_source},
        nodes=tuple(node.name for node in case.found.nodes),
    )
    if run.unknown is not None:
        return Planned(plan=_unknown(plan, run.unknown), model=case.model.name)
    if best.verdict == "NO":
        return Planned(plan=plan, model=case.model.name)
    because = gpu_words.because(case, best, chosen, run.dtype_why)
    return Planned(
        plan=plan,
        model=case.model.name,
        place=_place(case, best, network),
        because=because,
        attention_replicas=best.deployment.dp,
    )


def _unknown(plan: Plan, why: str) -> Plan:
    """All figures stay: they are right if the engine runs there."""
    reason = f"not known: {why}; by memory alone {plan.verdict}: {plan.reason}"
    return msgspec.structs.replace(plan, verdict="UNKNOWN", reason=reason, lever="try it on one GPU first")


def _discarded(
    case: Case, best: Trial, result: Found, others: tuple[alternatives.Alternative, ...]
) -> tuple[Discarded, ...]:
    """The best first, then what other formats would give, then what cannot be."""
    lost = (_lost(case, trial, why_lost(case, trial, best, result.enough)) for trial in result.trials[1:])
    changed = (_lost(one.case, one.trial, one.reason) for one in others)
    return (*lost, *changed, *(_impossible(one) for one in result.refused))


def _lost(case: Case, trial: Trial, reason: str) -> Discarded:
    return Discarded(
        parameters=trial_parameters(case, trial),
        reason=reason,
        verdict=trial.verdict,
        memory=trial.outcome.memory,
        kv=trial.kv,
    )


def _impossible(one: Refused) -> Discarded:
    return Discarded(parameters=parameters(one.deployment), reason=one.reason)


OTHER = "another format of the checkpoint, another engine, or other GPUs"


def _refused(case: Case, why: str, refused: tuple[Refused, ...] = (), *, lever: str = OTHER) -> Planned:
    """Nothing to compute: the engine would not take it."""
    plan = Plan(
        verdict="NO",
        reason=f"cannot be: {why}",
        lever=_other_ranks(case) if refused else lever,
        notes=case.notes,
        engine=EngineName(name=case.rules.engine, version=case.rules.version),
        parameters=case.wanted.pinned,
        memory=MemorySplit(total_bytes=case.device.total_bytes),
        kv=KvCache(),
        discarded=tuple(_impossible(one) for one in refused),
        sources={
            "engine.version": case.rules.note or f"rules of {case.rules.engine} {case.rules.version}",
            "goal": case.wanted.goal,
            "model": case.model.told,
            **gpu_words.backend(case.rules),
        },
    )
    return Planned(plan=plan, model=case.model.name)


def _other_ranks(case: Case) -> str:
    """Whether it was what the user settled."""
    if case.wanted.pinned == Parameters():
        return "a number of GPUs that divides the model's heads"
    loose = msgspec.structs.replace(case.wanted, pinned=Parameters(quantization=case.wanted.pinned.quantization))
    best = next(iter(search(msgspec.structs.replace(case, wanted=loose)).trials), None)
    if best is None or best.rank < RANK["RISKY"]:
        return "other GPUs: without --set it does not fit either"
    return f"leave it to the plan: without --set {best.deployment.told} {best.verdict}"


def _place(case: Case, best: Trial, network: NetworkEnvironment) -> Place:
    group = case.domains.groups(best.deployment).groups[0]
    of_name = {node.name: node for node in case.found.nodes}
    nodes = [of_name[name] for name in group]
    declared = case.snapshot.run_id == hardware.DECLARED
    return Place(
        nodes=tuple(node.name for node in nodes),
        addresses=tuple(node.address for node in nodes),
        network=network.variables,
        vendor=case.device.vendor,
        visible=visible.variables(
            case.found.nodes,
            group,
            case.device.vendor,
            kept=_hidden(case),
            orders=case.domains.orders(best.deployment),
        ),
        wrong_pairs=measurements.wrong_pairs(case.found.nodes) if best.deployment.gpus > 1 else "",
        address_why=", to be filled in" if declared else " that diag connected to",
    )


def _hidden(case: Case) -> frozenset[str]:
    """Ollama takes every GPU that it sees."""
    every = exclusion.lacking(case.wanted.excluded) if case.rules.by_layers else frozenset()
    return visible.hidden(case.found.nodes, every)


def _network(case: Case, best: Trial) -> NetworkEnvironment:
    """Of all nodes: each group of them gets the same command."""
    if best.deployment.nodes == 1 or best.verdict == "NO" or case.snapshot.run_id == hardware.DECLARED:
        return NONE
    return environment(case.found.nodes, case.snapshot, case.device.vendor)
