"""Which errors did a node's GPUs count, and its kernel log, while they were under load? Two readings, compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from diag.facts.device import Ecc, Gpu, NvLink, Pcie, Retired, Xid
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known, peek
from diag.facts.speed import GpuRise
from diag.facts.xids import XIDS
from diag.probes import gpus, xids
from diag.probes.probe import Answers, Wishes

ANSWER_S = 18.0
"""NVML's own deadline on the node, the kernel log's beside it, and the way."""
REQUESTS = tuple(
    {
        request.name: request
        for probe in (gpus.PROBE, xids.PROBE)
        for request in probe.requests(Wishes(model_path=None))
    }.values()
)


CORRECTED, REPLAYS = "corrected memory errors", "PCIe packets sent again"
REPLAYS_PER_MINUTE = 8
"""DCGM's limit, above which its health check warns (DCGM_LIMIT_MAX_PCIREPLAY_RATE)."""


def between(node: Node, answers: Answers, seconds: float) -> tuple[GpuRise, ...]:
    """``node``: as it was ``seconds`` before. What was not counted then, or began anew, is no rise.

    Raises NotMeasured.
    """
    before = {gpu.uuid: gpu for gpu in node.gpus if is_known(gpu, "uuid")}
    after = gpus.read(answers)
    counted = [
        rise for gpu in after if is_known(gpu, "uuid") and gpu.uuid in before for rise in _of(before, gpu, seconds)
    ]
    return (*counted, *_logged(node, answers, after))


def _of(before: Mapping[str, Gpu], gpu: Gpu, seconds: float) -> Iterator[GpuRise]:
    few = REPLAYS_PER_MINUTE * max(1.0, seconds / 60)
    earlier = counters(before[gpu.uuid])
    for name, value in counters(gpu).items():
        by = value - earlier.get(name, value)
        if by > 0:
            harmless = name == CORRECTED or (name == REPLAYS and by <= few)
            yield GpuRise(gpu=gpu.index, counter=name, by=by, grave=not harmless)


def counters(gpu: Gpu) -> dict[str, int]:
    """What it counts of errors; what it does not tell is not there."""
    found: dict[str, object] = {}
    ecc, retired, pcie, links = (peek(gpu, name) for name in ("ecc", "retired", "pcie", "links"))
    if isinstance(ecc, Ecc):
        found["uncorrected memory errors"] = peek(ecc, "volatile_uncorrected")
        found[CORRECTED] = peek(ecc, "volatile_corrected")
    if isinstance(retired, Retired):
        found[f"{retired.kind} of memory taken out of use"] = _sum(
            peek(retired, "corrected"), peek(retired, "uncorrected")
        )
    if isinstance(pcie, Pcie):
        found[REPLAYS] = peek(pcie, "replays")
    for link in links if isinstance(links, tuple) else ():
        found |= _of_link(link)
    return {name: value for name, value in found.items() if isinstance(value, int)}


def _of_link(link: NvLink) -> dict[str, object]:
    return {
        f"packets sent again on link {link.index}": link.replays,
        f"recoveries of link {link.index}": link.recoveries,
        f"damaged packets on link {link.index}": link.crc_errors,
    }


def _sum(one: object, other: object) -> object:
    return one + other if isinstance(one, int) and isinstance(other, int) else None


def _logged(node: Node, answers: Answers, after: tuple[Gpu, ...]) -> Iterator[GpuRise]:
    """New lines of the kernel log; where it cannot be read there are none to compare."""
    if not is_known(node, "xids"):
        return
    try:
        now = xids.read(answers)
    except NotMeasured:
        return
    places = {gpu.pci_address: gpu.index for gpu in after if is_known(gpu, "pci_address")}
    old = list(node.xids)
    for xid in now:
        if xid in old:
            old.remove(xid)
        else:
            word = "SXid" if xid.switch else "Xid"
            counter = f"{word} {xid.code} in the kernel log"
            yield GpuRise(gpu=places.get(xid.pci_address), counter=counter, by=1, grave=_is_grave(xid))


def _is_grave(xid: Xid) -> bool:
    """Ends of our own children are logged as well, as errors of an application."""
    if xid.switch:
        return xid.said.startswith("Fatal")
    return xid.code in XIDS and XIDS[xid.code].kind != "application"
