"""Are weights, blocks and printed tokens those of vLLM itself, for every published config, exactly?

What differs is listed with its reason; a row that is listed and does not differ fails too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from diag.planner.model.shards import why_not
from diag.planner.unknown import NotKnown
from tests.planner import oracle

SHIPPED = [(source, row) for source in ("catalogue", "families") for row in oracle.rows(source)]
PUBLISHED = oracle.rows("shared")
ALL_TP = (1, 2, 4, 8)

UNNAMED = "its config names no quantization, so vLLM makes a 16-bit model of what holds FP8"
UNLISTED = "its files say what it is quantized to, not which layers; vLLM, without the files, makes a 16-bit model"
PARTIAL = "parts of experts are not whole blocks of 16: the planner refuses; vLLM creates them and cannot load"
FIRST_STAGE = "recorded of the first stage's layers alone; an engine makes its groups of all of them"

NEMOTRON_3 = [
    f"nvidia__NVIDIA-Nemotron-3-{name}-{form}"
    for name in ("Super-120B-A12B", "Ultra-550B-A55B")
    for form in ("FP8", "NVFP4")
]
OTHER_WEIGHTS: Mapping[str, str] = {
    **{f"Qwen__Qwen3-32B-FP8-Static-PerTensor tp{tp}": UNNAMED for tp in ALL_TP},
    **{f"{name} tp{tp}": UNLISTED for name in NEMOTRON_3 for tp in ALL_TP},
    "nvidia__Gemma-4-26B-A4B-NVFP4 tp8": PARTIAL,
    "nvidia__NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4 tp8": PARTIAL,
    "nvidia__NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4 tp8": PARTIAL,
}
OTHER_KV: Mapping[str, str] = {
    **{f"{name} tp{tp}": UNLISTED for name in NEMOTRON_3 for tp in ALL_TP},
    "google__gemma-4-26B-A4B tp1 pp2": FIRST_STAGE,
    "moonshotai__Kimi-K3 tp1 pp2": FIRST_STAGE,
}


def model_of(row: oracle.Row, source: oracle.Source):
    try:
        return oracle.architecture(row, source)
    except FileNotFoundError:
        pytest.skip("no published configs beside the project")


def weighs_the_same(row: oracle.Row, source: oracle.Source) -> bool:
    model = model_of(row, source)
    return model is not None and oracle.created_bytes(model, row) == row["weights_bytes"]


def is_paged_the_same(row: oracle.Row, source: oracle.Source, version: tuple[int, int] = oracle.VERSION) -> bool:
    """Blocks, their bytes, the tokens that are printed, the concurrency, the bytes of one request."""
    model = model_of(row, source)
    if model is None:
        return False
    _, found = oracle.planned_kv(model, row, version)
    answer = {
        "num_blocks": found.blocks,
        "bytes_per_block": found.bytes_per_block,
        "printed_tokens": found.printed_tokens,
        "max_concurrency": found.max_concurrency,
        "one_request_bytes": found.request_bytes,
    }
    return answer == {key: row.get(key, answer[key]) for key in answer}


def name_of(given) -> str | None:
    return oracle.told(given) if isinstance(given, Mapping) else None


def keeps_something(row: oracle.Row) -> bool:
    return "num_blocks" in row


@pytest.mark.parametrize(("source", "row"), SHIPPED, ids=name_of)
def test_a_rank_weighs_what_vllm_creates(source, row):
    assert weighs_the_same(row, source) != (oracle.told(row) in OTHER_WEIGHTS), OTHER_WEIGHTS.get(oracle.told(row))


@pytest.mark.parametrize(("source", "row"), [one for one in SHIPPED if keeps_something(one[1])], ids=name_of)
def test_the_kv_cache_is_paged_as_vllm_does(source, row):
    assert is_paged_the_same(row, source) != (oracle.told(row) in OTHER_KV), OTHER_KV.get(oracle.told(row))


@pytest.mark.parametrize(
    ("source", "row"), [one for one in SHIPPED if one[1]["pp"] == 1 and keeps_something(one[1])], ids=name_of
)
def test_every_layer_keeps_vllm_s_pages(source, row):
    """Bytes of so many tokens in each layer, before the layers are grouped, and then of each group."""
    model = model_of(row, source)
    if model is None:
        assert oracle.told(row) in OTHER_KV
        return
    layout, _ = oracle.planned_kv(model, row)
    kept = Counter((one.page.block_size, one.page.bytes) for one in layout.kept)
    grouped = Counter((len(group), sum(one.page.bytes for one in group)) for group in layout.groups)
    assert (kept, grouped) == (oracle.recorded_layers(row), oracle.recorded_groups(row))


def alone(row: oracle.Row) -> bool:
    """Of those that 0.33 was asked too."""
    return row["tp"] in {1, 8} and row["pp"] == 1 and not row["ep"] and row["kv_cache_dtype"] == "auto"


NEWER = {oracle.told(row): row for row in oracle.newer_rows()}
ASKED = [NEWER.get(oracle.told(row), row) for row in oracle.rows("catalogue") if alone(row)]


@pytest.mark.parametrize("row", ASKED, ids=oracle.told)
def test_the_kv_cache_is_paged_as_0_33_does(row):
    """Its answers where they differ from those of 0.32; the others are the same."""
    assert is_paged_the_same(row, "catalogue", oracle.NEWER) != (oracle.told(row) in OTHER_KV)


@pytest.mark.parametrize("row", NEWER.values(), ids=oracle.told)
def test_what_is_recorded_of_0_33_is_not_what_0_32_answered(row):
    assert not is_paged_the_same(row, "catalogue")


@pytest.mark.parametrize(("source", "row"), [one for one in SHIPPED if not keeps_something(one[1])], ids=name_of)
def test_an_encoder_keeps_nothing(source, row):
    with pytest.raises(NotKnown, match="an encoder keeps no KV cache"):
        oracle.planned_kv(model_of(row, source), row)


@pytest.mark.parametrize("name", oracle.refused("families"))
def test_a_width_that_vllm_refuses_is_refused_with_its_numbers(name):
    recorded = {row["tp"] for row in oracle.rows("families") if row["config"] == name}
    assert {tp for tp in ALL_TP if why_not(oracle.model(name), tp=tp) is None} == recorded


@pytest.mark.shared
@pytest.mark.parametrize("row", PUBLISHED, ids=oracle.told)
def test_a_rank_of_a_published_config_weighs_what_vllm_creates(row):
    assert weighs_the_same(row, "shared") != (oracle.told(row) in OTHER_WEIGHTS), OTHER_WEIGHTS.get(oracle.told(row))


@pytest.mark.shared
@pytest.mark.parametrize("row", PUBLISHED, ids=oracle.told)
def test_the_kv_cache_of_a_published_config_is_paged_as_vllm_does(row):
    assert is_paged_the_same(row, "shared") != (oracle.told(row) in OTHER_KV), OTHER_KV.get(oracle.told(row))


@pytest.mark.shared
def test_every_published_config_is_recorded_at_four_widths_or_refused_by_vllm():
    if not oracle.SHARED.exists():
        pytest.skip("no published configs beside the project")
    names = {path.name.removesuffix("_config.json") for path in oracle.SHARED.glob("*_config.json")}
    recorded = {(row["config"], row["tp"]) for row in PUBLISHED if row["kv_cache_dtype"] == "auto" and row["pp"] == 1}
    configs = {name for name in names if not name.endswith("_hf_quant")}
    unrecorded = {name for name in configs if not {(name, tp) for tp in ALL_TP} <= recorded}
    assert unrecorded == set(oracle.refused("shared"))


def test_every_listed_row_is_recorded():
    assert set(OTHER_WEIGHTS) | set(OTHER_KV) <= {oracle.told(row) for row in PUBLISHED}
