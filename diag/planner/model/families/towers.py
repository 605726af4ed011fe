"""Which weights has a vision tower, and what joins it to the language model?

Ranks divide a tower by its heads as they divide a decoder, but every stage of a pipeline holds it. The index 0 in the
names stands for all ``count`` blocks. Sources: vLLM's qwen3_vl.py, qwen2_5_vl.py, siglip.py, gemma3_mm.py, gemma4_mm.py
(a tower of transformers, whole on every rank), mllama4.py, pixtral.py, mistral3.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from diag.planner.model.architecture import Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config

CHANNELS = 3
QKV = ("qkv", "qkv", "qkv", "proj")
TILE = 64
"""Most quantized kernels want multiples of it; towers of other sizes stay as they are."""


def tower(weights: Iterable[Weight]) -> tuple[Weight, ...]:
    return tuple(msgspec.structs.replace(weight, every_stage=True) for weight in weights)


def qwen3_vl(config: Config, into_text: int) -> tuple[Weight, ...]:
    """Also Qwen 3.5's, which has no ``deepstack_visual_indexes``."""
    hidden, name = config.count("hidden_size"), "model.visual"
    merged = hidden * config.count("spatial_merge_size", 2) ** 2
    deep = len(config.list("deepstack_visual_indexes", ()))
    into_text = config.count("out_hidden_size", into_text)
    return tower(
        (
            patches(f"{name}.patch_embed.proj", config, hidden, bias=True),
            table(f"{name}.pos_embed", config.count("num_position_embeddings"), hidden),
            *blocks(_qwen_block(f"{name}.blocks.0", config, hidden), config.count("depth")),
            parts.norm(f"{name}.merger.norm", hidden, bias=True),
            *fc(f"{name}.merger", merged, merged, into_text),
            *blocks(_deep_merger(f"{name}.deepstack_merger_list.0", merged, into_text), deep),
        )
    )


def _qwen_block(name: str, config: Config, hidden: int) -> Iterator[Weight]:
    yield from (parts.norm(f"{name}.{norm}", hidden, bias=True) for norm in ("norm1", "norm2"))
    yield from attention(f"{name}.attn", hidden, config.count("num_heads"), QKV, bias=True)
    yield from fc(f"{name}.mlp", hidden, config.count("intermediate_size"), hidden)


def _deep_merger(name: str, merged: int, into_text: int) -> Iterator[Weight]:
    yield parts.norm(f"{name}.norm", merged, bias=True)
    yield from fc(name, merged, merged, into_text)


def qwen2_5_vl(config: Config, into_text: int) -> tuple[Weight, ...]:
    hidden, inner = config.count("hidden_size"), config.count("intermediate_size")
    block = (
        *(parts.norm(f"visual.blocks.0.{norm}", hidden) for norm in ("norm1", "norm2")),
        *attention("visual.blocks.0.attn", hidden, config.count("num_heads"), QKV, bias=True),
        *parts.mlp("visual.blocks.0.mlp", hidden, inner, bias=True),
    )
    return _qwen2_around(config, hidden, block, config.count("out_hidden_size", into_text), norm_bias=False)


def qwen2_vl(config: Config, into_text: int) -> tuple[Weight, ...]:
    """Its ``hidden_size`` is the text's; the tower's own is ``embed_dim``."""
    hidden = config.count("embed_dim", 1280)
    block = (
        *(parts.norm(f"visual.blocks.0.{norm}", hidden, bias=True) for norm in ("norm1", "norm2")),
        *attention("visual.blocks.0.attn", hidden, config.count("num_heads"), QKV, bias=True),
        *fc("visual.blocks.0.mlp", hidden, int(hidden * config.number("mlp_ratio")), hidden, names=("fc1", "fc2")),
    )
    return _qwen2_around(config, hidden, block, config.count("hidden_size", into_text), norm_bias=True)


