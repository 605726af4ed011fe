"""What does one rank do? Call the roll, initialise the process group, all-reduce each size, check every sum.

Every phase is a marker with the seconds since its node's launcher began; so is every error, and who is to blame for it.
A rank never waits for ever: whoever is missing, frozen or dead is named by all others, and they end.
argv: sizes in bytes, with commas; and, for NCCL's log, a file's name without the rank.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from datetime import timedelta

import alive
import markers
import nccl_file
import settings
import witnesses
from rollcall import Roll
from sums import Payload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IMPORT_PATIENCE_S = 30.0
"""As the launcher's; making a CUDA context holds the interpreter too."""
PATIENCE_S = 10.0
BLAME_S = 2.0
"""An error of ours waits this long for word of who caused it."""
GROUP_TIMEOUT_SHARE = 1 / 3
LEAST_GROUP_TIMEOUT_S = 20.0
MOST_REPETITIONS, REPETITIONS, LEAST_REPETITIONS = 20, 5, 2
ENOUGH_S, SLOW_S = 0.5, 12.0
"""More than five repetitions only within the first, fewer only past the second."""
MARGIN = 1.5
"""A size that is cut short by the deadline looks like a hang; one that is left out is only left out."""
GAVE_UP = 4
LOG_WORD = 2
"""In argv."""
STEERING = (
    "NCCL_", "GLOO_", "TORCH_NCCL_", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "UCX_",
    "TORCH_CPP_LOG_LEVEL", "MCCL_", "MACA_",
)  # fmt: skip


class Rank:
    """Who we are, where we are, and our words to the controller and the board."""

    def __init__(self) -> None:
        self.rank, self.world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.local_rank = int(os.environ["LOCAL_RANK"])
        self.backend = os.environ["DIAG_BACKEND"]
        self.deadline_s = float(os.environ["DIAG_DEADLINE_S"])
        self.device = f"cuda:{self.local_rank}" if self.backend == "nccl" else "cpu"
        self.phase = "spawned"
        self.log = ""
        self.steering = environment()
        """As it was found: for its log NCCL is told more."""
        self.leaving = threading.Lock()
        self.watch = witnesses.Watch(self.rank, self.local_rank, self.backend, self.left_s)
        self.standing = self.watch.standing
        self.say()
        self.roll = Roll(f"rank:{self.rank}", self.phase, IMPORT_PATIENCE_S, self.blame)
        self.roll.on_sigterm()
        timer = threading.Timer(self.left_s(), self.leave, kwargs={"overdue": self.deadline_s})
        timer.daemon = True
        timer.start()

    def say(self, **about: Any) -> None:
        markers.say(rank=self.rank, local_rank=self.local_rank, phase=self.phase, **about)

    def reach(self, phase: str, patience_s: float = PATIENCE_S, **about: Any) -> None:
        self.phase = phase
        self.roll.say(phase, patience_s)
        self.say(**about)

    def go_for(self, phase: str, expected_s: float = 0.0) -> None:
        """What is begun now; it is reached later, or never."""
        self.standing.begin(phase, expected_s)
        markers.say(rank=self.rank, into=phase)

    def left_s(self) -> float:
        return max(0.1, self.deadline_s - markers.elapsed_s())

    def blame(self, _roll: Roll, troubles: Any) -> None:
        """Somebody else did not come through: say who, and end. Who is done has nothing to add."""
        if self.phase != "done":
            self.leave(troubles=troubles)

    def leave(self, **words: Any) -> None:
        """Last words, once; then the end, whatever the main thread hangs in."""
        self.leaving.acquire()
        self.watch.tell_standing()
        with contextlib.suppress(OSError):
            nccl_file.tell(self.rank, self.log)
        markers.say(rank=self.rank, during=self.phase, **words)
        self.roll.bye()
        os._exit(GAVE_UP)


def main() -> None:
    alive.watch()
    rank = Rank()
    rank.log = f"{sys.argv[2]}.{rank.rank}" if len(sys.argv) > LOG_WORD else ""
    if rank.log and rank.backend == "nccl":
        nccl_file.ask(rank.log)
    try:
        take_part(rank, [int(size) for size in sys.argv[1].split(",")])
    except Exception as error:
        rank.roll.troubled.wait(BLAME_S)
        if not rank.roll.troubled.is_set():
            rank.roll.failed(markers.one_line(error))
        rank.leave(failed=markers.one_line(error), troubles=rank.roll.troubles)
    os._exit(0)


