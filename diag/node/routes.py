"""Where does this node send packets? The main routing table; what policy routing adds to it is not looked at."""

from __future__ import annotations

import _socket as socket  # the module around it costs every node 4 ms of CPU
import struct

import netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RTM_GETROUTE = 26
MAIN_TABLE, UNICAST = 254, 1
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE, RTA_VIA = 1, 4, 5, 6, 7, 9, 15, 18
"""linux/rtnetlink.h."""
NEXTHOP_BYTES = 8
ROUTES_AT_MOST = 512


def routes() -> list[dict[str, Any]]:
    """Unicast routes, default ones first, a row for each next hop; at most ROUTES_AT_MOST (routers hold the world)."""
    names = dict(socket.if_nameindex())
    rows = []
    for header, found in netlink.dump(RTM_GETROUTE, 12):
        family, prefix, _, _, table, _, _, kind, _ = struct.unpack("BBBBBBBBI", header)
        table = netlink.number(found.get(RTA_TABLE)) or table
        if table == MAIN_TABLE and kind == UNICAST and not _is_link_local(family, found):
            for index, hop in _hops(found):
                rows.append(_route(family, prefix, found, names.get(index, str(index)), hop))
    rows.sort(key=lambda row: (row["destination"] != "default", row["gateway"] is not None))
    return rows[:ROUTES_AT_MOST]


def _is_link_local(family: int, found: dict[int, bytes]) -> bool:
    return family == socket.AF_INET6 and found.get(RTA_DST, b"")[:2] == b"\xfe\x80"


def _hops(found: dict[int, bytes]) -> list[tuple[int, dict[int, bytes]]]:
    """Interface and attributes of each next hop; a plain route is its own."""
    if RTA_OIF in found:
        return [(netlink.number(found[RTA_OIF]), found)]
    hops = []
    rest = found.get(RTA_MULTIPATH, b"")
    while len(rest) >= NEXTHOP_BYTES:
        length, _, _, index = struct.unpack("=HBBi", rest[:NEXTHOP_BYTES])
        if length < NEXTHOP_BYTES:
            break
        hops.append((index, dict(netlink.attributes(rest[NEXTHOP_BYTES:length]))))
        rest = rest[(length + 3) & ~3 :]
    return hops


def _route(family: int, prefix: int, found: dict[int, bytes], interface: str, hop: dict[int, bytes]) -> dict[str, Any]:
    target = netlink.address(family, found.get(RTA_DST))
    return {
        "destination": f"{target}/{prefix}" if target and prefix else "default",
        "interface": interface,
        "gateway": _gateway(family, hop),
        "metric": netlink.number(found.get(RTA_PRIORITY)),
        "source": netlink.address(family, found.get(RTA_PREFSRC)),
    }


def _gateway(family: int, hop: dict[int, bytes]) -> str | None:
    """Of the route's own family, or (RFC 5549) of another that ``via`` names."""
    via = hop.get(RTA_VIA)
    if via:
        return netlink.address(struct.unpack("=H", via[:2])[0], via[2:])
    return netlink.address(family, hop.get(RTA_GATEWAY))
