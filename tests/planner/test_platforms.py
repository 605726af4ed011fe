"""Do the figures of NVIDIA's GPUs stay NVIDIA's? MI250X bears Hopper's number."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from diag.engines import lmdeploy, sglang, vllm
from diag.planner.deployment import Deployment
from diag.planner.memory.attempt import Device, Start
from diag.planner.memory.batch import Batch
from diag.planner.memory.startup import start
from diag.planner.model import families
from diag.planner.model.catalogue import bundled
from diag.planner.rules import EngineRules
from diag.units import GIB

HOPPER = Device(name="NVIDIA H100 80GB HBM3", total_bytes=80 * GIB, free_bytes=80 * GIB, capability=(9, 0))
AMPERE = replace(HOPPER, capability=(8, 0))
AMD = replace(HOPPER, name="AMD Instinct MI250X", vendor="amd")


def on(device: Device, rules: EngineRules, model: str = "meta-llama/Meta-Llama-3.1-8B") -> Start:
    return Start(
        architecture=families.read(bundled(model).config),
        rules=rules,
        deployment=Deployment(tp=1),
        batch=Batch(max_num_seqs=256, max_num_batched_tokens=8192),
        max_model_len=8192,
        device=device,
    )


@pytest.mark.parametrize(
    ("rules", "times"),
    [
        (vllm.rules("0.33"), (6, 5.6, 5.2)), (vllm.rules("0.11"), (6, 5.6, 5.2)), (vllm.rules("0.10.2"), (1, 4.6, 3.5)),
        (vllm.rules("0.6.4"), (1, 4.6, 3.5)), (sglang.rules(None), (1, 4.6, 3.5)),
        (lmdeploy.rules(None), (1, 4.6, 3.5)),
    ],
)  # fmt: skip
def test_graphs_of_hip_take_several_times_those_of_cuda(rules, times):
    """Of versions whose own figures were fitted anew the factors were, too."""
    graphs, cuda = (start(on(device, rules)).terms.graphs for device in (AMD, AMPERE))
    assert cuda.high
    assert (graphs.low, graphs.mid, graphs.high) == tuple(
        int(factor * size) for factor, size in zip(times, (cuda.low, cuda.mid, cuda.high), strict=True)
    )


def test_no_kernel_of_nvidias_pages_the_kv_cache_of_amd():
    """FlashMLA's blocks have 64 tokens on Hopper; a kernel in Triton reads 16."""
    sizes = [
        start(on(one, vllm.rules("0.16"), "deepseek-ai/DeepSeek-V3")).kv[1].block_size for one in (HOPPER, AMPERE, AMD)
    ]
    assert sizes == [64, 16, 16]
