"""How fast is a healthy HGX H100? Made by hand after published figures of such machines; nothing here was recorded."""

from __future__ import annotations

from itertools import permutations

from diag.facts.speed import (
    Bandwidth,
    CollectiveTime,
    Context,
    Fill,
    Fingerprint,
    Gemm,
    Load,
    NcclLog,
    NodeCollectives,
    P2p,
    Speed,
    Transport,
)
from diag.units import KIB, MIB
from tests.checks.hgx import GPUS, H100, HCAS

TERA, GIGA = 1e12, 1e9
GEMMS = {"bf16": 735.0, "fp16": 741.0, "fp8": 1310.0, "tf32": 402.0, "fp32": 51.0}
COPIES = {"hbm": (2620.0, 2 << 30), "h2d": (55.2, 256 * MIB), "d2h": (54.6, 256 * MIB), "h2d_all": (53.9, 256 * MIB),
          "d2h_all": (52.8, 256 * MIB)}  # fmt: skip


def alike(value: float, *places: int) -> float:
    """Devices of one model differ by some tenths of a percent: reproducible, no two the same."""
    return value * (1 + 0.002 * ((sum((n + 1) * place for n, place in enumerate(places)) * 7 % 11) / 5 - 1))


def speed(node: int) -> Speed:
    each = range(GPUS)
    return Speed(
        level="normal",
        seconds=131.0,
        interpreter="/opt/venv/bin/python3",
        torch="2.8.0+cu128",
        dcgm_failures=(),
        dcgm_warnings=(),
        gemms=tuple(_gemm(node, gpu, dtype) for dtype in GEMMS for gpu in each),
        bandwidths=(
            *(_copy(node, gpu, kind) for kind in COPIES for gpu in each),
            *(_far(node, gpu, kind) for kind in ("h2d", "d2h") for gpu in each),
        ),
        p2p=tuple(_pair(node, source, target) for source, target in permutations(each, 2)),
        fills=tuple(
            Fill(gpu=gpu, told_bytes=79_500 * MIB, allocatable_bytes=79_400 * MIB, verified=True) for gpu in each
        ),
        contexts=tuple(Context(gpu=gpu, context_bytes=508 * MIB, with_gemm_bytes=572 * MIB) for gpu in each),
        fingerprints=tuple(_fingerprint(gpu) for gpu in each),
        collectives=collectives(node),
        rises=(),
        loads=tuple(_load(node, gpu, during) for gpu in each for during in ("gemm bf16", "hbm", "host copies")),
    )


def _load(node: int, gpu: int, during: str) -> Load:
    """Products take all the power that the board may have, and clocks follow it; copies leave the chip cool."""
    works = during.startswith("gemm")
    return Load(
        gpu=gpu,
        during=during,
        looks=10,
        busy=8 if works else 3 if during == "hbm" else 0,
        told=8 if works else 3 if during == "hbm" else 0,
        sm_mhz=round(alike(1755 if works else 1980, node, gpu)) if during != "host copies" else None,
        power_w=700.4 if works else 412.0 if during == "hbm" else None,
        temperature_c=63 + gpu % 4 if works else 48,
        slowed_by=(("sw_power_cap", 8),) if works else (),
        pcie_generation=5,
        pcie_width=16,
    )


def _gemm(node: int, gpu: int, dtype: str) -> Gemm:
    rate = alike(GEMMS[dtype] * TERA, node, gpu)
    return Gemm(gpu=gpu, dtype=dtype, n=8192, flops_per_s=(rate * 1.03, rate * 1.001, rate, rate), verified=True)


def _copy(node: int, gpu: int, kind: str) -> Bandwidth:
    giga, size_bytes = COPIES[kind]
    seconds = size_bytes / alike(giga * GIGA, node, gpu)
    numa = None if kind == "hbm" else gpu // 4
    near = None if kind == "hbm" else True
    return Bandwidth(
        gpu=gpu, kind=kind, size_bytes=size_bytes, times_s=(seconds,) * 3, verified=True, numa=numa, near=near
    )


def _far(node: int, gpu: int, kind: str) -> Bandwidth:
    seconds = 256 * MIB / alike(46 * GIGA, node, gpu)
    return Bandwidth(
        gpu=gpu, kind=kind, size_bytes=256 * MIB, times_s=(seconds,) * 3, verified=True, numa=1 - gpu // 4, near=False
    )


def _pair(node: int, source: int, target: int) -> P2p:
    seconds = 256 * MIB / alike(381 * GIGA, node, source, target)
    return P2p(source=source, target=target, direct=True, size_bytes=256 * MIB, times_s=(seconds,) * 3, verified=True)


def _fingerprint(gpu: int) -> Fingerprint:
    return Fingerprint(
        gpu=gpu,
        kind=f"{H100}, torch 2.8.0+cu128",
        exact="ab" * 32,
        expected="ab" * 32,
        rounded="cd" * 32,
        repeated=True,
    )


def collectives(node: int) -> NodeCollectives:
    rows = ((8 * KIB, 2.4e-5, 0.6), (MIB, 3.6e-5, 51.0), (1 << 30, 3.95e-3, 476.0))
    return NodeCollectives(
        backend="nccl",
        world_size=GPUS,
        library="nccl 2.27.3",
        engine="vllm 0.11.0",
        times=tuple(
            CollectiveTime(
                collective="all_reduce",
                environment="engine",
                captured=captured,
                size_bytes=size_bytes,
                times_s=(seconds, seconds * 1.01, seconds * 0.99),
                busbw_bytes_per_s=alike(giga * GIGA, node),
                verified=True,
            )
            for captured in (False, True)
            for size_bytes, seconds, giga in rows
        ),
        communicator_bytes=1400 * MIB,
        log=nccl_log(),
        summary="nccl 2.27.3, 8 GPUs, busbw 476.0 GB/s at 1.0 GiB",
    )


def nccl_log() -> NcclLog:
    names = tuple(f"mlx5_{number}" for number in range(HCAS))
    ring = tuple(
        Transport(source=rank, target=(rank + 1) % GPUS, kind="P2P", detail="CUMEM", channels=16)
        for rank in range(GPUS)
    )
    return NcclLog(
        version="2.27.3+cuda12.8",
        network="IB",
        hcas=tuple(f"{name}:1/RoCE" for name in names),
        gpu_direct=tuple((name, True) for name in names),
        nvls=True,
        channels=16,
        transports=ring,
        variables=(("NCCL_SOCKET_IFNAME", "=lo"),),
    )
