"""Which GIDs and partition keys are set at a port of an HCA?

A table has up to 1,024 slots, of which a few are set: the kernel fills the lowest free one, so what follows a long run
of empty ones is empty too, and is not read.
"""

from __future__ import annotations

import os

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EMPTY = "0000:0000:0000:0000:0000:0000:0000:0000"
RUN_OF_EMPTY = 64
"""That many addresses in a row would have to be taken away again to hide one."""


def gids(port: str, root: str = "/") -> list[dict[str, Any]] | None:
    """``port``: its folder in sysfs. None: it has no table that can be read."""
    folder = os.path.join(port, "gids")
    if not os.path.isdir(folder):
        return None
    found: list[dict[str, Any]] = []
    index, empty = 0, 0
    while empty < RUN_OF_EMPTY:
        gid = proc.line(os.path.join(folder, str(index)))
        if gid is None:
            break
        empty = empty + 1 if gid in (EMPTY, "") else 0
        if not empty:
            found.append({"index": index, "gid": gid, **_attributes(port, index, root)})
        index += 1
    return found


def _attributes(port: str, index: int, root: str) -> dict[str, str | None]:
    """Its type as the kernel spells it, and its interface: None where this network namespace has no such one."""
    interface = proc.line(os.path.join(port, "gid_attrs/ndevs", str(index))) or None
    here = interface is not None and os.path.exists(os.path.join(root, "sys/class/net", interface))
    return {
        "type": proc.line(os.path.join(port, "gid_attrs/types", str(index))),
        "interface": interface if here else None,
    }


def pkeys(port: str) -> list[int] | None:
    """Those that are set; InfiniBand's table is full of zeros behind them."""
    folder = os.path.join(port, "pkeys")
    if not os.path.isdir(folder):
        return None
    found: list[int] = []
    index, empty = 0, 0
    while empty < RUN_OF_EMPTY:
        text = proc.line(os.path.join(folder, str(index)))
        if text is None:
            break
        value = int(text, 16) if text.startswith("0x") else 0
        empty = 0 if value else empty + 1
        if value:
            found.append(value)
        index += 1
    return found
