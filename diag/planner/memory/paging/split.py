"""Which part of a model does one rank hold: which layers, how many KV heads?

vLLM gives what does not divide to the stages before the last, from the back (``shards.stage_layers``); SGLang to the
last stages (distributed/utils.py, get_pp_indices). LMDeploy has no pipeline.
"""

from __future__ import annotations

import msgspec

from diag.planner.model.shards import stage_layers


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """``tp`` ranks divide each layer, ``pp`` stages the layers, ``dcp`` of the ``tp`` ranks the tokens of a request."""

    tp: int
    pp: int = 1
    stage: int = 0
    dcp: int = 1


def kv_heads(total: int, ranks: int) -> int:
    """Of one rank: heads are repeated where there are more ranks than heads."""
    return max(1, total // ranks)


def vllm_stage(layers: int, split: Split) -> range:
    return _span(stage_layers(layers, split.pp), split.stage)


def sglang_stage(layers: int, split: Split) -> range:
    base, extra = divmod(layers, split.pp)
    longer = split.stage - (split.pp - extra)
    first = split.stage * base + max(0, longer)
    return range(first, first + base + (longer >= 0))


def _span(sizes: tuple[int, ...], stage: int) -> range:
    first = sum(sizes[:stage])
    return range(first, first + sizes[stage])
