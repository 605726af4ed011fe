"""Do the bundled names give the models that were published under them?"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from diag.planner.model import families
from diag.planner.model.catalogue import CATALOGUE, DEFAULT, bundled, expanded, names
from diag.planner.unknown import NotKnown
from tests.planner.write_catalogue import folded, least, published

SHARED = Path(__file__).parents[3] / "shared" / "models"
UNLISTED = {
    f"nvidia/NVIDIA-Nemotron-3-{name}-{form}"
    for name in ("Super-120B-A12B", "Ultra-550B-A55B")
    for form in ("FP8", "NVFP4")
}
"""Their files say what they are quantized to and not which layers."""


@pytest.mark.parametrize("name", names())
def test_every_bundled_model_is_understood(name):
    found = bundled(name)
    assert families.read(found.config, found.hf_quant).layers


def test_the_default_is_bundled():
    assert DEFAULT in names()


def test_the_catalogue_is_small():
    assert len((files("diag.planner.model") / CATALOGUE).read_bytes()) < 64 * 1024


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the published configs lie outside the project")
def test_a_bundled_model_has_the_architecture_of_its_published_config():
    seen = set()
    for name, config, hf_quant in published(SHARED):
        if name in UNLISTED:
            with pytest.raises(NotKnown, match="without a list of modules"):
                families.read(config, hf_quant)
            continue
        found = bundled(name)
        assert families.read(found.config, found.hf_quant) == families.read(config, hf_quant), name
        seen.add(name)
    assert seen == set(names())


def test_names_of_layers_and_repeated_items_are_written_out():
    assert expanded({"ignore": ["layers.{0-2,5}.mlp", "lm_head"]}) == {
        "ignore": ["layers.0.mlp", "layers.1.mlp", "layers.2.mlp", "layers.5.mlp", "lm_head"]
    }
    assert expanded({"layer_types": [["×", 2, "a", "b"], "c"]}) == {"layer_types": ["a", "b", "a", "b", "c"]}


@pytest.mark.parametrize(
    "value",
    [
        ["model.layers.0.mlp", "model.layers.1.mlp", "model.layers.3.mlp", "lm_head"],
        ["a", "a", "a", "b", "a", "a", "a", "b"],
        [0, 0, 0, 1, 1],
        {"layers.0.q": {"quant_algo": "FP8"}, "layers.1.q": {"quant_algo": "FP8"}, "head": {"quant_algo": "NVFP4"}},
    ],
    ids=("names", "a period", "runs", "a format for each"),
)
def test_what_is_folded_unfolds_to_itself(value):
    assert expanded(folded(value)) == value


def test_only_keys_that_the_architecture_follows_from_are_kept():
    row = {**bundled(DEFAULT).config, "rope_theta": 1_000_000, "transformers_version": "4.51.0"}
    assert least(row).keys() == bundled(DEFAULT).config.keys()
