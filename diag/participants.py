"""Which nodes can take part in a collective, with which backend and how many ranks each? Decided from facts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from diag.data_interface import Place, choose
from diag.facts.device import CUDA, SHOWN_BY, Gpu, TorchView
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known, peek
from diag.facts.software import BUILDS
from diag.inventory import fold

ALONE_RANKS = 2
"""What a single node needs for a collective of GLOO."""
ONE_GPU = "gloo: one GPU, and NCCL needs one for each of two ranks"
OTHER_THAN_CUDA = {"ascend": "computes through torch.npu, which is not measured"}
"""Vendors on whose devices torch.cuda does not compute."""
OTHER_PYTHON = "name another with --python"


@dataclass(frozen=True, kw_only=True)
class Participants:
    """``places``, ``ranks`` (a count for each) and ``shown`` are in the order of the nodes; the first is the master.

    ``shown``: variables by which ranks take GPUs in the order of the vendor's tool; empty: they do by themselves.
    """

    backend: str
    backend_why: str
    places: tuple[Place, ...]
    ranks: tuple[int, ...]
    interface_why: str
    excluded: Mapping[str, str]
    shown: tuple[Mapping[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(place.node for place in self.places)

    @property
    def world_size(self) -> int:
        return sum(self.ranks)

    def ranks_of(self, node: int) -> range:
        """The global ranks of the node with this number."""
        first = sum(self.ranks[:node])
        return range(first, first + self.ranks[node])


def participants(nodes: Sequence[Node], excluded: Mapping[str, str], ranks_per_node: int | None = None) -> Participants:
    """Raises NotMeasured when too few nodes are left for a collective; ``excluded`` are nodes that others ruled out."""
    left_out = dict(excluded)
    selected = len(nodes) + len(excluded)
    left_out |= {node.name: why for node in nodes if (why := without_torch(node))}
    left_out |= _minority([node for node in nodes if node.name not in left_out])
    choice = choose([node for node in nodes if node.name not in left_out])
    left_out |= choice.left_out
    if len(choice.places) < min(selected, 2):
        raise NotMeasured(_too_few(selected, left_out))
    there = [node for node in nodes if node.name in {place.node for place in choice.places}]
    gpus, why = _gpus(there)
    backend, ranks = ("nccl", gpus) if gpus else ("gloo", [ranks_per_node or _gloo_ranks(there)] * len(there))
    return Participants(
        backend=backend,
        backend_why=why,
        places=choice.places,
        ranks=tuple(ranks),
        interface_why=choice.why,
        excluded=left_out,
        shown=tuple(map(_shown, there)) if gpus else (),
    )


def _shown(node: Node) -> Mapping[str, str]:
    """MetaX's library takes the fastest first unless it is told; what the node's environment says is left as it is."""
    if any(gpu.vendor != "metax" for gpu in node.gpus) or not is_known(node, "settings") or seen_gpus(node)[1]:
        return {}
    return dict.fromkeys(SHOWN_BY["metax"][0], ",".join(str(gpu.index) for gpu in seen_gpus(node)[0]))


def _gloo_ranks(nodes: Sequence[Node]) -> int:
    return ALONE_RANKS if len(nodes) == 1 else 1


def without_torch(node: Node) -> str:
    """Why the node cannot run a rank; empty: it can."""
    software = peek(node, "software")
    if not is_known(node, "software"):
        return f"whether it has torch is not known: {software.why}"
    if not is_known(software, "torch"):
        return f"whether it has torch is not known: {peek(software, 'torch').why}"
    if software.torch is None:
        python = node.agent.executable if is_known(node, "agent") else "its interpreter"
        return f"no torch under {python}; {OTHER_PYTHON}"
    return ""


def without_cuda(node: Node) -> str:
    """Why torch.cuda cannot compute there, by whose devices and how torch was built; empty: nothing speaks against it.

    ROCm, MetaX and Hygon compute through torch.cuda; AMD's own images name no build in their versions.
    """
    vendors = {gpu.vendor for gpu in node.gpus} if is_known(node, "gpus") else set()
    for vendor in sorted(vendors & set(OTHER_THAN_CUDA)):
        return f"{vendor} {OTHER_THAN_CUDA[vendor]}"
    torch, view = str(node.software.torch), peek(node, "torch_view")
    built = (peek(node.software, "hip"), view.built_for if isinstance(view, TorchView) else None)
    named = any(isinstance(each, str) for each in built) or any(build in torch for build in BUILDS)
    return "" if named or peek(node.software, "cuda") is not None else f"torch {torch} has no CUDA"


def without_gpus(node: Node) -> str:
    """Why no program of torch there computes on a GPU, as torch itself says; empty: nothing speaks against it."""
    view = peek(node, "torch_view")
    blind = isinstance(view, TorchView) and not view.available
    return f"torch sees no GPU ({view.why_not})" if blind else ""


def _minority(nodes: Sequence[Node]) -> dict[str, str]:
    """Nodes with another torch than most: different versions may hang, or sum what is not alike."""
    versions = {node.name: _public(node.software.torch) for node in nodes}
    if len(set(versions.values())) < 2:  # noqa: PLR2004 - all alike
        return {}
    common, _ = Counter(versions.values()).most_common(1)[0]
    return {
        name: f"torch {version}, the others have {common}" for name, version in versions.items() if version != common
    }


def _public(version: str | None) -> str:
    """``2.13.0+cpu`` -> ``2.13.0``: builds of one version speak the same protocol."""
    return str(version).partition("+")[0]


def _gpus(nodes: Sequence[Node]) -> tuple[list[int], str]:
    """GPUs of each node if all can run NCCL; else none, and why not although there are GPUs."""
    counts = [_visible(node) for node in nodes]
    if not any(counts):
        return [], ""
    for node, count in zip(nodes, counts, strict=True):
        if not count:
            return [], f"gloo: {node.name} has no GPU that its ranks would see"
        if reason := _why_not_nccl(node):
            return [], f"gloo: {reason} on {node.name}"
    if sum(counts) < 2:  # noqa: PLR2004 - a collective needs two ranks, and NCCL a GPU for each
        return [], ONE_GPU
    return counts, ""


def _visible(node: Node) -> int:
    """GPUs that a rank there would see: what the driver shows, less what CUDA_VISIBLE_DEVICES hides."""
    if not is_known(node, "gpus"):
        return 0
    return len(seen_gpus(node)[0]) if is_known(node, "settings") else len(node.gpus)


def seen_gpus(node: Node) -> tuple[tuple[Gpu, ...], str]:
    """The GPUs that a program there sees, and why not all: CUDA_VISIBLE_DEVICES or its like, read as CUDA does.

    Raises NotMeasured where the settings or the GPUs are not known.
    """
    given = {each.name: each.value for each in node.settings if each.source == "environment"}
    vendor = node.gpus[0].vendor if node.gpus else ""
    seen, said = node.gpus, ""
    for names in SHOWN_BY.get(vendor, ((CUDA,),)):
        name = next((name for name in names if name in given), None)
        if name is not None:
            seen, why = _left(seen, given[name])
            said = "; ".join(filter(None, (said, f"{name}={given[name]} {why}" if why else "")))
    return seen, said


def _left(gpus: tuple[Gpu, ...], value: str) -> tuple[tuple[Gpu, ...], str]:
    """Those of ``gpus`` that a variable's value shows, and what it does to the others."""
    seen: list[Gpu] = []
    sliced = False
    for part in (part.strip() for part in value.split(",")):
        slices = [each for gpu in gpus if (each := _slice(gpu, part)) is not None]
        found = slices or [gpu for place, gpu in enumerate(gpus) if _is_named(gpu, place, part)]
        if sliced or len(found) != 1 or found[0] in seen:  # what CUDA cannot read ends its list; so does a slice
            break
        seen, sliced = seen + found, bool(slices)
    left_out = len(gpus) - len(seen)
    said = [f"hides {left_out} of {len(gpus)} GPUs"] if left_out else []
    said += [f"shows of gpu:{seen[-1].index} a slice"] if sliced else []
    return tuple(seen), " and ".join(said)


