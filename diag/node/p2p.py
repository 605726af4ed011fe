"""What comes over from one GPU to another of the same node, how fast, and is it what was sent?

Some systems say that peers can reach each other and deliver zeros, old bytes, or nothing at all: the payload is
compared with what the receiver computes by itself, after the copy engine and after a kernel have carried it.
"""

from __future__ import annotations

import stopwatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from measure import Stand

WORD_BYTES = 8
COLUMNS = 1024


def pair(at: Stand, *, size_bytes: int, seconds: float) -> None:
    """Both directions, one after the other; each is said as soon as it is known."""
    at.meet()
    for seed, (source, target) in enumerate(((0, 1), (1, 0))):
        found = one_way(at.torch, at.devices[source], at.devices[target], size_bytes, seconds=seconds, seed=seed)
        at.say(places=(source, target), **found)


def one_way(torch: Any, source: str, target: str, size_bytes: int, *, seconds: float, seed: int) -> dict[str, Any]:
    count = size_bytes // WORD_BYTES // COLUMNS * COLUMNS
    sent = stopwatch.pattern(torch, source, count, seed).view(-1, COLUMNS)
    expected = stopwatch.pattern(torch, target, count, seed).view(-1, COLUMNS)
    came = torch.zeros_like(expected)

    def copy() -> None:
        came.copy_(sent, non_blocking=True)

    def by_engine() -> str:
        came.zero_()
        _finish(torch, source, target)
        stopwatch.timed(torch, source, copy)
        _finish(torch, source, target)
        return _difference(came, expected, "copied")

    def by_kernel() -> str:
        """Every other column: what is not in one piece no copy engine takes."""
        came.zero_()
        _finish(torch, source, target)
        came[:, ::2].copy_(sent[:, ::2])
        _finish(torch, source, target)
        return _difference(came[:, ::2], expected[:, ::2], "written by a kernel")

    wrong = by_engine() or by_kernel()
    times_s = stopwatch.repeat(lambda: stopwatch.timed(torch, source, copy), seconds)
    wrong = wrong or by_engine()
    return {
        "direct": reachable(torch, source, target),
        "size_bytes": count * WORD_BYTES,
        "times_s": times_s,
        "verified": not wrong,
        "wrong": wrong,
    }


def reachable(torch: Any, source: str, target: str) -> bool:
    if not source.startswith("cuda"):
        return False
    return bool(torch.cuda.can_device_access_peer(torch.device(target).index, torch.device(source).index))


def _finish(torch: Any, *devices: str) -> None:
    for device in devices:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)


def _difference(came: Any, expected: Any, how: str) -> str:
    wrong = int((came != expected).sum())
    if not wrong:
        return ""
    zeros = int((came == 0).sum())
    about = ": zeros" if zeros >= wrong else ""
    return f"{wrong} of {came.numel()} words {how} are not what was sent{about}"
