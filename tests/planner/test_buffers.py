"""What TurboMind allocates of fixed size, by hand, and when it counts."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from diag.engines import lmdeploy
from diag.planner.deployment import Deployment
from diag.planner.memory.batch import Batch
from diag.planner.memory.startup import start
from diag.planner.model import families
from diag.planner.rules import EngineRules
from diag.units import GIB
from tests.planner.families.published import GLM_47_FLASH
from tests.planner.test_startup import LLAMA_8B, a_start

MIB = 2**20
BATCH = Batch(max_num_seqs=64, max_num_batched_tokens=8192)
PARTS = 4096 * 32 * 128 * 4
"""Of an attention that is split over the tokens, on one rank."""


def turbomind(version: str) -> EngineRules:
    found = lmdeploy.rules(version).other
    assert found is not None
    return found


def started(version: str, **changes: object):
    return start(a_start(rules=turbomind(version), batch=BATCH, max_model_len=8192, **changes))


def test_token_ids_and_block_pointers_of_every_request_are_counted():
    """4 bytes a token, and 8 for each 64 of them in each of two phases."""
    assert started("0.18.0").terms.kept.mid == 64 * 8192 * 4 + 2 * 64 * 128 * 8 + PARTS + 65 * MIB


def test_before_0_12_ids_were_held_five_times_and_logits_twice():
    tokens, words = 64 * 8192 * 20 + 64 * 128 * 8, 64 * 128_256 * 6
    assert started("0.11.0").terms.kept.mid == tokens + words + PARTS + 65 * MIB


def test_several_ranks_exchange_hidden_states_of_a_whole_batch():
    kept = started("0.18.0", deployment=Deployment(tp=4)).terms.kept.mid
    assert kept == 64 * 8192 * 4.25 + (8192 + 64) * 4096 * 2 + PARTS // 4 + 65 * MIB


def test_a_request_s_keys_and_values_are_copied_for_a_prompt():
    """One layer's, beside what the forward pass needs anyway: 2 · 8 · 128 elements a token."""
    short, long = (start(a_start(rules=turbomind("0.18.0"), batch=BATCH, max_model_len=n)) for n in (8192, 131_072))
    assert long.terms.forward.mid - short.terms.forward.mid == 2 * 8 * 128 * 2 * (131_072 - 8192)


@pytest.mark.parametrize(("version", "before"), [("0.11.0", False), ("0.14.0", True), ("0.18.0", False)])
def test_the_fraction_is_of_what_they_leave_where_they_are_there_first(version, before):
    outcome = started(version, utilization=0.5)
    terms, weights = outcome.terms, outcome.memory.weights_bytes.mid
    assert weights is not None
    left = 80 * GIB - terms.context.mid - terms.fragmentation.mid - weights
    assert outcome.memory.kv_cache_bytes.mid == int(0.5 * (left - (terms.kept.mid if before else 0)))


def test_positions_of_vision_models_were_of_the_whole_context():
    model = replace(families.read(LLAMA_8B), name="Qwen2_5_VLForConditionalGeneration")
    more = started("0.12.3", architecture=model).terms.kept.mid - started("0.12.3").terms.kept.mid
    assert more == 64 * 8192 * 2 * 3 * 4
    assert started("0.18.0", architecture=model).terms.kept.mid == started("0.18.0").terms.kept.mid


def test_heads_of_latent_attention_are_as_wide_as_its_entry():
    model = families.read(GLM_47_FLASH)
    assert started("0.18.0", architecture=model).terms.kept.mid == 64 * 8192 * 4.25 + 4096 * 20 * 576 * 4 + 65 * MIB


def test_no_graphs_are_captured():
    assert started("0.18.0").memory.cuda_graph_bytes.high == 0
