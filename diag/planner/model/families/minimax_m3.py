"""Which layers has MiniMax-M3: attention to blocks that an index chooses, experts beside a shared one, a vision tower?

An indexed layer keeps the keys of its index beside its own keys and values, one entry a token on every rank. Checked
against vLLM's models/minimax_m3 (nvidia/model.py, common/vision_tower.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from diag.planner.model.architecture import Architecture, Cache, LatentCache, Layer, Weight
from diag.planner.model.families import parts, towers
from diag.planner.model.families.config import Config
from diag.planner.model.families.family import PRE_NORMS, Family, assemble, cache, check, model_prefix, shape_of
from diag.planner.model.families.sparse import FLOAT32, Sparse, sparse_block

EXPERTS = Sparse(
    count="num_local_experts",
    inner="intermediate_size",
    block="block_sparse_moe",
    router_bytes=FLOAT32,
    experts=("w1", "w3", "w2"),
    correction="e_score_correction_bias",
    correction_if="use_routing_bias",
    shared="shared_experts",
    shared_count="n_shared_experts",
)
M3 = Family(
    architectures=("MiniMaxM3ForCausalLM", "MiniMaxM3SparseForCausalLM"),
    qk_norm="head",
    sparse=EXPERTS,
)


def read_minimax_m3(config: Config) -> Architecture:
    check(M3, config)
    count, shape, index = config.count("num_hidden_layers"), shape_of(M3, config), config.sub("sparse_attention_config")
    indexed = index.counts("sparse_attention_freq", length=count)
    routed = config.counts("moe_layer_freq", length=count)
    block = (*parts.attention(shape), *(parts.norm(name, shape.hidden) for name in PRE_NORMS))
    attention = (block, (*block, *_index(index, shape.hidden)))
    dense = parts.mlp("mlp", shape.hidden, config.count("dense_intermediate_size"))
    inner = (dense, sparse_block(EXPERTS, config, shape.hidden))
    kinds = {(i, r): (*attention[i], *inner[r]) for i in (0, 1) for r in (0, 1)}
    keys = LatentCache(dim=index.count("sparse_index_dim"))
    caches: tuple[tuple[Cache, ...], ...] = ((cache(shape, 0),), (cache(shape, 0), keys))
    prefix = model_prefix(config)
    return assemble(
        config,
        M3,
        [
            Layer(prefix=f"{prefix}.layers.{layer}", weights=kinds[i, r], caches=caches[i])
            for layer, (i, r) in enumerate(zip(indexed, routed, strict=True))
        ],
    )


def _index(index: Config, hidden: int) -> Iterator[Weight]:
    """Queries by head, one key; a norm of each. Values of its own it has in no published model."""
    dim, heads = index.count("sparse_index_dim"), index.count("sparse_num_index_heads")
    yield parts.linear("self_attn.index_q_proj", heads * dim, hidden, shard="heads", heads=heads)
    yield parts.linear("self_attn.index_k_proj", dim, hidden)
    yield parts.norm("self_attn.index_q_norm", dim)
    yield parts.norm("self_attn.index_k_norm", dim)


def tower(vision: Config, whole: Config, into_text: int) -> tuple[Weight, ...]:
    """Of CLIP's kind, with patches of several frames; a projector, then an MLP that merges patches."""
    compression = vision.sub("img_token_compression_config")
    hidden, name = vision.count("hidden_size"), "vision_tower.vision_model"
    block, inner = f"{name}.encoder.layers.0", vision.count("intermediate_size")
    projections = ("q_proj", "k_proj", "v_proj", "out_proj")
    weights = (
        *(parts.norm(f"{block}.{norm}", hidden, bias=True) for norm in ("layer_norm1", "layer_norm2")),
        *towers.attention(f"{block}.self_attn", hidden, vision.count("num_attention_heads"), projections, bias=True),
        *towers.fc(f"{block}.mlp", hidden, inner, hidden, names=("fc1", "fc2")),
    )
    frames = {"temporal_patch_size": compression.count("temporal_patch_size", 2)}
    middle = whole.count("projector_hidden_size", into_text)
    merged = into_text * compression.count("spatial_merge_size", 2) ** 2
    both = ("linear_1", "linear_2")
    return towers.tower(
        (
            towers.patches(f"{name}.embeddings.patch_embedding", vision.meaning(frames), hidden),
            parts.norm(f"{name}.pre_layrnorm", hidden, bias=True),
            *towers.blocks(weights, vision.count("num_hidden_layers")),
            *towers.fc("multi_modal_projector", hidden, middle, into_text, names=both),
            *towers.fc("patch_merge_mlp", merged, middle, into_text, names=both),
        )
    )


READERS: Mapping[str, Callable[[Config], Architecture]] = {"minimax_m3": read_minimax_m3}
