"""Which wrappers put a vision tower before a language model?

The language model is read by its own reader, from ``text_config`` or, in older configs, from the keys beside
``vision_config``; the tower stands before it. Audio towers are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from diag.planner.model.architecture import Architecture, Weight
from diag.planner.model.families import decoder, gemma4, minimax_m3, towers, windows
from diag.planner.model.families.config import Config
from diag.planner.unknown import NotKnown

TEXT_READERS: Mapping[str, Callable[[Config], Architecture]] = {
    **decoder.READERS,
    **windows.READERS,
    **gemma4.READERS,
    **minimax_m3.READERS,
}
LLAMA4_VISION = {
    "hidden_size": 768,
    "num_hidden_layers": 34,
    "num_attention_heads": 16,
    "intermediate_size": 5632,
    "vision_output_dim": 7680,
    "image_size": 448,
    "patch_size": 14,
    "projector_input_dim": 4096,
    "projector_output_dim": 4096,
}
PIXTRAL = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
QWEN2_5_VISION = {"depth": 32, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14, "temporal_patch_size": 2}


class Wrapper(msgspec.Struct, frozen=True, kw_only=True):
    architecture: str
    text_types: tuple[str, ...]
    """What ``text_config`` can be; the first where it does not say."""
    tower: Callable[[Config, Config, int], tuple[Weight, ...]]
    """From ``vision_config``, the whole config and the width of the text."""
    vision: Mapping[str, Any] = {}
    """What ``vision_config`` means by keys that it leaves out."""
    defaults: Mapping[str, Any] = {}
    """What the whole config means by keys that it leaves out."""


WRAPPERS: Mapping[str, Wrapper] = {
    "qwen2_vl": Wrapper(
        architecture="Qwen2VLForConditionalGeneration",
        text_types=("qwen2_vl_text",),
        tower=lambda vision, _whole, into_text: towers.qwen2_vl(vision, into_text),
        vision={"depth": 32, "num_heads": 16, "patch_size": 14, "temporal_patch_size": 2, "mlp_ratio": 4},
    ),
    "qwen2_5_vl": Wrapper(
        architecture="Qwen2_5_VLForConditionalGeneration",
        text_types=("qwen2_5_vl_text",),
        tower=lambda vision, _whole, into_text: towers.qwen2_5_vl(vision, into_text),
        vision=QWEN2_5_VISION,
    ),
    "qwen3_vl": Wrapper(
        architecture="Qwen3VLForConditionalGeneration",
        text_types=("qwen3_vl_text",),
        tower=lambda vision, _whole, into_text: towers.qwen3_vl(vision, into_text),
    ),
    "qwen3_vl_moe": Wrapper(
        architecture="Qwen3VLMoeForConditionalGeneration",
        text_types=("qwen3_vl_moe_text",),
        tower=lambda vision, _whole, into_text: towers.qwen3_vl(vision, into_text),
    ),
    "gemma3": Wrapper(
        architecture="Gemma3ForConditionalGeneration",
        text_types=("gemma3_text",),
        tower=lambda vision, _whole, into_text: towers.siglip(vision, into_text),
        defaults={"tie_word_embeddings": True},
    ),
    "gemma4": Wrapper(
        architecture="Gemma4ForConditionalGeneration",
        text_types=("gemma4_text",),
        tower=lambda vision, _whole, into_text: towers.gemma4(vision, into_text),
    ),
    "llama4": Wrapper(
        architecture="Llama4ForConditionalGeneration",
        text_types=("llama4_text",),
        tower=lambda vision, _whole, into_text: towers.llama4(vision, into_text),
        vision=LLAMA4_VISION,
        defaults={"vision_config": {}},
    ),
    "mistral3": Wrapper(
        architecture="Mistral3ForConditionalGeneration",
        text_types=("mistral", "ministral3"),
        tower=towers.pixtral,
        vision=PIXTRAL,
    ),
    "minimax_m3_vl": Wrapper(
        architecture="MiniMaxM3SparseForConditionalGeneration",
        text_types=("minimax_m3",),
        tower=minimax_m3.tower,
    ),
}


def read(wrapper: Wrapper, config: Config) -> Architecture:
    whole = config.meaning(wrapper.defaults)
    name = whole.architecture(wrapper.architecture)
    if name != wrapper.architecture:
        raise NotKnown(f"architectures {name!r} of model_type {whole.text('model_type')}: knows {wrapper.architecture}")
    if whole.get("audio_config"):
        raise NotKnown("audio_config: the weights of an audio tower")
    text = _text(wrapper, whole)
    architecture = TEXT_READERS[text.text("model_type")](text)
    vision = whole.sub("vision_config").meaning(wrapper.vision)
    tower = wrapper.tower(vision, whole, architecture.hidden)
    deep = len(vision.list("deepstack_visual_indexes", ()))
    width = architecture.hidden * (1 + deep) if deep else 0
    return msgspec.structs.replace(architecture, first=(*tower, *architecture.first), vision=True, image_width=width)


def _text(wrapper: Wrapper, whole: Config) -> Config:
    text = whole.sub("text_config") if whole.has("text_config") else Config(whole.raw, outer=whole)
    found = text.text("model_type", wrapper.text_types[0]) if whole.has("text_config") else wrapper.text_types[0]
    if found not in wrapper.text_types:
        raise text.bad("model_type", " or ".join(wrapper.text_types))
    return Config({**text.raw, "model_type": found}, where=text.where, outer=whole)


READERS: Mapping[str, Callable[[Config], Architecture]] = {
    model_type: partial(read, wrapper) for model_type, wrapper in WRAPPERS.items()
}
