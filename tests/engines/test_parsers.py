"""Do the engines' own parsers take what is emitted? Their recorded flags, and the parsers where they are installed.

``DIAG_ENGINES`` names a folder with an environment for each engine (``vllm``, ``sglang``, ``lmdeploy``), as the set-up
script beside the recorded flags builds them.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.engines.plans import EVERY, EXPERTS, TWO_NODES, argv, planned

SHARED = Path(__file__).parents[3] / "shared"
DUMPS = [("vllm", "0.32"), ("vllm", "0.33"), ("sglang", "0.5.23"), ("lmdeploy", "0.18")]
INSTALLED = {"vllm": "0.32", "sglang": "0.5.23", "lmdeploy": "0.18"}
"""The versions that the environments hold."""
DRAFTS: list[dict[str, Any]] = [
    {"speculative_method": "mtp"},
    {"speculative_method": "ngram"},
    {"speculative_method": "eagle3", "speculative_model": "org/Head-1B"},
]
SERVES_ONE_STAGE = {"lmdeploy"}


def commands(engine: str, version: str) -> list[list[str]]:
    """With every parameter, with experts, several cache dtypes and, where it can, over two nodes."""
    every: dict[str, Any] = EVERY | ({"pipeline_parallel_size": 1} if engine in SERVES_ONE_STAGE else {})
    experts = {**EXPERTS, "max_num_seqs": 64, "max_num_batched_tokens": 4096}
    dtypes = [
        {"kv_cache_dtype": name} for name in ("auto", "fp8", "fp8_e5m2", *(["bfloat16"] * (engine != "lmdeploy")))
    ]
    found = [argv(engine, version, **parameters) for parameters in (every, experts, *dtypes)]
    if engine != "lmdeploy":
        found += [argv(engine, version, num_speculative_tokens=3, max_num_seqs=64, **draft) for draft in DRAFTS]
        found.append(argv(engine, version, tensor_parallel_size=8, decode_context_parallel_size=2))
    if engine == "lmdeploy":
        found.append(argv(engine, version, **every, data_parallel_size=4, backend="turbomind"))
    return [*found, argv(engine, version, planned(TWO_NODES, tensor_parallel_size=16, max_model_len=8192))]


def emitted(engine: str, version: str) -> dict[str, str | None]:
    """Flags of all those commands."""
    words = [[*command, "--"] for command in commands(engine, version)]
    pairs = [pair for command in words for pair in pairwise(command)]
    return {name: None if value.startswith("--") else value for name, value in pairs if name.startswith("--")}


def dump(engine: str, version: str) -> dict[str, dict[str, Any]]:
    path = SHARED / "flags" / f"{engine}-{version}.json"
    if not path.exists():
        pytest.skip(f"no recorded flags beside the project: {path.name}")
    return {flag["name"]: flag for flag in json.loads(path.read_text())["flags"]}


@pytest.mark.shared
@pytest.mark.parametrize(("engine", "version"), DUMPS)
def test_every_flag_is_one_that_the_engine_lists_and_has_not_deprecated(engine, version):
    listed, found = dump(engine, version), emitted(engine, version)
    assert found.keys() <= listed.keys()
    assert not [name for name in found if listed[name].get("deprecated")]
    assert len(found) >= 10


@pytest.mark.shared
@pytest.mark.parametrize(("engine", "version"), DUMPS)
def test_a_flag_has_a_value_exactly_where_it_takes_one(engine, version):
    listed = dump(engine, version)
    for name, value in emitted(engine, version).items():
        assert (value is None) == (listed[name]["type"] == "flag"), name
        assert value in listed[name].get("choices", [value]), name


@pytest.mark.shared
@pytest.mark.parametrize("engine", INSTALLED)
def test_the_installed_engine_s_parser_takes_every_command(engine):
    python = Path(os.environ.get("DIAG_ENGINES", "/nonexistent")) / engine / "bin" / "python"
    script = SHARED / "oracles" / f"{engine}_args.py"
    if not python.exists() or not script.exists():
        pytest.skip(f"DIAG_ENGINES names no environment of {engine}")
    lines = [shlex.join(command) for command in commands(engine, INSTALLED[engine]) if command]
    settings = os.environ | {"SG_STUB": "1", "VLLM_TARGET_DEVICE": "cpu"}
    done = subprocess.run(
        [python, script, "check"], input="\n".join(lines), env=settings, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(answers) == len(lines), done.stderr[-2000:]
    assert not [answer for answer in answers if not answer["accepted"] or answer["abbreviated"]]
