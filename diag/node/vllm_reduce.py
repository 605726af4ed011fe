"""How fast are vLLM's own all-reduces, where vLLM can be imported? Each is left out with its reason where it cannot be.

Its classes are not meant for others and change between versions: whatever they raise is the reason.
"""

from __future__ import annotations

import markers
from exchanges import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

LARGEST_BYTES = 8 << 20
"""vLLM's custom all-reduce takes no larger ones, or only smaller ones; decoding issues smaller ones."""
NOT_TAKEN = "it does not take this size here, and leaves it to NCCL"


def measure(rank: Any, torch: Any, dist: Any, sizes: list[int], in_a_row: Callable[..., list[float]]) -> None:
    group = dist.new_group(backend="gloo")
    for name, make in (("vllm_pynccl", _pynccl), ("vllm_custom", _custom)):
        reduce, why = None, ""
        try:
            reduce = make(torch, group, rank.device)
        except Exception as error:
            why = markers.one_line(error)
        able = torch.tensor([1.0 if reduce is not None else 0.0], device=rank.device)
        dist.all_reduce(able)
        if able.item() < rank.world_size or reduce is None:
            words = why or "not on every rank"
            rank.reach(name, measured={"collective": name, "captured": False, "size_bytes": 0, "why": words})
            continue
        for size_bytes in [size for size in sizes if size <= LARGEST_BYTES]:
            exchange = Exchange(torch, dist, "all_reduce", size_bytes, rank)
            found = _one(rank, torch, dist, reduce, exchange, in_a_row)
            rank.reach(f"{name}_{size_bytes}", measured={"collective": name, "captured": False, **found})


def _one(  # noqa: PLR0917 - as ``measure``, of one size
    rank: Any, torch: Any, dist: Any, reduce: Callable[[Any], Any], exchange: Exchange, in_a_row: Callable[..., Any]
) -> dict[str, Any]:
    came = reduce(exchange.given)
    if came is None:  # by size and topology alone, so on every rank
        return {"size_bytes": exchange.size_bytes, "why": NOT_TAKEN}
    right = bool(torch.equal(came, exchange.expected))
    times_s = in_a_row(rank, torch, dist, lambda: reduce(exchange.given), exchange.size_bytes)
    return {"times_s": times_s, "verified": right, "size_bytes": exchange.size_bytes}


def _pynccl(torch: Any, group: Any, device: str) -> Callable[[Any], Any]:
    from vllm.distributed.device_communicators.pynccl import PyNcclCommunicator

    communicator = PyNcclCommunicator(group=group, device=torch.device(device))
    if communicator.disabled:
        raise RuntimeError("PyNccl is disabled here")

    def reduce(tensor: Any) -> Any:
        came = communicator.all_reduce(tensor)
        return tensor if came is None else came

    return reduce


def _custom(torch: Any, group: Any, device: str) -> Callable[[Any], Any]:
    from vllm.distributed.device_communicators.custom_all_reduce import CustomAllreduce

    communicator = CustomAllreduce(group=group, device=torch.device(device))
    finalize = getattr(communicator, "finalize_p2p", None)
    if finalize is not None:  # of later versions; until then all of them are disabled. On all ranks at once
        finalize()
    if communicator.disabled:
        raise RuntimeError("its custom all-reduce is disabled here: no peer access, or not all joined by NVLink")
    custom: Callable[[Any], Any] = communicator.custom_all_reduce
    return custom
