"""What should a network link carry? Its line rate, what headers leave of it, and what perftest was seen to reach.

Data, each row with its source. Rates are of bytes a second. Broadcom, Intel and Amazon have no row of what perftest
reaches on them: nobody published one that we know, so they are judged by their line rate's headers, their peers and an
earlier run. A port cannot carry more than its PCIe link does.
"""

from __future__ import annotations

import msgspec

from diag.facts.expected import Expected
from diag.facts.links import Flow
from diag.facts.node import Node
from diag.facts.rails import ETHERNET, End, Rail, rails
from diag.facts.record import NotMeasured, is_known

GIGABIT = 1e9 / 8
INFINIBAND = "InfiniBand"


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One lane of InfiniBand. ``shown``: what sysfs takes it for, ``carries``: its data, both in Gbit/s."""

    name: str
    shown: float
    carries: float
    source: str


IBTA = "IBTA roadmap and volume 2"
LANES = (
    Lane(name="SDR", shown=2.5, carries=2.0, source=f"{IBTA}: 8b/10b"),
    Lane(name="DDR", shown=5.0, carries=4.0, source=f"{IBTA}: 8b/10b"),
    Lane(name="QDR", shown=10.0, carries=8.0, source=f"{IBTA}: 8b/10b; FDR10 is shown alike and carries 10"),
    Lane(name="FDR", shown=14.0, carries=13.64, source=f"{IBTA}: 14.0625, 64b/66b"),
    Lane(name="EDR", shown=25.0, carries=25.0, source=f"{IBTA}: 25.78125, 64b/66b"),
    Lane(name="HDR", shown=50.0, carries=50.0, source=f"{IBTA}: 53.125, PAM4 with FEC"),
    Lane(name="NDR", shown=100.0, carries=100.0, source=f"{IBTA}: 106.25, PAM4 with FEC"),
    Lane(name="XDR", shown=200.0, carries=200.0, source=f"{IBTA}: 212.5, PAM4 with FEC"),
)
"""Ethernet says its data rate itself, from 1 to 800 Gbit/s (IEEE 802.3)."""

IB_HEADERS_BYTES = 26
"""LRH 8, BTH 12, ICRC 4, VCRC 2 (IBTA volume 1, 5.2)."""
ROCE_HEADERS_BYTES = 82
"""Preamble, gap, Ethernet and its CRC 38, IPv4 20, UDP 8, BTH 12, ICRC 4 (IBTA annex A17)."""
FULL_MTU_BYTES = 4096
"""With which the shares below were measured."""
TCP_FRAME_BYTES, TCP_HEADERS_BYTES = 38, 52
"""Ethernet around an IP packet; IPv4 20, TCP 20, its timestamps 12."""

PCIE_ENCODINGS = {2.5: 0.8, 5.0: 0.8, 8.0: 128 / 130, 16.0: 128 / 130, 32.0: 128 / 130, 64.0: 242 / 256}
"""GT/s of a lane -> share of data (PCI-SIG; 64: flits)."""
PCIE_PACKETS = 0.86
"""What headers leave of packets of 256 bytes: 24 of header, CRC and framing, and their acknowledgements."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What ``ib_write_bw`` reached of the line rate: typically, and what its source still takes for sound."""

    typical: float
    least: float
    source: str


NEWER, OLDER = 200 * GIGABIT, 100 * GIGABIT
SHARES = {
    "mellanox": (
        (NEWER, Share(typical=0.98, least=0.90, source="391 and 399.7 of 400 Gbit/s measured; Azure passes 360 to 390 "
                      "of 400 and 180 of 200, OCI 375 and 384 of 400")),
        (OLDER, Share(typical=0.97, least=0.90, source="OCI passes 96 of 100 Gbit/s")),
    ),
}  # fmt: skip
"""Vendor -> from which line rate on; what is slower is taken for the slowest row."""
ON_GPU_LEAST = 0.87
"""With a GPU's memory the least that a source passes: OCI, 350 of 400 on MI300X."""
HEADERS_ONLY = Share(
    typical=1.0, least=0.80, source="what headers leave of the line rate; no figure of such a card is known"
)


def line_bytes_per_s(end: End) -> float:
    """Data that the port's link carries, headers included. Raises NotMeasured."""
    port = end.port
    rate = port.rate_bits_per_s / 8
    if port.link_layer != INFINIBAND or not is_known(port, "width"):
        return rate
    lane = rate / GIGABIT / port.width
    known = min(LANES, key=lambda row: abs(row.shown - lane))
    return known.carries * port.width * GIGABIT if abs(known.shown - lane) < known.shown / 10 else rate


def payload_share(link_layer: str, mtu_bytes: int) -> float:
    """Of the line rate, with packets of this RDMA MTU."""
    headers = ROCE_HEADERS_BYTES if link_layer == ETHERNET else IB_HEADERS_BYTES
    return mtu_bytes / (mtu_bytes + headers)


def tcp_payload_share(mtu_bytes: int) -> float:
    """Of the line rate, with full packets of an interface's MTU."""
    return (mtu_bytes - TCP_HEADERS_BYTES) / (mtu_bytes + TCP_FRAME_BYTES)


def slot_bytes_per_s(end: End) -> float | None:
    """What its PCIe link carries; None: it has none, or its speed is not known."""
    hca = end.hca
    if not is_known(hca, "pcie_speed_gt_per_s") or not is_known(hca, "pcie_width"):
        return None
    speed, width = hca.pcie_speed_gt_per_s, hca.pcie_width
    if speed is None or width is None or speed not in PCIE_ENCODINGS:
        return None
    return speed * GIGABIT * PCIE_ENCODINGS[speed] * width * PCIE_PACKETS


def expected(tool: str, ends: tuple[End, End], *, on_gpu: bool = False) -> Expected:
    """What one direction between two ports should reach. Raises NotMeasured where a rate or MTU is not known."""
    line = min(line_bytes_per_s(end) for end in ends)
    layer, mtu = ends[0].port.link_layer, min(end.port.mtu_active_bytes for end in ends)
    share, slots = _share(ends, line), [slot for slot in map(slot_bytes_per_s, ends) if slot is not None]
    reach = line * min(share.typical, payload_share(layer, mtu))
    typical = min([reach, *slots])
    least = min(share.least, ON_GPU_LEAST) if on_gpu else share.least
    small_packets = payload_share(layer, mtu) / payload_share(layer, FULL_MTU_BYTES)
    source = f"{share.source}; its PCIe link carries no more" if typical < reach else share.source
    return Expected(what=tool, typical=typical, least=least * small_packets * min([line, *slots]), source=source)


def _share(ends: tuple[End, End], line: float) -> Share:
    vendors = {end.hca.vendor for end in ends}
    rows = SHARES.get(next(iter(vendors)) or "", ()) if len(vendors) == 1 else ()
    found = [share for floor, share in rows if line >= floor]
    return found[0] if found else rows[-1][1] if rows else HEADERS_ONLY


def of_flow(flow: Flow, source: Node, target: Node, *, on_gpu: bool = False) -> Expected:
    """Raises NotMeasured where its rail is not known on both nodes."""
    rail = next((rail for rail in rails(source, target) if flow.rail in {rail.one.name, rail.other.name}), None)
    if rail is None:
        raise NotMeasured(f"no rail {flow.rail} joins {flow.source} and {flow.target}")
    return expected(flow.method, _ends(rail), on_gpu=on_gpu)


def _ends(rail: Rail) -> tuple[End, End]:
    return (rail.one, rail.other)
