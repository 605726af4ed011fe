"""What does an Xid, an error of a GPU that the driver logs, mean, and what is to be done? One literal table.

Sources: NVIDIA, Xid Errors (https://docs.nvidia.com/deploy/xid-errors/) and its Xid Catalog
(https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html), and the codes on which the node health checks of
Azure take a machine out (https://github.com/Azure/azurehpc-health-checks, azure_gpu_xid.nhc). A code that is not here
is shown with the driver's own words and not judged.
"""

from __future__ import annotations

import msgspec


class XidMeaning(msgspec.Struct, frozen=True):
    """``kind``: ``bus``, ``memory``, ``hardware`` (these call for somebody with a screwdriver) or ``application``."""

    kind: str
    meaning: str
    do: str


DRAIN = "drain the node, reset the GPU, run dcgmi diag; replace it if it comes back"
RESET = "reset the GPU when it is idle"
RESTART = "start that program again, and reset the GPU when convenient; until then others may go on"
WATCH = "look at the program that ran there"

XIDS = {
    13: XidMeaning("application", "exception in the graphics or compute engine", WATCH),
    31: XidMeaning("application", "a program touched memory that is not its own", WATCH),
    43: XidMeaning("application", "a program's channel was stopped", WATCH),
    45: XidMeaning("application", "a program's channels were torn down, mostly after another error or a kill", WATCH),
    48: XidMeaning("memory", "double-bit memory error", DRAIN),
    63: XidMeaning("memory", "a page or row of memory is to be taken out of use", RESET),
    64: XidMeaning("memory", "a page or row of memory could not be taken out of use", DRAIN),
    92: XidMeaning("memory", "many single-bit memory errors", DRAIN),
    94: XidMeaning("memory", "a memory error that was contained: it ended the program that used it", RESTART),
    95: XidMeaning("memory", "a memory error that was not contained", DRAIN),
    140: XidMeaning("memory", "a memory error that the driver could neither correct nor take out of use", DRAIN),
    79: XidMeaning(
        "bus", "the GPU has fallen off the bus", "drain the node, power-cycle it; reseat or replace the GPU"
    ),
    56: XidMeaning("hardware", "error of the display engine", DRAIN),
    57: XidMeaning("hardware", "error while the memory's interface was programmed", DRAIN),
    58: XidMeaning("hardware", "error of the memory's timing", DRAIN),
    62: XidMeaning("hardware", "the power management's controller halted", DRAIN),
    65: XidMeaning("hardware", "error of the video processor", DRAIN),
    68: XidMeaning("hardware", "exception of the video processor", DRAIN),
    69: XidMeaning("hardware", "error of a class in the graphics engine", DRAIN),
    73: XidMeaning("hardware", "error of the video encoder", DRAIN),
    74: XidMeaning(
        "hardware", "NVLink error", "drain the node, look at the links' error counters and at the other end"
    ),
    80: XidMeaning("hardware", "corrupted data were sent to the GPU", DRAIN),
    81: XidMeaning("hardware", "error of the VGA subsystem", DRAIN),
    119: XidMeaning("hardware", "the GPU's system processor (GSP) did not answer in time", DRAIN),
    120: XidMeaning("hardware", "error of the GPU's system processor (GSP)", DRAIN),
}
