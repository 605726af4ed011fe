"""Who or what explains the failures? One cause is one culprit, however many checks and nodes it made fail.

It knows what was seen on a node (how it was reached, what its facts say, where its rank stopped) and which cause
explains which symptom. It compares no timings; a failure of which no check knows the cause has no culprit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from diag import cut_links, localise
from diag.catalogue import Check
from diag.facts.causes import CAUSES
from diag.facts.collective import Rank
from diag.facts.record import is_known
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import CONCLUDED, READ, SAID, SEEN, Culprit, Verdict
from diag.localise import Suspect
from diag.units import seconds

RANK_CONFIDENCE = {"rank_died": SEEN, "rank_missing": CONCLUDED, "rank_frozen": CONCLUDED}

SETTINGS = frozenset({
    "shm_too_small", "gloo_hostname_loopback", "memlock_limit", "open_files_limit", "nccl_socket_ifname_wrong",
    "gloo_ifname_invalid", "ifname_env_not_on_all_nodes", "nccl_version_or_env_differs_between_nodes", "mtu_mismatch",
    "cuda_visible_devices_wrong", "mig_uuid_not_supported", "exclusive_compute_mode", "version_differs", "clock_skew",
    "ray_or_python_version_mismatch", "rendezvous_master_unresolvable", "rendezvous_master_not_recognised",
    "container_bridge_network_advertised", "duplicate_host_identity", "duplicate_address", "port_in_use",
    "custom_allreduce_ipc_failure", "cuda_forward_compat_unsupported", "gdr_peermem_missing", "pkey_differs",
    "ray_node_ip_mismatch", "trust_remote_code_missing", "nccl_torch_library_mismatch",
})  # fmt: skip
"""Causes that are put right by changing a setting or a version; the others are a node's own, or those of its part."""

KINDS = {"gpu": "gpu", "interface": "nic", "port": "nic"}
"""What a failed part of a node is called as a culprit."""

LOST = {"rank_missing", "rank_frozen", "rank_died", "agent_silent"}
CUT_OFF = LOST | {"firewall_blocks_ports", "mtu_mismatch"}

EXPLAINS: Mapping[str, set[str]] = {
    "rendezvous_master_not_recognised": LOST,
    "no_usable_ip_interface": CUT_OFF,
    "container_bridge_network_advertised": CUT_OFF,
    "firewall_blocks_ports": LOST,
    "mtu_mismatch": LOST,
    "duplicate_address": CUT_OFF,
    "node_unreachable": CUT_OFF,
    "agent_silent": CUT_OFF,
    "version_differs": {"rank_died", "rank_missing"},
    "nccl_version_or_env_differs_between_nodes": {"rank_died", "rank_frozen"},
    "shm_too_small": {"rank_died", "rank_frozen"},
    "disk_full_or_quota": {"rank_died", "rank_missing"},
    "open_files_limit": {"rank_died"},
    "memlock_limit": {"rank_died"},
    "host_ram_oom_killed": {"rank_died"},
    "gpu_memory_taken_by_other_process": {"rank_died"},
    "exclusive_compute_mode": {"rank_died"},
    "cuda_visible_devices_wrong": {"rank_died"},
    "driver_module_not_loaded": {"rank_died"},
    "driver_too_old": {"rank_died"},
    "xid79_gpu_off_bus": {"rank_died", "rank_frozen"},
    "gpu_memory_ecc_error": {"rank_died"},
    "gpu_hardware_fault": {"rank_died", "rank_frozen"},
    "nvlink_down": {"rank_died", "rank_frozen"},
    "nvml_driver_library_mismatch": {"rank_died", "rank_missing"},
    "fabric_manager_or_nvswitch_state": {"rank_died", "rank_missing"},
    "acs_iommu_breaks_p2p": {"rank_frozen"},
    "gpu_arch_unsupported": {"rank_died"},
    "cuda_forward_compat_unsupported": {"rank_died"},
    "container_loses_gpu_cgroup_reload": {"rank_died"},
}
"""Cause on a node -> what is seen of its ranks and links because of it.

What the job itself sets for its ranks (the interface's name) explains nothing of their end, wrong as it may be there.
"""
LINK = "link:"
"""Before the subject of a verdict on a link, ``link:gpu01>gpu02``."""
STOPPED = ("reach@", "link_carries_data@", "every_rank_comes_through@")
"""Evidence that a culprit kept a node or the collective from its end."""


