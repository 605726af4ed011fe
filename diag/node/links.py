"""Which network interfaces does this node have, and which addresses?"""

from __future__ import annotations

import os
import struct

import netlink
import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RTM_GETLINK, RTM_GETADDR = 18, 22
STATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_OPERSTATE, IFLA_LINKINFO = 1, 3, 4, 10, 16, 18
IFLA_INFO_KIND = 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFF_LOOPBACK = 0x8
"""linux/if_link.h, linux/if_addr.h, linux/if.h."""


def interfaces(root: str = "/") -> list[dict[str, Any]]:
    """Every interface with its addresses, but for veth ends that a bridge of this node holds (its containers')."""
    held: dict[int, list[str]] = {}
    for header, found in netlink.dump(RTM_GETADDR, 8):
        family, prefix, _, _, index = struct.unpack("BBBBI", header)
        address = netlink.address(family, found.get(IFA_LOCAL) or found.get(IFA_ADDRESS))
        if address:
            held.setdefault(index, []).append(f"{address}/{prefix}")
    rows = [_interface(header, found, held, root) for header, found in netlink.dump(RTM_GETLINK, 16)]
    return [row for row in rows if not (row["link"] == "veth" and row.pop("held", None))]


def _interface(header: bytes, found: dict[int, bytes], held: dict[int, list[str]], root: str) -> dict[str, Any]:
    _, _, hardware, index, flags, _ = struct.unpack("BBHiII", header)
    name = netlink.text(found[IFLA_IFNAME])
    folder = os.path.join(root, "sys/class/net", name)
    row = {
        "name": name,
        "link": netlink.text(dict(netlink.attributes(found.get(IFLA_LINKINFO, b""))).get(IFLA_INFO_KIND, b"")),
        "hardware": hardware,
        "loopback": bool(flags & IFF_LOOPBACK),
        "device": os.path.exists(os.path.join(folder, "device")),
        "state": STATES[min(found.get(IFLA_OPERSTATE, b"\0")[0], len(STATES) - 1)],
        "mtu": netlink.number(found.get(IFLA_MTU)),
        "mac": found.get(IFLA_ADDRESS, b"").hex(":") if found.get(IFLA_ADDRESS) else None,
        "addresses": held.get(index, []),
    }
    if row["device"] or row["link"] in ("bond", "vlan"):
        row["speed"] = proc.line(os.path.join(folder, "speed"))
    if IFLA_MASTER in found:
        row["held"] = True
    return row
