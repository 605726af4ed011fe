"""What did vLLM 0.32 itself answer to published configs, and what does the planner say to the same?

Recorded on a machine without a GPU, with vLLM told that it has H100s: the parameters that rank 0 creates, and what its
KV planner makes of 40 GiB.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.split import Split
from diag.planner.memory.paging.versions import vllm_paging
from diag.planner.memory.paging.vllm import Layout, layout, paged
from diag.planner.model import catalogue
from diag.planner.model.architecture import Architecture, AttentionCache, LatentCache, Layer, Weight
from diag.planner.model.catalogue import Bundled
from diag.planner.model.families import read
from diag.planner.model.formats.held import Loader, held
from diag.planner.model.shards import rank_weight_bytes, stage_layers, why_not
from diag.planner.unknown import NotKnown

RECORDED = Path(__file__).parents[1] / "data" / "planner"
SHARED = Path(__file__).parents[3] / "shared" / "models"
VERSION, NEWER = (0, 32), (0, 33)
WITHOUT_TRITON = Loader(engine="vllm", version="0.32.0", capability=80)
"""Without a GPU it finds no Triton kernels for MXFP4, and takes Marlin, which it takes on an A100 too."""

Row = Mapping[str, Any]
Source = Literal["catalogue", "families", "shared"]
"""Of a config: what diag ships; what ``tests/data`` holds of other families; as published, beside the project."""


@cache
def rows(source: Source) -> tuple[Row, ...]:
    """Of the configs that there are; of those beside the project also where they are missing."""
    recorded = _answers(source)
    found = ({"pp": 1, "ep": False, **recorded["defaults"], **row} for row in recorded["rows"])
    return tuple(row for row in found if source != "catalogue" or _published(row["config"]) in catalogue.names())


@cache
def newer_rows() -> tuple[Row, ...]:
    """What 0.33 answered to the same configs at TP 1 and 8, where it is not what 0.32 did."""
    recorded = _json(RECORDED / "vllm-0.33.json") or {}
    return tuple({"pp": 1, "ep": False, **recorded["defaults"], **row} for row in recorded["rows"])


def refused(source: Source) -> Mapping[str, str]:
    """Configs that this vLLM refused at some or all widths, and how."""
    found: Mapping[str, str] = _answers(source)["not_loaded"]
    return found


def told(row: Row) -> str:
    """``Qwen__Qwen3-8B tp4``, ``… tp1 pp2``, ``… tp8 ep``, ``… tp8 fp8``."""
    parts = [row["config"], f"tp{row['tp']}"]
    parts += [f"pp{row['pp']}"] if row["pp"] > 1 else []
    parts += ["ep"] if row["ep"] else []
    parts += [row["kv_cache_dtype"]] if row["kv_cache_dtype"] != "auto" else []
    return " ".join(parts)


def architecture(row: Row, source: Source) -> Architecture | None:
    """None: the planner refuses it. Raises FileNotFoundError."""
    return _read(row["config"], source, adapted=bool(row.get("adapted")))


def model(name: str) -> Architecture:
    """Of the other families."""
    found = _read(name, "families", adapted=False)
    assert found is not None
    return found


@cache
def _read(name: str, source: Source, *, adapted: bool) -> Architecture | None:
    found = files(name, source)
    if found is None:
        raise FileNotFoundError(name)
    if adapted and name == "MiniMaxAI__MiniMax-M3":
        found = Bundled(config=_in_wrapper(found.config, source), hf_quant=None)
    try:
        return read(found.config, found.hf_quant)
    except NotKnown:
        return None


@cache
def files(name: str, source: Source) -> Bundled | None:
    """``config.json`` and what may lie beside it; None: they are not there."""
    if source == "catalogue":
        return catalogue.bundled(_published(name))
    if source == "families":
        return Bundled(config=(_json(RECORDED / "families.json") or {})[name], hf_quant=None)
    config = _json(SHARED / f"{name}_config.json")
    return Bundled(config=config, hf_quant=_json(SHARED / f"{name}_hf_quant_config.json")) if config else None


def _in_wrapper(text: Mapping[str, Any], source: Source) -> Mapping[str, Any]:
    """vLLM knows this text model only inside the wrapper that its quantized form was published with."""
    around = files("nvidia__MiniMax-M3-NVFP4", source)
    outer = {key: value for key, value in around.config.items() if key != "quantization_config"} if around else {}
    return {**outer, "text_config": {**text, "architectures": ["MiniMaxM3SparseForCausalLM"]}}


def _published(name: str) -> str:
    return name.replace("__", "/", 1)


def created_bytes(model: Architecture, row: Row) -> int | None:
    """Of the parameters that vLLM creates on rank 0, before it loads; None: the planner refuses this split."""
    ep = row["tp"] if row["ep"] else 1
    if why_not(model, tp=row["tp"], pp=row["pp"], ep=ep, refines=True):
        return None
    if model.quantization and model.quantization.method == "mxfp4":
        model = held(model, WITHOUT_TRITON)
    return rank_weight_bytes(model, tp=row["tp"], pp=row["pp"], ep=ep) + sum(_dropped(model, row))


SCALES = 4 * 2
"""Of queries, keys, values and probabilities, each a number of 16 bit in every layer that attends."""
SHAPES = 2 * 4
"""Of the two merged matrices of an expert, each two numbers of 16 bit."""
INPUT_SCALE = 4 - 2
"""The planner counts one of 32 bit for a linear layer of 4-bit weights alone, vLLM creates one of 16."""


def _dropped(model: Architecture, row: Row) -> Iterator[int]:
    """Bytes of places that vLLM makes for what a checkpoint might hold and drops when it has loaded."""
    for layer in model.layers[: stage_layers(len(model.layers), row["pp"])[0]]:
        if _has_scales(model, layer, row):
            yield SCALES
        if any(weight.expert and weight.format and weight.format.name == "int4_weights" for weight in layer.weights):
            yield SHAPES * model.experts // (row["tp"] if row["ep"] else 1)
        yield from (-INPUT_SCALE for _ in filter(_weights_alone, layer.weights))
    yield from (-INPUT_SCALE for _ in filter(_weights_alone, model.last))


def _has_scales(model: Architecture, layer: Layer, row: Row) -> bool:
    """``fp8`` makes them beside keys and values, modelopt beside latent entries too, mixed where a scheme is named."""
    kept = layer.caches[0] if layer.caches else None
    if model.quantization is None or not isinstance(kept, (AttentionCache, LatentCache)):
        return False
    method = model.quantization.method
    if method == "modelopt_mixed":
        return row["config"] in SCHEMES
    return method.startswith("modelopt") or (method == "fp8" and isinstance(kept, AttentionCache))


SCHEMES = ("nvidia__Qwen3.6-27B-NVFP4",)
"""Mixed checkpoints whose ``config.json`` has a ``kv_cache_scheme``."""


def _weights_alone(weight: Weight) -> bool:
    return weight.format is not None and weight.format.name == "nvfp4a16" and not weight.expert


def planned_kv(model: Architecture, row: Row, version: tuple[int, int] = VERSION) -> tuple[Layout, Paged]:
    settings = Settings(
        rules=vllm_paging(version),
        max_model_len=row["max_model_len"],
        max_num_batched_tokens=row["max_num_batched_tokens"],
        kv_cache_dtype=row["kv_cache_dtype"],
        compute_capability=(10, 0) if row["platform"].startswith("cuda:100") else (9, 0),
    )
    found = layout(model, Split(tp=row["tp"], pp=row["pp"]), settings)
    return found, paged(found, 40 * 2**30)


def recorded_layers(row: Row) -> Counter[tuple[int, int]]:
    """How many layers keep pages of so many tokens and bytes."""
    found: Counter[tuple[int, int]] = Counter()
    for spec in row["kv_specs"]:
        found[spec["block_size"], spec["page_size_bytes"]] += spec["layers"]
    return found


def recorded_groups(row: Row) -> Counter[tuple[int, int]]:
    """How many groups have so many layers and bytes a block; a group of unlike layers says its bytes at once."""
    found: Counter[tuple[int, int]] = Counter()
    for group in row["groups"]:
        whole = group["page"] * (1 if group["kind"].startswith("Uniform") else group["layers"])
        found[group["layers"], whole] += group.get("count", 1)
    return found


def _answers(source: Source) -> Mapping[str, Any]:
    return _json(RECORDED / ("vllm-families.json" if source == "families" else "vllm-oracle.json")) or {}


@cache
def _json(path: Path) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return found