def culprits(snapshot: Snapshot, verdicts: Sequence[Verdict], checks: Mapping[str, Check]) -> tuple[Culprit, ...]:
    """What stopped the run, then the others; surest first.

    A blocked link or a rank's end is no culprit of its own where its node has a cause for it.
    """
    at_ports, others = cut_links.by_port_matrix(verdicts, snapshot)
    causes = [*_of_reach(snapshot), *_of_verdicts(others, checks, snapshot), *cut_links.of_ports(at_ports, snapshot)]
    causes += _of_suspects(snapshot, tuple(causes))
    for symptom in (*cut_links.of_blocked(snapshot), *_of_ranks(snapshot)):
        explaining = _explaining(symptom, causes)
        if explaining is None:
            causes.append(symptom)
        else:
            evidence = (*causes[explaining].evidence, *symptom.evidence)
            causes[explaining] = msgspec.structs.replace(causes[explaining], evidence=evidence)
    return tuple(sorted(causes, key=lambda culprit: (not _has_stopped(culprit), -culprit.confidence)))


def _of_suspects(snapshot: Snapshot, causes: Sequence[Culprit]) -> Iterable[Culprit]:
    """Nodes, links and NICs that timings single out and no cause explains; what cannot be told apart is no culprit."""
    if not is_known(snapshot, "links"):
        return
    alike: dict[tuple[str, str, str], list[Suspect]] = defaultdict(list)
    for suspect in localise.suspects(snapshot.links.nodes, snapshot.links.flows, groups=snapshot.leaves):
        if suspect.kind != "unclear" and _explaining(suspect, causes) is None:
            several = suspect.kind == "node"  # nodes slow alike are one line, links are told one by one
            alike[suspect.kind, suspect.cause, "" if several else f"{suspect.nodes}{suspect.rail}"].append(suspect)
    for (kind, cause, _), group in alike.items():
        check = "link_is_as_fast_as_the_others"
        if not group[0].found_bytes_per_s:
            check = "link_carries_data" if group[0].rail is None else "rails_carry_data"
        ways = dict.fromkeys(way for suspect in group for way in suspect.evidence)
        yield Culprit(
            kind="setting" if cause in SETTINGS and kind == "node" else "link" if kind == "direction" else kind,
            nodes=tuple(dict.fromkeys(name for suspect in group for name in suspect.nodes)),
            cause=cause,
            summary=_whys(group),
            confidence=min(suspect.confidence for suspect in group),
            evidence=tuple(f"{check}@{way}" for way in ways),
        )


def _whys(group: Sequence[Suspect]) -> str:
    """Of several each with its name."""
    if len(group) == 1:
        return group[0].why
    told = tuple(dict.fromkeys(f"{suspect.nodes[0]}: {suspect.why}" for suspect in group))
    more = f"; and {len(told) - SAID} more" if len(told) > SAID else ""
    return "; ".join(told[:SAID]) + more


def _has_stopped(culprit: Culprit) -> bool:
    return any(evidence.startswith(STOPPED) for evidence in culprit.evidence)


def _of_reach(snapshot: Snapshot) -> Iterable[Culprit]:
    """Nodes that were not reached, or were lost, together where it was for the same reason."""
    lost: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node in snapshot.nodes:
        if node.reach.outcome in CAUSES:
            lost[node.reach.outcome, node.reach.summary].append(node.name)
    for (cause, summary), nodes in lost.items():
        yield Culprit(
            kind="node",
            nodes=tuple(nodes),
            cause=cause,
            summary=summary or CAUSES[cause],
            confidence=SEEN,
            evidence=tuple(f"reach@{node}" for node in nodes),
        )


def _of_verdicts(verdicts: Sequence[Verdict], checks: Mapping[str, Check], snapshot: Snapshot) -> Iterable[Culprit]:
    """Failed verdicts of the same cause and kind, over all their checks and nodes."""
    failed: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        check = checks.get(verdict.check)
        if verdict.outcome == "failed" and check is not None and check.cause is not None:
            failed[check.cause, _kind(check)].append(verdict)
    for (cause, kind), group in failed.items():
        yield Culprit(
            kind=kind,
            nodes=_named(group, snapshot),
            cause=cause,
            summary=_common(group) or CAUSES[cause],
            confidence=READ,
            evidence=tuple(dict.fromkeys(_evidence(verdict) for verdict in group)),
        )


