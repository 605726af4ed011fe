"""Does a real vLLM, started on CPUs with the planned command, print what the plan says it will?

``DIAG_ENGINES`` names a folder with an environment for each engine; here ``vllm`` is to be a build for CPUs. The models
are tiny, their weights are made up by the engine; blocks, tokens and requests follow from their config alone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diag.engines import plan_launch
from diag.facts.plan import Plan
from tests.planner.clusters import cpu_node, snapshot

AVAILABLE_GIB = 6
"""Said of the node: 1 GiB is left for the KV cache, so that any machine that can start the engine will do."""
READY_S, ENDED_S = 240, 20
MOST_S = READY_S + 2 * ENDED_S
"""Of a server, whatever becomes of the test."""

_TINY = {"vocab_size": 1024, "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8, "head_dim": 32,
         "max_position_embeddings": 16384, "torch_dtype": "bfloat16", "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
         "hidden_act": "silu", "rope_theta": 10000.0, "bos_token_id": 0, "eos_token_id": 1}  # fmt: skip
_LATENT = {"kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
           "num_key_value_heads": 8, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1,
           "moe_intermediate_size": 64, "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1,
           "topk_method": "greedy", "scoring_func": "softmax", "norm_topk_prob": False,
           "routed_scaling_factor": 1.0}  # fmt: skip

_SPARSE = _LATENT | {"q_lora_rank": 64, "index_n_heads": 4, "index_head_dim": 128, "index_topk": 64}


def tiny(model_type: str, name: str, layers: int, **changes: Any) -> Mapping[str, Any]:
    return _TINY | {"architectures": [name], "model_type": model_type, "num_hidden_layers": layers} | changes


LATENT = "compressed keys and values"
MODELS: Mapping[str, Mapping[str, Any]] = {
    "grouped queries": tiny("llama", "LlamaForCausalLM", 4, num_key_value_heads=4),
    "the model's own length": tiny(
        "qwen3", "Qwen3ForCausalLM", 3, num_key_value_heads=2, head_dim=64, max_position_embeddings=4096
    ),
    "windows alone": tiny("mistral", "MistralForCausalLM", 4, num_key_value_heads=2, sliding_window=1024),
    "windows beside full attention": tiny(
        "gemma3_text", "Gemma3ForCausalLM", 8, num_key_value_heads=2, sliding_window=512,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"] + ["sliding_attention"] * 2),
        query_pre_attn_scalar=32, hidden_activation="gelu_pytorch_tanh", rope_local_base_freq=10000.0,
    ),
    LATENT: tiny("deepseek_v2", "DeepseekV2ForCausalLM", 3, **_LATENT),
}  # fmt: skip
WORDS = ("<s>", "</s>", "<unk>", "one", "two")


class Printed(msgspec.Struct, frozen=True, kw_only=True):
    """``tokens`` and ``concurrency`` of the log; the rest of the metrics."""

    blocks: int
    block_size: int
    tokens: int
    max_model_len: int
    concurrency: float


def of_1_gib(blocks: int, tokens: int, concurrency: float, max_model_len: int = 8192) -> Printed:
    return Printed(blocks=blocks, block_size=128, tokens=tokens, max_model_len=max_model_len, concurrency=concurrency)


BY_0_32: Mapping[str, Printed] = {
    "grouped queries": of_1_gib(4096, 524_288, 64.0),
    "the model's own length": of_1_gib(5461, 699_008, 170.66, max_model_len=4096),
    "windows alone": of_1_gib(8192, 2_684_354, 327.68),
    "windows beside full attention": of_1_gib(32768, 1_272_205, 155.3),
    LATENT: of_1_gib(2427, 310_656, 37.92),
}
"""What 0.32 printed of 1 GiB, on CPUs with AMX."""


@pytest.fixture
def environment() -> Path:
    found = Path(os.environ.get("DIAG_ENGINES", "/nonexistent")) / "vllm"
    if not (found / "bin" / "vllm").exists() or "+cpu" not in release(found):
        pytest.skip("DIAG_ENGINES names no environment of vLLM for CPUs")
    return found


def release(environment: Path) -> str:
    """``0.32.0+cpu``; empty: none is installed."""
    found = next(environment.glob("lib/python*/site-packages/vllm-*.dist-info"), Path())
    return found.name.removeprefix("vllm-").removesuffix(".dist-info")


def write(folder: Path, config: Mapping[str, Any]) -> str:
    """A model's directory without weights."""
    words = {"type": "WordLevel", "vocab": {word: number for number, word in enumerate(WORDS)}, "unk_token": "<unk>"}
    files = {
        "config.json": config,
        "tokenizer.json": {"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None,
                           "decoder": None, "pre_tokenizer": {"type": "Whitespace"}, "model": words},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>",
                                  "eos_token": "</s>", "unk_token": "<unk>"},
    }  # fmt: skip
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return str(folder)


