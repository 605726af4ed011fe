"""Which weights and caches have the layers with which a model guesses tokens ahead (multi-token prediction)?

Such a layer is one more of the model's own behind a projection of the last hidden state and the next token's embedding,
beside each other: 2H × H. Embedding and head are the model's own, which engines share with it. Checked against the
parameters that vLLM 0.32 creates (deepseek_mtp.py, models/deepseek_v32, glm4_moe_mtp.py, mimo_mtp.py,
qwen3_next_mtp.py, qwen3_5_mtp.py). DeepSeek-V4's is a layer of its own kind (``compressed.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from diag.planner.model.architecture import Architecture, AttentionCache, Cache, LatentCache, Layer, Weight
from diag.planner.model.families import compressed, parts
from diag.planner.model.families.config import Config
from diag.planner.model.families.whole import DRAFTS
from diag.planner.unknown import NotKnown


class Nextn(msgspec.Struct, frozen=True, kw_only=True):
    """``prefix`` of a layer in the checkpoint: ``{number}`` counts from 0, ``{behind}`` from the model's last layer on.

    ``fusion``: the projection; ``norms``: of H elements each. ``once``: all of a model's such layers share these two.
    """

    prefix: str
    fusion: str
    norms: tuple[str, ...]
    once: bool = False
    divided: bool = False
    """The projection is divided by rows, and may be quantized; else it is neither."""
    unsaid: int = 0
    """Such layers where the config says nothing of them."""


_DEEPSEEK = Nextn(prefix="model.layers.{behind}", fusion="eh_proj", norms=("enorm", "hnorm", "shared_head.norm"))
_QWEN = Nextn(
    prefix="mtp.layers.{number}",
    fusion="mtp.fc",
    norms=("mtp.norm", "mtp.pre_fc_norm_hidden", "mtp.pre_fc_norm_embedding"),
    once=True,
    divided=True,
)
_MIMO = Nextn(
    prefix="model.mtp_layers.{number}",
    fusion="input_proj",
    norms=("token_layernorm", "hidden_layernorm", "final_layernorm"),
)
LAYERS: Mapping[str, Nextn] = {
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v32": _DEEPSEEK,
    "glm_moe_dsa": _DEEPSEEK,
    "glm4_moe": _DEEPSEEK,
    "glm4_moe_lite": _DEEPSEEK,
    "mimo": _MIMO,
    "qwen3_next": msgspec.structs.replace(_QWEN, unsaid=1),
    "qwen3_5": _QWEN,
    "qwen3_5_moe": _QWEN,
    "qwen3_5_text": _QWEN,
    "qwen3_5_moe_text": _QWEN,
    "deepseek_v4": Nextn(prefix="mtp.{number}", fusion="e_proj", norms=()),
}
"""By ``model_type`` of the whole config."""
UNREAD = ("gemma4", "kimi_k3", "mimo_v2", "minimax_m3", "nemotron_h", "step3p5", "step3p7")
"""How those start whose draft layers engines load, too, from the checkpoint or from one of their own (Gemma 4)."""


def layers_said(config: Config) -> int:
    """How many such layers a config names."""
    text = config.sub("text_config") if config.has("text_config") else config
    kind = LAYERS.get(config.text("model_type", ""))
    unsaid = kind.unsaid if kind and not any(key in text.raw for key in DRAFTS) else 0
    return next((text.count(key) for key in DRAFTS if text.get(key)), unsaid)


def nextn(config: Config, architecture: Architecture) -> Architecture:
    """The layers alone, not quantized, as a model without embedding and head. Raises NotKnown."""
    kind = LAYERS.get(architecture.model_type)
    if kind is None:
        raise NotKnown(f"the draft layers of {architecture.name}: known are those of {', '.join(LAYERS)}")
    if architecture.model_type in compressed.READERS:
        own = tuple(compressed.drafting_layer(config, number) for number in range(layers_said(config)))
        return msgspec.structs.replace(architecture, layers=own, first=(), last=(), left_out=(), rotary=())
    block = _block(architecture.layers)
    fused = (_fusion(kind, architecture.hidden), *(parts.norm(name, architecture.hidden) for name in kind.norms))
    weights = block.weights if kind.once else (*block.weights, *fused)
    first = len(architecture.layers)
    return msgspec.structs.replace(
        architecture,
        layers=tuple(
            Layer(prefix=kind.prefix.format(number=one, behind=first + one), weights=weights, caches=block.caches)
            for one in range(layers_said(config))
        ),
        first=(),
        last=fused if kind.once else (),
        vision=False,
        left_out=(),
    )


def _fusion(kind: Nextn, hidden: int) -> Weight:
    if kind.divided:
        return parts.linear(kind.fusion, hidden, 2 * hidden, shard="rows")
    return parts.router(kind.fusion, hidden, 2 * hidden)


def _block(layers: Sequence[Layer]) -> Layer:
    """The last that attends to all tokens, with an indexer of its own where there is one."""
    attending = [one for one in layers if one.caches and all(map(_sees_all, one.caches))]
    if not attending:
        raise NotKnown("draft layers of a model without a layer that sees all tokens")
    return max(enumerate(attending), key=lambda found: (_indexed(found[1]), found[0]))[1]


def _sees_all(cache: Cache) -> bool:
    if isinstance(cache, AttentionCache):
        return not (cache.window or cache.chunk)
    return isinstance(cache, LatentCache)


def _indexed(layer: Layer) -> bool:
    return any(isinstance(cache, LatentCache) and cache.indexer_dim > 0 for cache in layer.caches)
