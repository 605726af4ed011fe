"""Changes that make the checks of checks/model.py fail."""

from __future__ import annotations

from tests.checks.changes import (
    config,
    having,
    item,
    named,
    on,
    without,
)
from tests.checks.machines import MODEL
from tests.checks.pair import two

A_FILE = "model-00003-of-00017.safetensors"

PAIRS = (
    two("model_exists", on("gpu02", model=having(exists=False, files=())), f"no {MODEL} on gpu02"),
    two(
        "model_has_all_its_files",
        on("gpu02", model=having(missing_shards=(A_FILE,), files=without(named(A_FILE)))),
        A_FILE,
    ),
    two(
        "model_files_are_whole",
        on("gpu02", model=having(files=item(named(A_FILE), having(size_bytes=134, problem="git-lfs pointer")))),
        "git-lfs",
    ),
    two(
        "model_is_the_same_on_all_nodes",
        on("gpu02", model=having(digest="0" * 64, files=item(named("config.json"), having(sha256="cd" * 32)))),
        "config.json: not as on gpu01",
    ),
    two(
        "model_config_names_an_architecture",
        on("gpu02", model=having(config_json=config(architectures=None))),
        "architectures None",
    ),
    two("model_config_names_an_architecture", on("gpu02", model=having(config_json="{")), "no JSON"),
    two(
        "model_needs_no_code_of_its_own",
        on("gpu02", model=having(config_json=config(auto_map={"AutoModel": "m.M"}))),
        "auto_map",
    ),
    two(
        "transformers_is_as_new_as_the_model",
        on("gpu02", model=having(config_json=config(transformers_version="5.0.0"))),
        "4.57.1",
    ),
    two("gpus_compute_in_bfloat16", on("gpu02", gpus=item(0, having(compute_capability="7.5"))), "gpu:0"),
    two(
        "gpus_compute_in_fp8",
        on("gpu02", gpus=item(0, having(compute_capability="8.0"))),
        "8.0",
        given=on("*", model=having(config_json=config(quantization_config={"quant_method": "fp8"}))),
    ),
)