def planned(model: str, version: str) -> Plan:
    node = cpu_node("localhost", available_gib=AVAILABLE_GIB)
    return plan_launch(snapshot(node), model, version=version.partition("+")[0])


@contextmanager
def serving(plan: Plan, environment: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Its address and its log, once it answers; afterwards nothing of it is left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    given = ("--load-format", "dummy", "--enforce-eager", "--host", "127.0.0.1", "--port", port)
    command, *words = plan.recipe.argv
    argv = ["timeout", "--signal=KILL", str(MOST_S), environment / "bin" / command, *words, *given]
    own = {"HOME": str(folder), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    log = folder / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(argv, env=os.environ | own | plan.recipe.env, stdout=out, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        await_ready(server, address, log)
        yield address, log
    finally:
        end(server)


def await_ready(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
            return
        time.sleep(0.5)
    pytest.fail(f"vLLM was not ready within {READY_S} s, status {server.poll()}:\n{log.read_text()[-4000:]}")


def end(server: subprocess.Popen[bytes]) -> None:
    """With all its children: they rename themselves, but stay in its session."""
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(ENDED_S)
    deadline = time.monotonic() + ENDED_S
    while (left := session(server.pid)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.poll()
        time.sleep(0.1)
    assert not left


def session(leader: int) -> list[int]:
    """Processes in it that are not dead."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
            found += [int(stat.parent.name)] if int(sid) == leader and state != "Z" else []
    return found


def printed(address: str, log: Path) -> Printed:
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    line = re.search(r"^vllm:cache_config_info\{(.*)\}", metrics, re.MULTILINE)
    said = re.search(
        r"KV cache size: ([\d,]+) tokens.*Maximum concurrency for ([\d,]+) tokens per request: ([\d.]+)x",
        log.read_text(), re.DOTALL,
    )  # fmt: skip
    assert line, metrics[:2000]
    assert said, log.read_text()[-4000:]
    labels = dict(re.findall(r'(\w+)="([^"]*)"', line[1]))
    return Printed(
        blocks=int(labels["num_gpu_blocks"]),
        block_size=int(labels["block_size"]),
        tokens=int(said[1].replace(",", "")),
        max_model_len=int(said[2].replace(",", "")),
        concurrency=float(said[3]),
    )


def predicted(plan: Plan) -> Printed:
    found = {"blocks": plan.kv.blocks, "block_size": plan.kv.block_size, "tokens": plan.kv.printed_tokens,
             "max_model_len": plan.parameters.max_model_len, "concurrency": plan.kv.max_concurrency}  # fmt: skip
    return msgspec.convert(found, Printed)


@pytest.mark.parametrize("name", MODELS)
def test_what_a_real_vllm_printed_is_planned(name, tmp_path):
    assert predicted(planned(write(tmp_path / "model", MODELS[name]), "0.32.0")) == BY_0_32[name]


@pytest.mark.shared
@pytest.mark.parametrize("name", MODELS)
def test_a_real_vllm_prints_what_was_planned(name, environment, tmp_path):
    if name == LATENT and " amx_tile " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("without AMX vLLM pages them by 16 tokens, and no Snapshot says whether a CPU has it")
    plan = planned(write(tmp_path / "model", MODELS[name]), release(environment))
    assert plan.verdict == "FITS", plan.reason
    with serving(plan, environment, tmp_path) as (address, log):
        assert printed(address, log) == predicted(plan)


def test_sparse_attention_which_the_backend_refuses_is_not_planned(tmp_path):
    config = tiny("deepseek_v32", "DeepseekV32ForCausalLM", 3, **_SPARSE)
    plan = planned(write(tmp_path / "model", config), "0.32.0")
    assert (plan.verdict, plan.recipe.argv) == ("NO", ())
    assert plan.reason == "cannot be: the model's sparse attention: the CPU backend has none"
