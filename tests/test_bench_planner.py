"""Does the replay of logged start-ups count the right rows, and does it say when a bar is missed?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "planner.py"
SHAPE = {
    "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": False,
}  # fmt: skip
BYTES_PER_TOKEN = 2 * 32 * 8 * 128 * 2
TOKENS = int(10 * 2**30 / BYTES_PER_TOKEN)
ROW = {
    "id": "r1", "url": "somewhere", "engine": "vllm", "engine_version": "0.11.0", "engine_gen": "V1", "tp": 1,
    "model_shape": "meta-llama/Llama-3.1-8B", "shape": SHAPE, "gpu_total_gib": 79.2, "util": 0.9,
    "max_model_len": 8192, "kv_avail_gib": 10.0, "kv_tokens": TOKENS, "outcome": "started",
}  # fmt: skip


def replayed(folder: Path, *rows: dict[str, object]) -> subprocess.CompletedProcess[str]:
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run(folder)


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"DIAG_PLANNER_CASES": str(folder), "PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, str(BENCH)], capture_output=True, text=True, env=environment, check=False)


def figures(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, object]]:
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_an_absent_folder_is_said_in_one_line(tmp_path):
    done = run(tmp_path / "nowhere")
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert "no logged start-ups" in done.stdout


def test_tokens_follow_from_the_logged_kv_memory(tmp_path):
    figure = figures(replayed(tmp_path, ROW))["planner_kv_tokens_logged_median"]
    assert figure["runs"] == 1
    assert figure["value"] == pytest.approx(0, abs=0.1)
    assert figure["against"] == "bar 2 %, met"


def test_there_is_no_p90_of_fewer_than_20_rows(tmp_path):
    assert "planner_kv_tokens_logged_p90" not in figures(replayed(tmp_path, ROW))


def test_a_missed_bar_is_named_and_ends_with_1(tmp_path):
    done = replayed(tmp_path, ROW | {"kv_tokens": TOKENS // 2})
    assert done.returncode == 1
    assert "kv_tokens_logged_median" in done.stderr.splitlines()[-1]


def test_a_row_without_a_shape_is_counted_as_left_out(tmp_path):
    without = {key: value for key, value in ROW.items() if key != "shape"}
    done = replayed(tmp_path, ROW, without | {"id": "r2"})
    assert "2 rows; 1 count" in done.stderr
    assert "1 do not: no shape (r2)" in done.stderr


def test_what_is_not_logged_is_told_as_assumed(tmp_path):
    without = {key: value for key, value in ROW.items() if key != "util"}
    assert "1 assume utilisation: the version's" in replayed(tmp_path, without).stderr


def test_a_row_whose_own_log_refutes_what_is_assumed_of_it_is_not_replayed_as_before_the_start(tmp_path):
    """15 GiB of 16-bit weights and 60 of KV cache are more than 0.9 of 79: it was another format."""
    done = replayed(tmp_path, ROW | {"kv_avail_gib": 60.0, "kv_tokens": 6 * TOKENS})
    assert "r1 75.0 GiB of weights and logged KV cache in 71.3 GiB refute the assumed format" in done.stderr
    assert figures(done)["planner_started_called_RISKY"]["runs"] == 0
    assert figures(done)["planner_kv_tokens_logged_median"]["runs"] == 1


def test_a_row_that_ran_out_of_memory_is_not_refuted_by_it(tmp_path):
    done = replayed(tmp_path, ROW | {"kv_avail_gib": 60.0, "outcome": "OOM", "gpu": "H100"})
    assert "refute" not in done.stderr
    assert figures(done)["planner_oom_called_FITS"]["runs"] == 1


def test_blocks_told_before_the_memory_ran_out_are_what_was_left(tmp_path):
    blocks = {key: value for key, value in ROW.items() if key not in {"kv_avail_gib", "kv_tokens", "engine_version"}}
    oom = {"engine_gen": "V0", "gpu_blocks": 100, "block_size": 16, "outcome": "OOM", "gpu": "H100"}
    found = figures(replayed(tmp_path, blocks | oom))
    assert found["planner_oom_called_NO"]["value"] == 100
    assert found["planner_oom_before_the_start_called_NO"]["value"] == 0
