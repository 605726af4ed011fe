"""What does one rank of a node's own collectives do? Each kind in turn, eager and captured in a graph, all checked.

argv: JSON {"kinds", "sizes", "captured": whether CUDA graphs are tried, "log": a file's name without the rank, or "",
"vllm": whether vLLM's own all-reduces are timed, "groups": so many ranks have their communicators weighed}. What no
time is left for is said to be left out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta

import alive
import allreduce
import communicators
import markers
import nccl_file
import stopwatch
from exchanges import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

REPETITIONS, LONG_S = 5, 0.2
GOODBYE_S = 3.0
TOO_LATE = "no time was left for it"
SMALL_BYTES, CALLS = 1 << 20, 20
"""Small ones are timed in a row, as decoding issues them."""


def main() -> None:
    alive.watch()
    rank, wish = allreduce.Rank(), json.loads(sys.argv[1])
    if wish["log"]:
        nccl_file.ask(f"{wish['log']}.{rank.rank}", ",TUNING")
    try:
        take_part(rank, wish)
    except Exception as error:
        rank.roll.troubled.wait(allreduce.BLAME_S)
        if not rank.roll.troubled.is_set():
            rank.roll.failed(markers.one_line(error))
        rank.leave(failed=markers.one_line(error), troubles=rank.roll.troubles)
    os._exit(0)


def take_part(rank: allreduce.Rank, wish: dict[str, Any]) -> None:
    import torch
    import torch.distributed as dist

    begin(rank, torch, dist)
    scale = communicators.Scale(rank, torch, dist, wish["groups"]) if wish["groups"] else None
    if scale is not None:
        scale.weigh_first()
    measure_all(rank, torch, dist, wish)
    if scale is not None and fits(rank, torch, dist, communicators.PATIENCE_S / 3 * len(wish["groups"])):
        scale.weigh_groups()
    if wish["vllm"] and rank.backend == "nccl":
        import vllm_reduce

        rank.roll.say("vllm", allreduce.IMPORT_PATIENCE_S)
        vllm_reduce.measure(rank, torch, dist, wish["sizes"], in_a_row)
    nccl_file.tell(rank.rank, f"{wish['log']}.{rank.rank}" if wish["log"] else "", ranks=rank.world_size)
    rank.reach("done", library=allreduce.library(torch, rank.backend), environment=allreduce.environment())
    rank.roll.await_all("done", rank.left_s())
    rank.roll.bye()


def begin(rank: allreduce.Rank, torch: Any, dist: Any) -> None:
    """Until the first collective of all is through: it makes the communicator, and is not timed."""
    on_gpu = rank.backend == "nccl"
    if on_gpu:
        torch.cuda.set_device(rank.local_rank)
    rank.phase = "imported"
    loaded = allreduce.versions(torch, rank.backend)
    rank.roll.say("imported", allreduce.IMPORT_PATIENCE_S, **loaded)
    rank.watch.nccl = loaded.get("nccl", "")
    rank.say()
    if not rank.roll.await_all("imported", rank.left_s()):
        raise TimeoutError("the roll call did not end")
    rank.reach("roll_called", allreduce.IMPORT_PATIENCE_S)
    group_timeout_s = max(allreduce.LEAST_GROUP_TIMEOUT_S, rank.deadline_s * allreduce.GROUP_TIMEOUT_SHARE)
    dist.init_process_group(rank.backend, timeout=timedelta(seconds=group_timeout_s))
    one = torch.ones(1, device=rank.device)
    free_bytes = torch.cuda.mem_get_info(rank.device)[0] if on_gpu else 0
    rank.reach("initialised", allreduce.IMPORT_PATIENCE_S)
    rank.go_for("first_collective")
    dist.all_reduce(one)
    if one.item() != rank.world_size:
        raise ArithmeticError(f"the first sum: found {one.item():g}, expected {rank.world_size}")
    taken = {"communicator_bytes": free_bytes - torch.cuda.mem_get_info(rank.device)[0]} if on_gpu else {}
    rank.reach("first_collective", gpu=uuid(torch, rank.local_rank) if on_gpu else "", **taken)


def uuid(torch: Any, device: int) -> str:
    """As NVML spells it; empty: torch before 2.5 does not tell."""
    told = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return f"GPU-{str(told).lower()}" if told is not None else ""


def measure_all(rank: allreduce.Rank, torch: Any, dist: Any, wish: dict[str, Any]) -> None:
    """Each kind at each size, eager and captured; a size that no time is left for is left out."""
    for kind in wish["kinds"]:
        before, took_s = 0, 0.0
        for size_bytes in wish["sizes"]:
            times = (
                size_bytes / before if before > SMALL_BYTES else 1.0
            )  # of small ones latency decides, and their calls
            too_late = not fits(rank, torch, dist, took_s * times)
            began = time.monotonic()
            for captured in (False, True) if wish["captured"] and rank.backend == "nccl" else (False,):
                if too_late:
                    what = {"collective": kind, "captured": captured, "size_bytes": size_bytes}
                    rank.reach(f"{kind}_{size_bytes}", measured={**what, "why": TOO_LATE})
                else:
                    measure(rank, torch, dist, kind, size_bytes, captured=captured)
            if not too_late:
                before, took_s = size_bytes, time.monotonic() - began


def fits(rank: allreduce.Rank, torch: Any, dist: Any, expected_s: float) -> bool:
    """Whether all ranks have the time for it, and for saying goodbye."""
    return -allreduce.agree(rank, torch, dist, -rank.left_s()) > expected_s + GOODBYE_S


def measure(rank: allreduce.Rank, torch: Any, dist: Any, kind: str, size_bytes: int, *, captured: bool) -> None:
    """Say times and whether all was right; or why this kind cannot be had. All ranks decide alike."""
    what = {"collective": kind, "captured": captured, "size_bytes": size_bytes}
    rank.go_for(f"{kind}_{size_bytes}")
    try:
        exchange = Exchange(torch, dist, kind, size_bytes, rank)
        once = graph(torch, exchange.run) if captured else exchange.run
        exchange.fill()
        once()
        right = exchange.is_right()
        times_s = in_a_row(rank, torch, dist, once, size_bytes)
        exchange.fill()
        once()
        right = exchange.is_right() and right
    except (RuntimeError, NotImplementedError, ValueError) as error:
        if "support" not in str(error) and "implemented" not in str(error):
            raise
        rank.reach(f"{kind}_{size_bytes}", measured={**what, "why": markers.one_line(error)})
        return
    what["size_bytes"] = exchange.size_bytes
    rank.reach(f"{kind}_{size_bytes}", measured={**what, "times_s": times_s, "verified": right})


def in_a_row(rank: allreduce.Rank, torch: Any, dist: Any, once: Callable[[], object], size_bytes: int) -> list[float]:
    """Seconds of one call, from several; each repetition from a common start."""
    calls = CALLS if size_bytes <= SMALL_BYTES else 1

    def repetition() -> float:
        dist.barrier(device_ids=[rank.local_rank]) if rank.backend == "nccl" else dist.barrier()
        return stopwatch.timed(torch, rank.device, once, calls) / calls

    first_s = allreduce.agree(rank, torch, dist, repetition())
    return [float("%.6g" % repetition()) for _ in range(REPETITIONS if first_s * calls < LONG_S else 2)]


def graph(torch: Any, run: Callable[[], object]) -> Callable[[], object]:
    """Captured once, replayed at each call. Other threads of torch may query events meanwhile."""
    run()
    torch.cuda.synchronize()
    found = torch.cuda.CUDAGraph()
    with torch.cuda.graph(found, capture_error_mode="thread_local"):
        run()
    replay: Callable[[], object] = found.replay
    return replay


if __name__ == "__main__":
    main()
