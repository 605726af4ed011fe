"""What does NVML answer? Runs as a process of its own; ends with NVML's words where the library refuses.

It writes a line of JSON to standard output for each part of the answer as soon as it has it, what others need most
first: a driver that hangs, or a process that dies, costs the rest, and a line before each part says what is asked.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time

import nvml_health
import nvml_identity
import nvml_links

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Callable

    Tell = Callable[[dict[str, Any]], None]

SAMPLES = 5
PARTS = (
    ("health", nvml_health.READS),
    ("links", nvml_links.READS),
)
"""After who and how free each GPU is, and how busy, which decide what may be done here."""


def main(sample_s: float) -> None:
    import pynvml

    answer = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        sys.exit(f"NVML: {error}")
    with open(answer, "w", encoding="utf-8") as file:

        def tell(part: dict[str, Any]) -> None:
            file.write(json.dumps(part, separators=(",", ":")) + "\n")
            file.flush()

        node(pynvml, sample_s, tell)


def node(nv: Any, sample_s: float, tell: Tell) -> None:
    """Every field that could not be read stands in ``why`` of its GPU (or of the node) with NVML's words."""
    tell(fill(nv, nvml_identity.of_node(nv)))
    handles = [_handle(nv, index) for index in range(nv.nvmlDeviceGetCount())]
    tell({"count": len(handles)})
    for index, handle in enumerate(handles):
        if isinstance(handle, str):
            tell({"gpu": index, "lost": handle})
    there = {index: handle for index, handle in enumerate(handles) if not isinstance(handle, str)}
    _each(nv, "identity", nvml_identity.READS, there, tell)
    if sample_s > 0:
        tell({"asking": "utilisation"})
        _utilisation(nv, there, sample_s, tell)
    for what, reads in PARTS:
        _each(nv, what, reads, there, tell)
    for index, handle in there.items():
        tell({"asking": f"pairs of gpu:{index}"})
        others = {other: it for other, it in there.items() if other > index}
        tell({"gpu": index, **fill(nv, {"pairs": lambda: nvml_links.pairs(nv, handle, others)})})  # noqa: B023
    tell({"complete": True})


def _each(nv: Any, what: str, reads: dict[str, Callable[[Any, Any], Any]], there: dict[int, Any], tell: Tell) -> None:
    for index, handle in there.items():
        tell({"asking": f"{what} of gpu:{index}"})
        bound = {field: functools.partial(read, nv, handle) for field, read in reads.items()}
        tell({"gpu": index, **fill(nv, bound)})


def fill(nv: Any, reads: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Each field's value (None: the device has no such thing), or NVML's words in ``why``: none hides the others."""
    row: dict[str, Any] = {"why": {}}
    for field, read in reads.items():
        try:
            row[field] = read()
        except nv.NVMLError as error:
            row["why"][field] = f"NVML: {error}"
    return row


def _handle(nv: Any, index: int) -> Any:
    """A GPU that fell off the bus has no handle: NVML's words stand in for it."""
    try:
        return nv.nvmlDeviceGetHandleByIndex(index)
    except nv.NVMLError as error:
        return str(error)


def _utilisation(nv: Any, there: dict[int, Any], sample_s: float, tell: Tell) -> None:
    """Each reading covers the last 1/6 to 1 s; several over ``sample_s`` see what comes in bursts."""
    sums = dict.fromkeys(there, 0)
    why: dict[int, str] = {}
    for sample in range(SAMPLES):
        if sample:
            time.sleep(sample_s / (SAMPLES - 1))
        for index, handle in there.items():
            try:
                sums[index] += nv.nvmlDeviceGetUtilizationRates(handle).gpu
            except nv.NVMLError as error:
                why.setdefault(index, f"NVML: {error}")
    for index, total in sums.items():
        found = {"why": {"utilisation": why[index]}} if index in why else {"utilisation": total / SAMPLES / 100}
        tell({"gpu": index, **found})
