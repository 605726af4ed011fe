"""What does one logged start-up say? A line of ``cases.jsonl``; memory in GiB as the engine printed it, per GPU."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / "bench" / "startups"
"""68 start-ups of public logs, collected once the planner was written; what they showed was then mended."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """None: the log does not say. ``util`` is each engine's own fraction; ``tp``, ``pp``, ``dp`` are ranks."""

    id: str
    url: str
    engine: str
    outcome: str
    engine_gen: str | None = None
    engine_version: str | None = None
    model: str = ""
    model_shape: str | None = None
    shape: Mapping[str, Any] | None = None
    quantization: str | None = None
    dtype: str | None = None
    kv_cache_dtype: str | None = None
    gpu: str | None = None
    gpu_total_gib: float | None = None
    n_gpus: int | None = None
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: bool | int | None = None
    util: float | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enforce_eager: bool | None = None
    block_size: int | None = None
    weights_gib_per_gpu: float | None = None
    activation_gib: float | None = None
    non_torch_gib: float | None = None
    cudagraph_gib: float | None = None
    kv_avail_gib: float | None = None
    kv_tokens: int | None = None
    gpu_blocks: int | None = None
    max_concurrency: float | None = None
    max_concurrency_len: int | None = None
    kv_needed_gib: float | None = None
    kv_needed_len: int | None = None
    sgl_k_gb: float | None = None
    sgl_v_gb: float | None = None

    @property
    def started(self) -> bool:
        return self.outcome.startswith("started") and not self.outcome.startswith("started?")

    @property
    def out_of_memory(self) -> bool:
        return self.outcome.startswith("OOM")

    @property
    def tokens(self) -> int | None:
        """What the log calls the size of the KV cache."""
        if self.kv_tokens is not None and self.kv_tokens > 0:
            return self.kv_tokens
        whole = self.gpu_blocks and self.block_size and self.engine_gen == "V0"
        return self.gpu_blocks * self.block_size if whole and self.gpu_blocks and self.block_size else None

    @property
    def kv_gib(self) -> float | None:
        """KV memory of one rank; SGLang prints keys and values apart, MLA as one."""
        if self.sgl_k_gb is not None:
            return self.sgl_k_gb + (self.sgl_v_gb or 0.0)
        return self.kv_avail_gib


def folder() -> Path:
    """The one that is named; else the larger one beside the project; else that of the project."""
    named = os.environ.get("DIAG_PLANNER_CASES")
    beside = ROOT.parent / "shared" / "planner-cases"
    return Path(named) if named else beside if beside.is_dir() else OWN


def rows(path: Path) -> Sequence[Row]:
    """Of ``cases.jsonl`` in a folder."""
    return [msgspec.json.decode(line, type=Row) for line in (path / "cases.jsonl").read_bytes().splitlines() if line]


THREADS: Sequence[tuple[int, str]] = (
    (2400, "0.2.7"), (4600, "0.4.2"), (5900, "0.5.0"), (10500, "0.6.4"), (13200, "0.7.3"), (15600, "0.8.1"),
    (17400, "0.8.5"), (22700, "0.10.0"), (28200, "0.11.0"), (31200, "0.13.0"), (43300, "0.21.0"), (50500, "0.26.0"),
)  # fmt: skip
"""Threads of vLLM's own repository are numbered in time: from which number on, which release was out.

Read off threads whose reports name both.
"""
FORMS: Mapping[str, tuple[str, str]] = {
    "s002": ("0.4.8", "version: cuda_graph_max_bs=8 on 24 GB and max_num_seqs one more than a power of two"),
    "s014": ("0.4.8", "version: cuda_graph_max_bs=160 on 80 GB"),
}
"""Versions told by what only they print."""
GENERATIONS: Mapping[str, str] = {"V0": "0.7.3"}


def version(row: Row) -> tuple[str | None, str | None]:
    """Version and, where it is not the log that names it, why this one; None: the newest known."""
    said = re.search(r"\d+\.\d+(\.\d+)?", row.engine_version or "")
    if said and said[0] != "0.1" and not said[0].startswith("0.1."):
        return said[0], None
    if row.id in FORMS:
        return FORMS[row.id]
    thread = re.search(r"vllm-project/vllm/(?:issues|pull)/(\d+)", row.url)
    if thread and row.engine == "vllm":
        known = [release for number, release in THREADS if number <= int(thread[1])]
        if known:
            return known[-1], "version: the release of the thread's time"
    if row.engine_gen in GENERATIONS and row.engine == "vllm":
        return GENERATIONS[row.engine_gen], f"version: of {row.engine_gen}"
    return None, "version: the newest known"
