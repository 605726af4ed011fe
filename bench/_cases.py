"""Which logged start-ups count, and with which inputs?

``Predict`` is all that is asked of the planner: Inputs -> Prediction, raising NotKnown for what it does not understand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _logged
import _shapes
import msgspec
from _logged import Row

from diag.facts.plan import Estimate
from diag.planner.memory.startup import Outcome
from diag.units import GIB


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Terms that the log printed, bytes on one rank; None: not printed. ``kv``: the KV cache's own memory."""

    activation: int | None = None
    non_torch: int | None = None
    graphs: int | None = None
    kv: int | None = None


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """One start-up as its operator gave it; None: left to the engine's version."""

    engine: str
    version: str | None
    v0: bool = False
    """The engine before V1, whatever the version."""
    config: Mapping[str, Any]
    device: str
    total_bytes: int | None
    """None: only the KV memory is known."""
    utilization: float | None
    tp: int
    pp: int = 1
    dp: int = 1
    expert_parallel: bool = False
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    kv_cache_dtype: str = "auto"
    block_size: int | None = None
    dtype: str | None = None
    enforce_eager: bool = False
    quantized_while_loading: bool = False
    """From a checkpoint in 16 bit."""
    cpu_offload_gib: float = 0
    dcp: int = 1
    draft: str | None = None
    """Method of speculative decoding, ``drafted`` tokens a step."""
    drafted: int = 0
    offline: bool = False
    """Started as a library (``LLM``), whose default batches are larger than a server's."""
    measured: Measured = Measured()


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """Of the tightest rank. None: not known of this row, say weights in an unnamed format."""

    weights_bytes: int | None
    kv_bytes: Estimate
    """Below zero: so much is missing."""
    printed_tokens: Estimate
    """In the meaning of this version's log; only ``mid`` where the KV memory was measured."""
    request_bytes: int | None
    """KV memory of one request of ``max_model_len`` tokens."""
    verdict: str
    why: str
    outcome: Outcome
    length: int = 0
    """``max_model_len`` that it was made with."""


Predict = Callable[[Inputs], Prediction]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A row that counts. ``assumed``: what the log does not say, each with what stands in for it."""

    row: Row
    inputs: Inputs
    measured: Measured
    assumed: tuple[str, ...]
    weights_known: bool

    @property
    def logged(self) -> Measured | None:
        """What stands for estimates where KV memory follows from the log: total, fraction, activation and non-torch,
        with weights of the shape; else the KV memory itself. None: from neither.
        """
        has = self.measured
        terms = has.activation is not None and has.non_torch is not None and self.weights_known
        if terms and not {"memory", "utilisation"} & {line.partition(":")[0] for line in self.assumed}:
            return msgspec.structs.replace(has, kv=None)
        return None if has.kv is None else has


QUANTIZED_WHILE_LOADING = ("v227",)
"""Rows whose note says that the engine quantizes a checkpoint of 16 bit."""
SAID: Mapping[str, Mapping[str, Any]] = {
    "v014": {"offline": True},
    "v055": {"cpu_offload_gib": 2.0},
    "v065": {"draft": "mtp", "drafted": 3},
    "v091": {"draft": "dspark"},
    "v113": {"dcp": 8},
    "v185": {"draft": "dspark"},
    "v252": {"draft": "dflash"},
    "v268": {"draft": "dflash", "drafted": 5},
    "v272": {"draft": "dflash"},
}
"""Flags that a log, or the report around it, tells in its text and no field of the row carries."""


def cases(rows: Sequence[Row], models: Path, device: Callable[[str], int | None]) -> tuple[list[Case], dict[str, str]]:
    """Rows that count; and for each other one why not. ``device``: total bytes of a GPU by name, None: no row."""
    counted, left_out = [], dict[str, str]()
    for row in rows:
        found = _case(row, models, device)
        if isinstance(found, Case):
            counted.append(found)
        else:
            left_out[row.id] = found
    return counted, left_out


def _case(row: Row, models: Path, device: Callable[[str], int | None]) -> Case | str:
    if row.engine not in ("vllm", "sglang", "lmdeploy"):
        return f"engine {row.engine}"
    if row.n_gpus == 0:
        return "an engine on a CPU"
    if row.shape is None or row.model_shape is None:
        return "no shape"
    config = _shapes.config_of(row.model, row.model_shape, row.shape, models)
    if isinstance(config, str):
        return config
    total = int(row.gpu_total_gib * GIB) if row.gpu_total_gib else device(row.gpu) if row.gpu else None
    return _why_not(row, total) or _counted(row, config, total)


def _why_not(row: Row, total: int | None) -> str | None:
    if total is None and row.kv_gib is None:
        return "memory not logged, and no GPU with a row in hardware.py"
    if row.tp is None and not row.out_of_memory:
        return "number of ranks not logged"
    return None


def _counted(row: Row, config: dict[str, Any], total: int | None) -> Case:
    version, why_version = _logged.version(row)
    said = row.quantization or ("quantized" if "quantized" in row.model else None)
    stored = _shapes.quantized(config, said, row.model)
    assumed = {
        "version": why_version,
        "format": None if said else "format: 16 bit, or the published checkpoint's own",
        "memory": None if row.gpu_total_gib else "memory: of the GPU's name",
        "utilisation": None if row.util is not None else "utilisation: the version's",
        "ranks": None if row.tp else "ranks: one",
        "length": None if row.max_model_len else "max_model_len: the model's",
        "sequences": None if row.max_num_seqs else "max_num_seqs: the version's",
        "batch": None if row.max_num_batched_tokens else "max_num_batched_tokens: the version's",
    }
    return Case(
        row=row,
        inputs=msgspec.structs.replace(_inputs(row, stored or config, version, total), **SAID.get(row.id, {})),
        measured=_measured(row),
        assumed=tuple(line for line in assumed.values() if line),
        weights_known=stored is not None,
    )


def _inputs(row: Row, config: Mapping[str, Any], version: str | None, total: int | None) -> Inputs:
    return Inputs(
        engine=row.engine,
        version=version,
        v0=row.engine_gen == "V0",
        config=config,
        device=row.gpu or "",
        total_bytes=total,
        utilization=row.util,
        tp=row.tp or 1,
        pp=row.pp or 1,
        dp=row.dp or 1,
        expert_parallel=row.ep is True or (isinstance(row.ep, int) and row.ep > 1),
        max_model_len=row.kv_needed_len or row.max_concurrency_len or row.max_model_len,
        max_num_seqs=row.max_num_seqs,
        max_num_batched_tokens=row.max_num_batched_tokens,
        kv_cache_dtype=_kv_dtype(row),
        block_size=row.block_size,
        dtype=row.dtype,
        enforce_eager=bool(row.enforce_eager),
        quantized_while_loading=row.id in QUANTIZED_WHILE_LOADING,
    )


def _kv_dtype(row: Row) -> str:
    """As the engine's own flag spells it."""
    word = (row.kv_cache_dtype or "auto").split()[0]
    return {"bf16": "bfloat16", "fp8_e4m3": "fp8"}.get(word, word) if row.engine == "vllm" else word


def _measured(row: Row) -> Measured:
    def of(gib: float | None) -> int | None:
        return None if gib is None else int(gib * GIB)

    return Measured(
        activation=of(row.activation_gib),
        non_torch=of(row.non_torch_gib),
        graphs=of(row.cudagraph_gib),
        kv=of(row.kv_gib),
    )