def _qwen2_around(
    config: Config, hidden: int, block: tuple[Weight, ...], into_text: int, *, norm_bias: bool
) -> tuple[Weight, ...]:
    merged = hidden * config.count("spatial_merge_size", 2) ** 2
    return tower(
        (
            patches("visual.patch_embed.proj", config, hidden),
            *blocks(block, config.count("depth")),
            parts.norm("visual.merger.ln_q", hidden, bias=norm_bias),
            *fc("visual.merger.mlp", merged, merged, into_text, names=("0", "2")),
        )
    )


def siglip(config: Config, into_text: int) -> tuple[Weight, ...]:
    """With Gemma 3's projector."""
    config = config.meaning({"num_channels": CHANNELS})
    hidden, name = config.count("hidden_size"), "vision_tower.vision_model"
    block, inner = f"{name}.encoder.layers.0", config.count("intermediate_size")
    fits = hidden % TILE == 0 and inner % TILE == 0
    projections = ("q_proj", "k_proj", "v_proj", "out_proj")
    pair = fc(f"{block}.mlp", hidden, inner, hidden, names=("fc1", "fc2"))
    weights = (
        *(parts.norm(f"{block}.{norm}", hidden, bias=True) for norm in ("layer_norm1", "layer_norm2")),
        *attention(f"{block}.self_attn", hidden, config.count("num_attention_heads"), projections, bias=True),
        *(msgspec.structs.replace(one, linear=fits) for one in pair),
    )
    return tower(
        (
            patches(f"{name}.embeddings.patch_embedding", config, hidden, bias=True),
            table(f"{name}.embeddings.position_embedding", _places(config), hidden),
            *blocks(weights, config.count("num_hidden_layers")),
            parts.norm(f"{name}.post_layernorm", hidden, bias=True),
            table("multi_modal_projector.mm_input_projection_weight", hidden, into_text),
            parts.norm("multi_modal_projector.mm_soft_emb_norm", hidden),
        )
    )


def gemma4(config: Config, into_text: int) -> tuple[Weight, ...]:
    """Whole on every rank. A position is looked up for its row and for its column."""
    hidden, inner = config.count("hidden_size"), config.count("intermediate_size")
    name, block = "model.vision_tower", "model.vision_tower.encoder.layers.0"
    weights = (*_gemma4_attention(f"{block}.self_attn", config, hidden), *parts.mlp(f"{block}.mlp", hidden, inner))
    norms = (parts.norm(f"{block}.{norm}", hidden) for norm in _GEMMA4_NORMS)
    fits = hidden % TILE == 0 and inner % TILE == 0
    pixels = CHANNELS * config.count("patch_size") ** 2
    whole = (
        parts.linear(f"{name}.patch_embedder.input_proj", hidden, pixels),
        table(f"{name}.patch_embedder.position_embedding_table", 2 * config.count("position_embedding_size"), hidden),
        *blocks((*weights, *norms), config.count("num_hidden_layers")),
        parts.linear("model.embed_vision.embedding_projection", into_text, hidden),
    )
    return tower(msgspec.structs.replace(one, shard="whole", linear=one.linear and fits) for one in whole)


_GEMMA4_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)


def _gemma4_attention(name: str, config: Config, hidden: int) -> tuple[Weight, ...]:
    shape = parts.Attention(
        hidden=hidden,
        heads=config.count("num_attention_heads"),
        kv_heads=config.count("num_key_value_heads", config.count("num_attention_heads")),
        head_dim=config.count("head_dim"),
        qkv_bias=config.flag("attention_bias"),
        o_bias=config.flag("attention_bias"),
        qk_norm="head",
        name=name,
    )
    return parts.attention(shape)


