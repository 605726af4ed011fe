"""Which priorities of an interface have flow control (PFC), what does it trust, and where is ECN on? No root needed.

The kernel is asked over rtnetlink (dcbnl.h), as ``dcb`` and ``lldptool`` do; ECN is in files of MLNX_OFED's driver.
"""

from __future__ import annotations

import os
import struct

import netlink
import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

RTM_GETDCB = 78
IEEE_GET = 21
ATTR_IFNAME, ATTR_IEEE = 1, 13
IEEE_PFC, IEEE_APPS = 2, 3
DSCP = 5
PRIORITIES = 8
ECN = ("roce_np", "roce_rp")
"""Notification point and reaction point: who marks, and who slows down."""


def settings(interface: str, root: str = "/") -> dict[str, Any]:
    """``{"pfc": [3], "trust": "dscp", "ecn": {"roce_np": [3], …}}``; ``why``: what the kernel said instead."""
    found: dict[str, Any] = {"ecn": _ecn(interface, root)}
    try:
        found.update(told(_asked(interface)))
    except (OSError, struct.error) as error:
        found["why"] = str(error)
    return found


def _ecn(interface: str, root: str) -> dict[str, list[int]] | None:
    """Point -> priorities; None: this driver has no such files."""
    folder = os.path.join(root, "sys/class/net", interface, "ecn")
    if not os.path.isdir(folder):
        return None
    return {
        point: [n for n in range(PRIORITIES) if proc.line(os.path.join(folder, point, "enable", str(n))) == "1"]
        for point in ECN
    }


def _asked(interface: str) -> bytes:
    """What follows the header of the kernel's answer. OSError: it has none (``Operation not supported``)."""
    name = interface.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(name), ATTR_IFNAME) + name
    body = struct.pack("=BBH", 0, IEEE_GET, 0) + attribute + bytes(-len(attribute) % 4)
    return netlink.ask(RTM_GETDCB, body)[4:]


def told(body: bytes) -> dict[str, Any]:
    """PFC's priorities; trust is ``dscp`` where any code point is mapped to a priority, as mlx5 does it."""
    ieee = dict(netlink.attributes(dict(netlink.attributes(body)).get(ATTR_IEEE, b"")))
    found: dict[str, Any] = {}
    pfc = ieee.get(IEEE_PFC)
    if pfc and len(pfc) > 1:
        found["pfc"] = [n for n in range(PRIORITIES) if pfc[1] >> n & 1]
    if IEEE_APPS in ieee:
        found["trust"] = "dscp" if DSCP in _selectors(ieee[IEEE_APPS]) else "pcp"
    return found


def _selectors(table: bytes) -> Iterator[int]:
    for _, row in netlink.attributes(table):
        if row:
            yield row[0]