def _is_named(gpu: Gpu, place: int, name: str) -> bool:
    uuid = peek(gpu, "uuid")
    return name == str(place) or (name.startswith("GPU-") and isinstance(uuid, str) and uuid.startswith(name))


def _slice(gpu: Gpu, name: str) -> Gpu | None:
    """With that one alone of its slices; None: it has none of that name."""
    slices = gpu.mig_instances if name.startswith("MIG-") and is_known(gpu, "mig_instances") else ()
    found = tuple(each for each in slices if each.uuid.startswith(name))
    return msgspec.structs.replace(gpu, mig_instances=found) if len(found) == 1 else None


def _why_not_nccl(node: Node) -> str:
    if reason := without_cuda(node) or without_gpus(node):
        return reason
    for gpu in node.gpus:
        if peek(gpu, "mig") is True:
            return f"gpu:{gpu.index} is in MIG mode"
        if peek(gpu, "compute_mode") in ("prohibited", "exclusive_process"):
            return f"gpu:{gpu.index} is in compute mode {gpu.compute_mode}"
    return ""


def _too_few(selected: int, left_out: Mapping[str, str]) -> str:
    """``2 of 4 nodes can take part: no torch under …; name another with --python (n001, n002)``."""
    by_reason: dict[str, list[str]] = {}
    for name, why in left_out.items():
        by_reason.setdefault(why, []).append(name)
    if selected == 1:
        return next(iter(by_reason), "no node is there")
    reasons = "; ".join(f"{fold(names)}: {why}" for why, names in by_reason.items())
    return f"{selected - len(left_out)} of {selected} nodes can take part, expected at least 2: {reasons}"