def take_part(rank: Rank, sizes: list[int]) -> None:
    import torch
    import torch.distributed as dist

    if rank.backend == "nccl":
        torch.cuda.set_device(rank.local_rank)
    rank.phase = "imported"
    loaded = versions(torch, rank.backend)
    rank.roll.say("imported", IMPORT_PATIENCE_S, **loaded)
    rank.watch.nccl = loaded.get("nccl", "")
    rank.say()
    rank.go_for("roll_called")
    if not rank.roll.await_all("imported", rank.left_s()):
        raise TimeoutError("the roll call did not end")
    rank.reach("roll_called", IMPORT_PATIENCE_S)
    group_timeout_s = max(LEAST_GROUP_TIMEOUT_S, rank.deadline_s * GROUP_TIMEOUT_SHARE)
    rank.go_for("initialised")
    dist.init_process_group(rank.backend, timeout=timedelta(seconds=group_timeout_s))
    rank.reach("initialised", IMPORT_PATIENCE_S)
    rank.go_for("first_collective")
    one = torch.ones(1, device=rank.device)
    with rank.standing.call():
        dist.all_reduce(one)
        right = one.item() == rank.world_size
    if not right:
        raise ArithmeticError(f"the first sum: found {one.item():g}, expected {rank.world_size}")
    rank.reach("first_collective")
    measure_all(rank, torch, dist, sizes)
    nccl_file.tell(rank.rank, rank.log)
    rank.reach("done", library=library(torch, rank.backend), environment=rank.steering)
    rank.roll.await_all("done", rank.left_s())  # who closes early breaks the others' last collective
    rank.roll.bye()


def measure_all(rank: Rank, torch: Any, dist: Any, sizes: list[int]) -> None:
    """Each size in turn; what would not fit into the time that is left is named and left out."""
    before = (0, 0.0)
    for size_bytes in sizes:
        expected_s = before[1] * size_bytes / before[0] if before[0] else 0.0
        least_left_s = -agree(rank, torch, dist, -rank.left_s())
        if expected_s * (1 + LEAST_REPETITIONS) * MARGIN > least_left_s:
            rank.say(left_out=size_bytes, expected_s=round(expected_s, 3))
            return
        rank.go_for(f"size_{size_bytes}", expected_s)
        times_s, right = measure(rank, torch, dist, size_bytes)
        rank.reach(f"size_{size_bytes}", size_bytes=size_bytes, times_s=times_s, verified=right)
        before = (size_bytes, max(times_s))


def measure(rank: Rank, torch: Any, dist: Any, size_bytes: int) -> tuple[list[float], bool]:
    """Warm up, repeat; the time of each repetition on this rank, and whether all sums were right."""
    payload = Payload(torch, size_bytes, rank.rank, rank.world_size, rank.device)
    warm_s, right = once(rank, torch, dist, payload)
    times_s = []
    for _ in range(repetitions(agree(rank, torch, dist, warm_s))):
        seconds, right_again = once(rank, torch, dist, payload)
        times_s.append(round(seconds, 9))
        right = right and right_again
    return times_s, right


def once(rank: Rank, torch: Any, dist: Any, payload: Payload) -> tuple[float, bool]:
    """One all-reduce from a common start. The payload is filled before and checked after, outside the time."""
    payload.fill()
    with rank.standing.call():
        dist.barrier() if rank.backend != "nccl" else dist.barrier(device_ids=[rank.local_rank])
    with rank.standing.call():
        seconds = timed_on_gpu(torch, dist, payload) if rank.backend == "nccl" else timed(dist, payload)
    return seconds, payload.is_right()


def timed(dist: Any, payload: Payload) -> float:
    began = time.perf_counter()
    dist.all_reduce(payload.tensor)
    return time.perf_counter() - began


def timed_on_gpu(torch: Any, dist: Any, payload: Payload) -> float:
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    dist.all_reduce(payload.tensor)
    ended.record()
    torch.cuda.synchronize()
    return float(began.elapsed_time(ended)) / 1e3


def repetitions(once_s: float) -> int:
    """Five; up to twenty where they are short, at least two where they are long."""
    if once_s * REPETITIONS <= SLOW_S:
        return min(MOST_REPETITIONS, max(REPETITIONS, int(ENOUGH_S / max(once_s, 1e-9))))
    return max(LEAST_REPETITIONS, int(SLOW_S / once_s))


def agree(rank: Rank, torch: Any, dist: Any, mine: float) -> float:
    """The largest of all ranks' values: all have to decide alike."""
    shared = torch.tensor([mine], dtype=torch.float64, device=rank.device)
    with rank.standing.call():
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return float(shared.item())


def versions(torch: Any, backend: str) -> dict[str, str]:
    if backend != "nccl":
        return {"torch": torch.__version__}
    return {"torch": torch.__version__, "nccl": nccl(torch)}


def nccl(torch: Any) -> str:
    version = torch.cuda.nccl.version()
    return ".".join(map(str, version)) if isinstance(version, tuple) else str(version)


def library(torch: Any, backend: str) -> str:
    """What carried the collective."""
    return f"nccl {nccl(torch)}" if backend == "nccl" else f"gloo of torch {torch.__version__}"


def environment() -> dict[str, str]:
    """What steered the library in this process; secrets masked."""
    return {
        name: settings.masked(name, value) for name, value in sorted(os.environ.items()) if name.startswith(STEERING)
    }


if __name__ == "__main__":
    main()
