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
DAMAGED = "damaged packets on link"
DAMAGED_PER_S = 100
"""From there on DCGM's health check fails a link; they are sent again (DCGM_LIMIT_MAX_NVLINK_CRC_ERROR)."""


def between(node: Node, answers: Answers, seconds: float) -> tuple[GpuRise, ...]:
    """``node``: as it was ``seconds`` before. What was not counted then, or began anew, is no rise.

    Raises NotMeasured.
    """
    before = {gpu.uuid: gpu for gpu in node.gpus if is_known(gpu, "uuid")}
    after = gpus.read(answers)
    counted = [
        rise for gpu in after if is_known(gpu, "uuid") and gpu.uuid in before for rise in _of(before, gpu, seconds)
    ]
    return (*counted, *_logged(node, answers))


def _of(before: Mapping[str, Gpu], gpu: Gpu, seconds: float) -> Iterator[GpuRise]:
    """By its number of before: where one is gone, those behind it move up."""
    same = before[gpu.uuid]
    earlier = counters(same)
    for name, value in counters(gpu).items():
        by = value - earlier.get(name, value)
        if by > 0:
            yield GpuRise(gpu=same.index, counter=name, by=by, grave=not _is_harmless(name, by, seconds))


def _is_harmless(counter: str, by: int, seconds: float) -> bool:
    if counter == REPLAYS:
        return by <= REPLAYS_PER_MINUTE * max(1.0, seconds / 60)
    if counter.startswith(DAMAGED):
        return by < DAMAGED_PER_S * max(1.0, seconds)
    return counter == CORRECTED


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
        f"{DAMAGED} {link.index}": link.crc_errors,
    }


def _sum(one: object, other: object) -> object:
    return one + other if isinstance(one, int) and isinstance(other, int) else None


def _logged(node: Node, answers: Answers) -> Iterator[GpuRise]:
    """New lines of the kernel log, also of a GPU that is gone; where it cannot be read there are none to compare."""
    if not is_known(node, "xids"):
        return
    try:
        now = xids.read(answers)
    except NotMeasured:
        return
    places = {gpu.pci_address: gpu.index for gpu in node.gpus if is_known(gpu, "pci_address")}
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
