"""Does Ollama get a plan by its environment, and the context that it takes by itself?"""

from __future__ import annotations

import pytest

from diag.engines import ollama
from diag.units import GIB
from tests.engines.plans import TWO_NODES, planned


def test_a_plan_is_the_server_s_environment():
    given = planned(max_model_len=32768, max_num_seqs=4, kv_cache_dtype="int8")
    recipe, why = ollama.recipe(given, ollama.rules("0.33.0"))
    assert recipe.argv == ("ollama", "serve")
    assert recipe.env == {
        "OLLAMA_CONTEXT_LENGTH": "32768", "OLLAMA_NUM_PARALLEL": "4", "OLLAMA_KV_CACHE_TYPE": "q8_0",
        "OLLAMA_FLASH_ATTENTION": "1",
    }  # fmt: skip
    assert set(recipe.env) <= set(why)


def test_a_cache_in_16_bit_needs_no_flash_attention():
    recipe, _ = ollama.recipe(planned(kv_cache_dtype="auto"), ollama.rules(None))
    assert recipe.env == {"OLLAMA_KV_CACHE_TYPE": "f16"}


def test_a_file_gets_a_name_first():
    _, why = ollama.recipe(planned(model="/models/a.gguf"), ollama.rules(None))
    assert "echo FROM /models/a.gguf > Modelfile; ollama create NAME -f Modelfile" in why["recipe"]
    assert "recipe.import" not in why


def test_what_is_no_gguf_file_has_to_be_imported():
    _, why = ollama.recipe(planned(model="Qwen/Qwen3-8B"), ollama.rules(None))
    assert "ollama serves GGUF files: Qwen/Qwen3-8B has to be imported" in why["recipe.import"]
    assert "ollama create NAME -f Modelfile" in why["recipe.import"]
    assert not any("ollama run Qwen" in line for line in why.values())  # no such name is there yet


def test_whole_copies_are_servers_of_their_own():
    _, why = ollama.recipe(planned(data_parallel_size=8), ollama.rules(None))
    assert "OLLAMA_HOST" in why["recipe.data_parallel_size"]


def test_several_nodes_are_refused():
    recipe, why = ollama.recipe(planned(TWO_NODES), ollama.rules(None))
    assert recipe.argv == ()
    assert "one node" in why["recipe"]


@pytest.mark.parametrize(("total_gib", "length"), [(80, 262144), (47, 262144), (46, 32768), (24, 32768), (16, 4096)])
def test_the_context_follows_memory(total_gib, length):
    assert ollama.default_context(total_gib * GIB) == length