def _named(group: Sequence[Verdict], snapshot: Snapshot) -> tuple[str, ...]:
    """Of links that no other verdict explains: who has it with most of its partners; if neither end does, both."""
    links = [v.subject.removeprefix(LINK).split(">") for v in group if v.subject and v.subject.startswith(LINK)]
    named = dict.fromkeys(v.node for v in group if v.node and not (v.subject or "").startswith(LINK))
    bad = {frozenset(ends) for ends in links}
    met = Counter(name for pair in _pairs(snapshot) | bad for name in pair)
    often = Counter(name for pair in bad for name in pair)
    guilty = {*named, *(name for name, times in often.items() if 2 * times > met[name] > 1)}
    for ends in links:
        named.update(dict.fromkeys([name for name in ends if name in guilty] or ends))
    return tuple(named)


def _pairs(snapshot: Snapshot) -> set[frozenset[str]]:
    return {frozenset(flow.pair) for flow in snapshot.links.flows} if is_known(snapshot, "links") else set()


def _kind(check: Check) -> str:
    if check.cause in SETTINGS:
        return "setting"
    return KINDS.get(check.part or "", "node") if check.cause != "link_slow" else "link"


def _common(group: Sequence[Verdict]) -> str:
    """What was found: once where all found the same, else the first of it."""
    said: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in group:
        said[verdict.found or verdict.summary or ""].append(verdict)
    found = [_with_gpu(text, verdicts) for text, verdicts in said.items()]
    more = f"; and {len(found) - SAID} more" if len(found) > SAID else ""
    return "; ".join(found[:SAID]) + more


def _with_gpu(text: str, verdicts: Sequence[Verdict]) -> str:
    """What was found on one GPU names it."""
    subject = verdicts[0].subject or ""
    alone = len(verdicts) == 1 and subject.startswith("gpu:") and subject not in text
    return f"{subject}: {text}" if alone else text


def _evidence(verdict: Verdict) -> str:
    return f"{verdict.check}@{verdict.node or 'cluster'}"


def _of_ranks(snapshot: Snapshot) -> Iterable[Culprit]:
    """Ranks that did not come through, one culprit a node and cause: where and how far they came."""
    if not is_known(snapshot, "collective"):
        return
    ended: dict[tuple[str, str], list[Rank]] = defaultdict(list)
    for rank in snapshot.collective.ranks:
        if rank.outcome not in ("done", "stopped"):
            ended[rank.node, rank.outcome].append(rank)
    for (node, cause), ranks in ended.items():
        yield Culprit(
            kind="node",
            nodes=(node,),
            cause=cause,
            summary=_told(ranks),
            confidence=RANK_CONFIDENCE.get(cause, CONCLUDED),
            evidence=(f"every_rank_comes_through@{node}",),
        )


def _told(ranks: Sequence[Rank]) -> str:
    first = ranks[0]
    phase, at_s = first.phases[-1] if first.phases else ("", 0.0)
    place = f"after phase {phase} at {seconds(at_s)}" if phase else "before it reported anything"
    said = f": {first.said}" if first.said else ""
    return f"{_numbers(ranks)} {first.outcome.removeprefix('rank_')} {place}{said}"


def _numbers(ranks: Sequence[Rank]) -> str:
    """Ranks of a node are neighbours: ``ranks 8-15``; if some of them came through, each is named."""
    numbers = sorted(rank.rank for rank in ranks)
    if len(numbers) == 1:
        return f"rank {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"ranks {numbers[0]}-{numbers[-1]}"
    return f"ranks {', '.join(map(str, numbers))}"


def _explaining(symptom: Culprit | Suspect, causes: Sequence[Culprit]) -> int | None:
    """Which of ``causes`` on the same node, or on either end of the same link, makes this symptom expected."""
    for index, culprit in enumerate(causes):
        explained = {culprit.cause} | EXPLAINS.get(culprit.cause, set()) | _cut_off_by(culprit)
        if not set(symptom.nodes).isdisjoint(culprit.nodes) and symptom.cause in explained:
            return index
    return None


def _cut_off_by(culprit: Culprit) -> set[str]:
    """What else is seen where nothing passes: of a node all that follows from it; of a link no end of a rank."""
    if not any(evidence.startswith("link_carries_data@") for evidence in culprit.evidence):
        return set()
    return CUT_OFF - LOST if culprit.kind == "link" else CUT_OFF