def llama4(config: Config, into_text: int) -> tuple[Weight, ...]:
    """Never quantized. The projector's inner size is the tower's: pixels are shuffled into it."""
    hidden, inner = config.count("hidden_size"), config.count("intermediate_size")
    name, block = "vision_model", "vision_model.model.layers.0"
    projections = ("q_proj", "k_proj", "v_proj", "o_proj")
    weights = (
        *attention(f"{block}.self_attn", hidden, config.count("num_attention_heads"), projections, bias=True),
        *fc(f"{block}.mlp", hidden, inner, hidden, names=("fc1", "fc2")),
        *(parts.norm(f"{block}.{norm}", hidden, bias=True) for norm in ("input_layernorm", "post_attention_layernorm")),
    )
    pixels = config.count("num_channels", CHANNELS) * config.count("patch_size") ** 2
    middle, out = config.count("projector_input_dim"), config.count("projector_output_dim")
    bias = config.flag("multi_modal_projector_bias")
    both = (
        parts.linear(f"{name}.patch_embedding.linear", hidden, pixels, shard="rows"),
        parts.vector(f"{name}.class_embedding", hidden),
        table(f"{name}.positional_embedding_vlm", _places(config) + 1, hidden),
        *(parts.norm(f"{name}.{norm}", hidden, bias=True) for norm in ("layernorm_pre", "layernorm_post")),
        *blocks(weights, config.count("num_hidden_layers")),
        *fc(f"{name}.vision_adapter.mlp", inner, middle, out, names=("fc1", "fc2"), bias=bias),
        parts.linear("multi_modal_projector.linear_1", into_text, config.count("vision_output_dim"), shard="rows"),
    )
    return tower(msgspec.structs.replace(one, linear=False) for one in both)


def pixtral(config: Config, whole: Config, into_text: int) -> tuple[Weight, ...]:
    """With Mistral 3's projector."""
    hidden, inner = config.count("hidden_size"), config.count("intermediate_size")
    block, projector = "vision_tower.transformer.layers.0", "multi_modal_projector"
    projections = ("q_proj", "k_proj", "v_proj", "o_proj")
    weights = (
        *(parts.norm(f"{block}.{norm}", hidden) for norm in ("attention_norm", "ffn_norm")),
        *attention(f"{block}.attention", hidden, config.count("num_attention_heads"), projections, bias=False),
        *parts.mlp(f"{block}.feed_forward", hidden, inner),
    )
    merged = hidden * whole.count("spatial_merge_size", 2) ** 2
    bias = whole.flag("multimodal_projector_bias")
    merger = msgspec.structs.replace(
        parts.linear(f"{projector}.patch_merger.merging_layer", hidden, merged), linear=False
    )
    return tower(
        (
            patches("vision_tower.patch_conv", config.meaning({"num_channels": CHANNELS}), hidden),
            parts.norm("vision_tower.ln_pre", hidden),
            *blocks(weights, config.count("num_hidden_layers")),
            parts.norm(f"{projector}.norm", hidden),
            merger,
            *fc(projector, hidden, into_text, into_text, names=("linear_1", "linear_2"), bias=bias),
        )
    )


def patches(name: str, config: Config, hidden: int, *, bias: bool = False) -> Weight:
    """A convolution over a patch, of each of its frames."""
    channels = config.count("in_channels", config.get("num_channels", config.get("in_chans", CHANNELS)))
    columns = channels * config.count("patch_size") ** 2 * config.count("temporal_patch_size", 1)
    return Weight(name=name, rows=hidden, columns=columns, bias=bias, linear=False)


def table(name: str, rows: int, columns: int) -> Weight:
    return Weight(name=name, rows=rows, columns=columns, linear=False)


def _places(config: Config) -> int:
    return int((config.count("image_size") // config.count("patch_size")) ** 2)


def blocks(weights: Iterable[Weight], count: int) -> tuple[Weight, ...]:
    return tuple(msgspec.structs.replace(weight, count=count) for weight in weights) if count else ()


def attention(
    name: str, hidden: int, heads: int, projections: tuple[str, str, str, str], *, bias: bool
) -> tuple[Weight, ...]:
    return parts.attention(parts.of_as_many_heads(name, hidden, heads, projections, bias=bias))


def fc(
    name: str,
    into: int,
    inner: int,
    out: int,
    *,
    names: tuple[str, str] = ("linear_fc1", "linear_fc2"),
    bias: bool = True,
) -> tuple[Weight, ...]:
    first, second = names
    return (
        parts.linear(f"{name}.{first}", inner, into, shard="rows", bias=bias),
        parts.linear(f"{name}.{second}", out, inner, shard="columns", bias=bias),
    )
