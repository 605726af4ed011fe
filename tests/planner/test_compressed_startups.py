"""Does the memory that people logged of DeepSeek-V4-Flash follow from its shapes? Derived by hand, beside each."""

from __future__ import annotations

import pytest

from diag.engines import vllm
from diag.planner.deployment import Deployment
from diag.planner.memory import steps
from diag.planner.memory.attempt import Device, Start
from diag.planner.memory.batch import Batch
from diag.planner.memory.startup import Outcome, start
from diag.planner.memory.steps import Ranks
from diag.planner.memory.weighed import streams_bytes
from diag.planner.model import families
from diag.planner.model.architecture import Architecture
from diag.planner.model.catalogue import bundled
from diag.units import GIB

STREAM = 4 * 4096 * 2
"""Bytes of a token."""


def model() -> Architecture:
    files = bundled("deepseek-ai/DeepSeek-V4-Flash")
    return families.read(files.config, files.hf_quant)


def started(version: str, *, total_gib: float, utilization: float, tokens: int, length: int, eager: bool) -> Outcome:
    device = Device(
        name="a GPU", total_bytes=int(total_gib * GIB), free_bytes=int((total_gib - 0.6) * GIB), capability=(9, 0)
    )
    batch = Batch(max_num_seqs=1024, max_num_batched_tokens=tokens, enforce_eager=eager)
    return start(
        Start(
            architecture=model(),
            rules=vllm.rules(version),
            deployment=Deployment(tp=2),
            batch=batch,
            max_model_len=length,
            kv_cache_dtype="fp8",
            utilization=utilization,
            device=device,
        )
    )


@pytest.mark.parametrize(("tokens", "logged"), [(8192, 74.08), (16384, 74.35), (32768, 74.85)])
def test_weights_are_their_tensors_two_rotary_tables_and_the_streams_of_a_batch(tokens, logged):
    """73.255 GiB of a rank's tensors, 2 · 256 MiB, 32 KiB a token; 0.03 to 0.08 GiB of the logs are not counted."""
    found = started("0.23", total_gib=139.8, utilization=0.78, tokens=tokens, length=4096, eager=True)
    assert found.memory.weights_bytes.low / GIB == pytest.approx(73.255 + 0.5 + tokens * STREAM / GIB, abs=0.002)
    assert found.memory.weights_bytes.low / GIB < logged < found.memory.weights_bytes.high / GIB


@pytest.mark.parametrize(("tokens", "logged"), [(8192, 32.08), (16384, 29.07)])
def test_the_kv_cache_of_two_h200_lies_between_the_estimates(tokens, logged):
    found = started("0.23", total_gib=139.8, utilization=0.78, tokens=tokens, length=4096, eager=True)
    kv = found.memory.kv_cache_bytes
    assert kv.low / GIB < logged < kv.high / GIB
    assert kv.mid / GIB == pytest.approx(logged, rel=0.02)


def test_what_ran_out_of_memory_inside_a_program_is_not_said_to_fit():
    """16384 tokens are the default there, 8192 that of a server; 6.66 GiB were needed and 5.44 left."""
    oom = started("0.22", total_gib=94.5, utilization=0.95, tokens=16384, length=30000, eager=False)
    assert oom.verdict == "RISKY"
    assert oom.memory.kv_cache_bytes.low / GIB < 5.44 < oom.memory.kv_cache_bytes.mid / GIB


@pytest.mark.parametrize(("version", "kept"), [("0.21", True), ("0.26.1", True), ("0.27", False), ("0.33", False)])
def test_streams_wait_for_a_draft_that_is_not_there_up_to_0_26(version, kept):
    batch = Batch(max_num_seqs=8, max_num_batched_tokens=1000)
    found = streams_bytes(model(), vllm.rules(version), batch, last=True)
    assert found == (1000 * STREAM if kept else 0)
    assert streams_bytes(model(), vllm.rules(version), batch, last=False) == 0


def test_queries_and_outputs_are_padded_to_64_heads_beside_the_unpadded_queries():
    assert steps.summarized(model(), Ranks(tp=1)) == (2 * 64 * 512, 2 * 64 * 512)
    assert steps.summarized(model(), Ranks(tp=2)) == (2 * 32 * 512, (2 * 64 + 32) * 512)
