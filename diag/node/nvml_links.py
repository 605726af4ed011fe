"""What joins the GPUs: NVLinks, the NVSwitch fabric, and what the driver says of each pair? Asked by ``nvml``."""

from __future__ import annotations

import ctypes

from nvml_identity import has, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

REPLAY, RECOVERY, CRC_FLIT = 0, 1, 2
READS_OF_A_PEER = 0
"""The bindings' own name for it is a tuple by mistake."""
STATE_BITS = 0xFF
"""The library fills one byte where the bindings have four."""


def _links(nv: Any, handle: Any) -> list[list[Any]]:
    """[index, active, version, remote address, remote kind, replays, recoveries, CRC errors] of each link it has."""
    found = []
    for index in range(nv.NVML_NVLINK_MAX_LINKS):
        try:
            active = has(nv, lambda: nv.nvmlDeviceGetNvLinkState(handle, index))  # noqa: B023
        except nv.NVMLError_InvalidArgument:  # it has no more
            break
        if active is not None:
            found.append([index, bool(active), *_of_link(nv, handle, index)])
    return found


def _of_link(nv: Any, handle: Any, index: int) -> list[Any]:
    reads: list[Callable[[], Any]] = [
        lambda: nv.nvmlDeviceGetNvLinkVersion(handle, index),
        lambda: text(nv.nvmlDeviceGetNvLinkRemotePciInfo(handle, index).busId),
        lambda: nv.nvmlDeviceGetNvLinkRemoteDeviceType(handle, index),
        lambda: nv.nvmlDeviceGetNvLinkErrorCounter(handle, index, REPLAY),
        lambda: nv.nvmlDeviceGetNvLinkErrorCounter(handle, index, RECOVERY),
        lambda: nv.nvmlDeviceGetNvLinkErrorCounter(handle, index, CRC_FLIT),
    ]
    return [_unless_unheard_of(nv, read) for read in reads]


def _unless_unheard_of(nv: Any, read: Callable[[], Any]) -> Any:
    """None: this driver or this kind of link does not say."""
    try:
        return has(nv, read)
    except (nv.NVMLError_FunctionNotFound, nv.NVMLError_InvalidArgument):
        return None


def _fabric(nv: Any, handle: Any) -> dict[str, Any] | None:
    """In the newest form that this driver fills; None: the device can have no NVSwitch fabric."""
    newest, older, oldest = nv.c_nvmlGpuFabricInfo_v3_t(), nv.c_nvmlGpuFabricInfo_v2_t(), nv.c_nvmlGpuFabricInfo_t()
    for told in (newest, older, oldest):
        ask = nv.nvmlDeviceGetGpuFabricInfo if told is oldest else nv.nvmlDeviceGetGpuFabricInfoV
        try:
            ask(handle, ctypes.byref(told))
        except nv.NVMLError_NotSupported:
            return None
        except (nv.NVMLError_ArgumentVersionMismatch, nv.NVMLError_InvalidArgument, nv.NVMLError_FunctionNotFound):
            if told is oldest:
                raise
        else:
            return _fabric_row(nv, told)
    return None


def _fabric_row(nv: Any, told: Any) -> dict[str, Any]:
    status = None if told.status == nv.NVML_SUCCESS else str(nv.NVMLError(told.status))
    return {
        "state": told.state & STATE_BITS,
        "failure": status,
        "mask": getattr(told, "healthMask", 0),
        "summary": getattr(told, "healthSummary", 0),
    }


def pairs(nv: Any, handle: Any, others: dict[int, Any]) -> list[list[Any]]:
    """[other's index, common ancestor, status of reads there, status of reads back] for each other GPU."""
    found = []
    for index, other in others.items():
        reads: list[Callable[[], Any]] = [
            lambda: nv.nvmlDeviceGetTopologyCommonAncestor(handle, other),  # noqa: B023
            lambda: nv.nvmlDeviceGetP2PStatus(handle, other, READS_OF_A_PEER),  # noqa: B023
            lambda: nv.nvmlDeviceGetP2PStatus(other, handle, READS_OF_A_PEER),  # noqa: B023
        ]
        found.append([index, *(_unless_unheard_of(nv, read) for read in reads)])
    return found


READS: dict[str, Callable[[Any, Any], Any]] = {"links": _links, "fabric": _fabric}
