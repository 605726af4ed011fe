"""Which decoders have multi-head latent attention in every layer?

DeepSeek V2, V3, R1, V3.1 and V3.2, Kimi K2 and K2.5, GLM-5 and GLM-4.7-Flash: a few dense layers, then routed experts
with shared ones. A correction of the router's scores exists where ``topk_method`` is noaux_tc. Checked against vLLM's
deepseek_v2.py, models/deepseek_v32, glm4_moe_lite.py and kimi_k25.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.families import parts, sparse
from diag.planner.model.families.config import Config
from diag.planner.model.families.mla import (
    FLOAT32,
    has_own_indexer,
    indexer,
    indexer_weights,
    latent_cache,
    mla,
    mla_weights,
)
from diag.planner.model.families.moonvit import moonvit
from diag.planner.model.families.sparse import Sparse
from diag.planner.model.families.whole import Around, Names, whole
from diag.planner.unknown import NotKnown

CORRECTED = "noaux_tc"
TEXT_OF_KIMI = ("kimi_k2", "deepseek_v3")


def dense_first(config: Config, layer: int) -> bool:
    """Whether a layer has routed experts: ``mlp_layer_types`` says so, or the layers behind the dense ones."""
    if config.has("mlp_layer_types"):
        kinds = config.list("mlp_layer_types")
        if layer >= len(kinds) or kinds[layer] not in {"dense", "sparse"}:
            raise config.bad("mlp_layer_types", f"dense or sparse for layer {layer}")
        return bool(kinds[layer] == "sparse")
    return sparse.after_the_dense(config, layer) and layer % config.count("moe_layer_freq", 1) == 0


def experts_of(config: Config, *, router_bytes: float | None = None, corrected: bool) -> Sparse:
    return Sparse(
        count="n_routed_experts",
        layers=dense_first,
        router_bytes=router_bytes,
        correction="gate.e_score_correction_bias" if corrected else "",
        shared="shared_experts" if config.has("n_shared_experts") else "",
        shared_count="n_shared_experts",
    )


def read_deepseek(config: Config) -> Architecture:
    return _read(config, Names())


def read_glm_lite(config: Config) -> Architecture:
    """GLM-4.7-Flash: its router is float32."""
    return _read(config, Names(), experts_of(config, router_bytes=FLOAT32, corrected=True))


def read_kimi(config: Config) -> Architecture:
    """A DeepSeek V3 behind a vision tower."""
    text = config.sub("text_config")
    kind = text.text("model_type")
    if kind not in TEXT_OF_KIMI:
        raise text.bad("model_type", " or ".join(TEXT_OF_KIMI))
    names = Names(model="language_model.model", head="language_model.lm_head")
    tower = moonvit(config.sub("vision_config"), text.count("hidden_size"))
    return _read(text, names, first=tower)


def _read(config: Config, names: Names, experts: Sparse | None = None, first: tuple[Weight, ...] = ()) -> Architecture:
    if not config.has("kv_lora_rank"):
        raise NotKnown(f"model_type {config.text('model_type')} without kv_lora_rank: attention of another kind")
    experts = experts or experts_of(config, corrected=config.get("topk_method") == CORRECTED)
    count = config.count("n_routed_experts", 0, least=0)
    return whole(
        config,
        _layers(config, experts if count else None, f"{names.model}.layers"),
        names,
        Around(
            first=first,
            vision=bool(first),
            experts=count,
            experts_per_token=config.count("num_experts_per_tok") if count else 0,
        ),
    )


def _layers(config: Config, experts: Sparse | None, prefix: str) -> Iterator[Layer]:
    """``experts`` None: all layers are dense. Layers of a kind share their weights."""
    shape, index = mla(config), indexer(config)
    if index and not shape.q_rank:
        raise NotKnown("an indexer without q_lora_rank: what it reads its queries from is not known")
    inner = {
        False: parts.mlp("mlp", shape.hidden, config.count("intermediate_size")),
        True: sparse.sparse_block(experts, config, shape.hidden) if experts else (),
    }
    chooses = {False: (), True: indexer_weights(shape, index) if index else ()}
    weights = {
        (own, routed): (*mla_weights(shape), *chooses[own], *inner[routed], *_norms(shape.hidden))
        for own in chooses
        for routed in inner
    }
    for layer in range(config.count("num_hidden_layers")):
        own = index is not None and has_own_indexer(config, layer)
        routed = experts is not None and experts.layers(config, layer)
        cache = latent_cache(shape, index if own else None, sparse=index is not None)
        yield Layer(prefix=f"{prefix}.{layer}", weights=weights[own, routed], caches=(cache,))


def _norms(hidden: int) -> tuple[Weight, Weight]:
    return parts.norm("input_layernorm", hidden), parts.norm("post_attention_layernorm", hidden)


READERS: Mapping[str, Callable[[Config], Architecture]] = {
    "deepseek_v2": read_deepseek,
    "deepseek_v3": read_deepseek,
    "deepseek_v32": read_deepseek,
    "kimi_k2": read_deepseek,
    "glm_moe_dsa": read_deepseek,
    "glm4_moe_lite": read_glm_lite,
    "kimi_k25": read_kimi,
}
