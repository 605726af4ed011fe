"""What was planned: the records behind ``plan.json``, whose form is a contract with machines.

Unknown leaves are null; objects are always present. Bytes are per GPU of the tightest rank.
"""

from __future__ import annotations

from typing import Literal

import msgspec

PlanVerdict = Literal["FITS", "RISKY", "NO", "UNKNOWN"]


class EngineName(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str | None = None


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """Engine-neutral launch parameters; None: not decided by the plan."""

    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    data_parallel_size: int | None = None
    expert_parallel: bool | None = None
    gpu_memory_utilization: float | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_cache_dtype: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    block_size: int | None = None
    enforce_eager: bool | None = None
    backend: str | None = None
    cpu_offload_gib: float | None = None
    decode_context_parallel_size: int | None = None
    """Ranks of a tensor-parallel group that divide the tokens of a request between them."""
    speculative_method: str | None = None
    """How tokens are guessed ahead, as the engine calls it: ``mtp``, ``eagle3``, ``draft_model``, ``ngram``."""
    num_speculative_tokens: int | None = None
    speculative_model: str | None = None
    """What guesses, where it is a checkpoint of its own."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A term of the memory budget in bytes: what it is at least, probably, at most."""

    low: int | None = None
    mid: int | None = None
    high: int | None = None


class MemorySplit(msgspec.Struct, frozen=True, kw_only=True):
    """``total_bytes`` of the GPU, of which ``held_bytes`` are taken by others and the driver; null: no GPU."""

    total_bytes: int | None = None
    held_bytes: int | None = None
    weights_bytes: Estimate = Estimate()
    kv_cache_bytes: Estimate = Estimate()
    activation_bytes: Estimate = Estimate()
    cuda_graph_bytes: Estimate = Estimate()
    non_torch_bytes: Estimate = Estimate()


class KvCache(msgspec.Struct, frozen=True, kw_only=True):
    """``bytes_per_token``: per GPU; ``printed_tokens``: what the engine's log says; ``capacity_tokens``: the truth."""

    bytes_per_token: int | None = None
    capacity_tokens: int | None = None
    printed_tokens: int | None = None
    blocks: int | None = None
    block_size: int | None = None
    max_concurrency: float | None = None


class Discarded(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate that was not chosen. ``verdict`` null: it never got as far as memory (it does not divide)."""

    parameters: Parameters
    reason: str
    verdict: PlanVerdict | None = None
    memory: MemorySplit = MemorySplit()
    kv: KvCache = KvCache()


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """The launch command, empty where nothing can be launched; the plan's ``sources`` say why each flag is there."""

    argv: tuple[str, ...] = ()
    env: dict[str, str] = {}
    env_of_nodes: dict[str, dict[str, str]] = {}
    """Node -> what is another value there than in ``env``, which is the first node's."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``plan.json``, schema 1. ``sources`` says for each figure and flag where it comes from."""

    schema: int = 1
    verdict: PlanVerdict
    reason: str
    lever: str | None = None
    """The smallest change that makes it fit, e.g. ``--max-num-seqs 256 frees 3.9 GiB``."""
    notes: tuple[str, ...] = ()
    """What else the reader should know, a line each: a rule of thumb, what another goal would cost, a slower format."""
    engine: EngineName
    parameters: Parameters = Parameters()
    memory: MemorySplit = MemorySplit()
    kv: KvCache = KvCache()
    load_seconds: float | None = None
    speed: dict[str, float] | None = None
    recipe: Recipe = Recipe()
    discarded: tuple[Discarded, ...] = ()
    sources: dict[str, str] = {}
    nodes: tuple[str, ...] = ()
    """That the plan is for; empty: it did not come so far."""
    cautions: tuple[str, ...] = ()
    """Those of the notes that should be read before any figure."""
