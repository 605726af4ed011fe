"""What do others answer on the same cases, before the start? Each peer on the rows that it and we both answer."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from _replay import Replayed

from diag.units import GIB

BESIDE = Path(__file__).resolve().parent
OVERHEAD_BYTES = int(1.5 * GIB)
OFFLINE_NOT = {
    "hf-mem": "asks the model hub",
    "kvfit": "asks the model hub",
    "llm-mem-planner": "reads configs of MLA only",
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """None: the peer does not say. ``why``: it refuses."""

    kv_bytes: int | None = None
    tokens: int | None = None
    weights_bytes: int | None = None
    why: str | None = None


Peer = Callable[[Sequence[Replayed]], "Mapping[str, Answer] | str"]
"""Answers by row; or in one line why it is not asked."""


def aiconfigurator(rows: Sequence[Replayed]) -> Mapping[str, Answer] | str:
    """In the interpreter ``DIAG_PEER_PYTHON`` (or this one): 0.12.0 is known to answer."""
    python = os.environ.get("DIAG_PEER_PYTHON") or sys.executable
    probe = subprocess.run([python, "-c", "import aiconfigurator_core"], capture_output=True, check=False)
    if probe.returncode:
        return "aiconfigurator is not installed (DIAG_PEER_PYTHON names an interpreter that has it): skipped"
    asked = "".join(json.dumps(_question(one)) + "\n" for one in rows if one.case.row.engine in ("vllm", "sglang"))
    told = subprocess.run(
        [python, str(BESIDE / "_peer_aiconfigurator.py")], input=asked, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in told.stdout.splitlines() if line.startswith("{")]
    return {line.pop("id"): msgspec.convert(line, Answer) for line in lines}


def constant(rows: Sequence[Replayed]) -> Mapping[str, Answer]:
    """The logged weights and 1.5 GiB for all the rest: what a person does on a napkin."""
    found = {}
    for one in rows:
        weights_gib, total, fraction = one.case.row.weights_gib_per_gpu, one.case.inputs.total_bytes, one.case.row.util
        if weights_gib and total and one.case.row.engine == "vllm":
            left = int(total * (fraction or 0.9)) - int(weights_gib * GIB) - OVERHEAD_BYTES
            found[one.case.row.id] = Answer(kv_bytes=left)
    return found


PEERS: Mapping[str, Peer] = {"aiconfigurator 0.12.0": aiconfigurator, "logged weights + 1.5 GiB": constant}


def _question(one: Replayed) -> dict[str, Any]:
    given = one.case.inputs
    experts = any(key in str(given.config.keys()) + str(given.config) for key in ("num_experts", "n_routed_experts"))
    ep = given.tp if given.expert_parallel else 1
    return {
        "id": one.case.row.id,
        "engine": given.engine,
        "config": given.config,
        "utilization": given.utilization or 0.9,
        "total_bytes": given.total_bytes,
        "tp": given.tp,
        "pp": given.pp,
        "moe_tp": given.tp // ep if experts else None,
        "moe_ep": ep if experts else None,
        "max_num_seqs": given.max_num_seqs or 256,
        "max_num_batched_tokens": given.max_num_batched_tokens or 8192,
        "kv_cache_dtype": "fp8" if given.kv_cache_dtype.startswith("fp8") else None,
    }


def table(replayed: Sequence[Replayed]) -> list[str]:
    """Lines of text: median |error| of KV memory (or tokens where memory is not logged), of ours and of each peer."""
    rows = [one for one in replayed if one.before is not None and one.case.row.started]
    head = f"{'peer':26} {'rows asked':>10} {'answered':>8} {'both':>5} {'its median |error|':>19} {'ours':>7}"
    return [head, *(line for name, peer in PEERS.items() for line in _lines(name, peer(rows), rows)), *_not_asked()]


def _lines(name: str, told: Mapping[str, Answer] | str, rows: Sequence[Replayed]) -> list[str]:
    if isinstance(told, str):
        return [f"{name:26} {told}"]
    pairs = [(theirs, ours) for one in rows if (theirs := _error(one, told.get(one.case.row.id))) is not None
             and (ours := _error(one, _ours(one))) is not None]  # fmt: skip
    answered = sum(answer.why is None for answer in told.values())
    if not pairs:
        return [f"{name:26} {len(told):10} {answered:8} {0:5}"]
    theirs, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    return [f"{name:26} {len(told):10} {answered:8} {len(pairs):5} {theirs:17.1f} % {ours:5.1f} %"]


def _not_asked() -> list[str]:
    return [f"{name:26} {why}: skipped" for name, why in OFFLINE_NOT.items()]


def _ours(one: Replayed) -> Answer:
    assert one.before is not None
    return Answer(kv_bytes=one.before.kv_bytes.mid, tokens=one.before.printed_tokens.mid)


def _error(one: Replayed, answer: Answer | None) -> float | None:
    if answer is None or answer.why is not None:
        return None
    logged = one.case.measured.kv
    if logged is not None and logged > 0 and answer.kv_bytes is not None:
        return 100.0 * abs(answer.kv_bytes / logged - 1)
    tokens = one.case.row.tokens
    return 100.0 * abs(answer.tokens / tokens - 1) if tokens and answer.tokens is not None else None
