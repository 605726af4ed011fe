"""Which nodes and GPUs of a plan did checks find unfit to be used, by what was judged?

Unfit is what a plan cannot make good by its own flags: somebody has to mend the node before an engine starts there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from diag.facts.plan import Plan
from diag.facts.verdict import Culprit, Verdicts
from diag.inventory.gpusets import Part, folded

UNFIT = frozenset({
    "gpu_memory_ecc_error", "gpu_memory_corrupts", "gpu_hardware_fault", "xid79_gpu_off_bus", "wrong_results",
    "acs_iommu_breaks_p2p", "nvlink_down", "pcie_link_slow", "gpu_slow", "gpu_throttled",
    "fabric_manager_or_nvswitch_state", "driver_module_not_loaded", "nvml_driver_library_mismatch",
    "container_loses_gpu_cgroup_reload", "node_unreachable", "agent_silent", "firewall_blocks_ports",
    "rank_missing", "rank_frozen", "rank_died", "node_slow",
})  # fmt: skip
GPU = "gpu:"


def unfit(verdicts: Verdicts) -> Counter[Part]:
    """How many checks each fails, for a cause that makes it unfit; a GPU where it was one, else its node.

    0: it was seen, and no check was asked that judges it.
    """
    named = {pair for culprit in verdicts.culprits for pair in _pairs(culprit)}
    failed = [v for v in verdicts.verdicts if v.outcome == "failed" and v.node and (v.check, v.node) in named]
    found = Counter(_part(verdict.node or "", verdict.subject) for verdict in failed)
    judged = {(verdict.check, verdict.node) for verdict in failed}
    seen = Counter({Part(node): 0 for check, node in sorted(named) if (check, node) not in judged})
    return Counter({**seen, **found})


def cautions(plan: Plan, excluded: tuple[Part, ...], verdicts: Verdicts | None, command: str) -> tuple[str, ...]:
    """What the user left out, and what failed and is in the plan. ``command``: plans again, but for --exclude."""
    lines = [f"left out: {folded(excluded)}, excluded by you"] if excluded else []
    gone = set(excluded)
    found = unfit(verdicts) if verdicts is not None and plan.nodes else Counter()
    used = {part: count for part, count in found.items() if part.node in plan.nodes and part not in gone}
    if used:
        them = "it" if len(used) == 1 else "them"
        again = f"{command} --exclude {folded((*excluded, *used))}"
        lines.append(f"{_wrong(used)}: this plan uses {them}; without {them}: {again}")
    return tuple(lines)


def _wrong(used: Mapping[Part, int]) -> str:
    """``2 checks failed on gpu01:5, a fault was seen on gpu02``."""
    failed, seen = [part for part in used if used[part]], [part for part in used if not used[part]]
    count = sum(used.values())
    checks = [f"{count} check{'s' if count > 1 else ''} failed on {folded(failed)}"] if failed else []
    faults = [f"a fault that no check judged was seen on {folded(seen)}"] if seen else []
    return ", ".join((*checks, *faults))


def _pairs(culprit: Culprit) -> Iterator[tuple[str, str]]:
    """Check and node of what it is accused of; of a link no end is unfit."""
    for evidence in culprit.evidence if culprit.cause in UNFIT and culprit.kind != "link" else ():
        check, _, node = evidence.rpartition("@")
        if node in culprit.nodes:
            yield check, node


def _part(node: str, subject: str | None) -> Part:
    number = (subject or "").removeprefix(GPU)
    return Part(node, int(number)) if (subject or "").startswith(GPU) and number.isdigit() else Part(node)
