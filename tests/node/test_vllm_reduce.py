"""Are vLLM's own all-reduces timed where it takes them, and is the reason said where it does not?

vLLM itself needs GPUs: these classes stand in for its own, as far as they are called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

NODE = Path(__file__).parents[2] / "diag" / "node"
MIB = 1 << 20
PLACE = "vllm.distributed.device_communicators"

pytestmark = pytest.mark.torch


class Earlier:
    """It knows in its constructor whether it can be used; it takes up to 8 MiB, but not all of them."""

    disabled = False

    def __init__(self, group: object, device: object) -> None:
        pass

    def custom_all_reduce(self, tensor: Any) -> Any:
        return tensor.clone() if tensor.numel() * 4 < 8 * MIB else None


class Later(Earlier):
    """On CUDA it is disabled until ``finalize_p2p`` was called on all ranks."""

    disabled = True
    has_peers = True

    def finalize_p2p(self) -> None:
        self.disabled = not self.has_peers


class Unjoined(Later):
    has_peers = False


class Nccl:
    disabled = False

    def __init__(self, group: object, device: object) -> None:
        pass

    def all_reduce(self, tensor: Any) -> Any:
        return tensor.clone()


@pytest.fixture
def measured(monkeypatch) -> Any:
    """``measured(Later)``: (collective, size) -> what is told of it, on the one rank there is."""
    monkeypatch.syspath_prepend(str(NODE))
    import torch  # noqa: PLC0415 - slow, and this file's alone
    import vllm_reduce  # noqa: PLC0415 - a module of the agent, found through the path above

    def run(custom: type) -> dict[tuple[str, int], dict[str, Any]]:
        for name, attribute, kind in (("custom_all_reduce", "CustomAllreduce", custom),
                                      ("pynccl", "PyNcclCommunicator", Nccl)):  # fmt: skip
            module = ModuleType(f"{PLACE}.{name}")
            setattr(module, attribute, kind)
            monkeypatch.setitem(sys.modules, module.__name__, module)
        told: list[dict[str, Any]] = []
        rank = SimpleNamespace(rank=0, world_size=1, device="cpu", reach=lambda _, measured: told.append(measured))
        dist = SimpleNamespace(new_group=lambda backend: backend, all_reduce=lambda _: None)
        vllm_reduce.measure(rank, torch, dist, [MIB, 8 * MIB, 16 * MIB], lambda *_: [0.1])
        return {(row["collective"], row["size_bytes"]): row for row in told}

    for name in ("vllm", "vllm.distributed", PLACE):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    yield run
    for name in ("vllm_reduce", "exchanges", "sums", "markers", "settings"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("custom", [Earlier, Later])
def test_the_custom_all_reduce_of_every_version_is_timed(measured, custom):
    row = measured(custom)["vllm_custom", MIB]
    assert (row.get("why"), row["verified"], row["times_s"]) == (None, True, [0.1])


def test_a_size_that_it_leaves_to_nccl_is_no_wrong_sum(measured):
    row = measured(Earlier)["vllm_custom", 8 * MIB]
    assert "verified" not in row
    assert "does not take this size" in row["why"]
    assert measured(Earlier)["vllm_pynccl", 8 * MIB]["verified"]


def test_where_there_is_no_peer_access_that_is_said(measured):
    row = measured(Unjoined)["vllm_custom", 0]
    assert "no peer access" in row["why"]
