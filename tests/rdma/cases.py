"""Which pair tests are run on the guests, with which fault on the second one, and what should be said of each?

Used by the tests on the guests, by ``record`` and by the tests that replay what was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from diag.facts.node import Node
from diag.facts.record import peek
from diag.probes.perftest import Trial
from tests.rdma.guests import ROOT, USER

WRITE = Trial(tool="ib_write_bw", size_bytes=65536, seconds=1)
READ = Trial(tool="ib_read_bw", size_bytes=65536, seconds=1)
LATENCY = Trial(tool="ib_send_lat", size_bytes=2)
PLENTY_S, HANG_S = 60.0, 8.0
"""What a round is given: a tool that waits for ever is ended with it."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """``says``: a part of why there is no figure; empty: there is one. ``gid``: what the second node is told to use.

    ``known``: the facts are taken with the fault there; else it came after them.
    """

    name: str
    trial: Trial
    fault: str = ""
    user: str = ROOT
    gid: int | None = None
    known: bool = False
    deadline_s: float = PLENTY_S
    cause: str = ""
    says: str = ""

    def __str__(self) -> str:
        return self.name


_KINDS = {"cause": "roce_gid_index", "says": "the GIDs of both ends are of different kinds"}
_DOWN = {"fault": "link_down", "cause": "rdma_bad_hca_selected"}
_NO_PACKETS = {"fault": "no_roce_packets", "cause": "firewall_blocks_ports"}
_MEMLOCK = {"fault": "plain_memlock", "user": USER, "cause": "memlock_limit"}

CASES = (
    Case(name="write", trial=WRITE),
    Case(name="read", trial=READ),
    Case(name="latency", trial=LATENCY),
    Case(name="other mtu", trial=WRITE, fault="large_mtu", known=True),
    Case(name="unset gid", trial=WRITE, gid=9, **_KINDS),
    Case(name="gid of another kind", trial=WRITE, gid=2, **_KINDS),
    Case(name="link known to be down", trial=WRITE, known=True, says="rxe0 of node2 is down", **_DOWN),
    Case(name="link went down", trial=WRITE, says="port 1 is Down on node2", **_DOWN),
    Case(name="no tool, known", trial=WRITE, fault="no_tools", known=True, says="perftest is not installed on node2"),
    Case(name="no tool", trial=WRITE, fault="no_tools", says="perftest is not installed on node2"),
    Case(name="no packets", trial=WRITE, says="UDP port 4791", **_NO_PACKETS),
    Case(name="no packets, hangs", trial=LATENCY, deadline_s=HANG_S, says="no end within", **_NO_PACKETS),
    Case(name="plain user", trial=WRITE, user=USER),
    Case(name="little memlock", trial=WRITE, says="node2 may not lock the memory", **_MEMLOCK),
)


def told(case: Case, nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The facts with which the pair is measured: ``gid`` is what a stale or wrong choice would be."""
    second = nodes["node2"]
    if case.gid is None:
        return dict(nodes)
    (hca,) = peek(second, "hcas")
    (port,) = hca.ports
    (chosen,) = (gid for gid in port.gids if gid.ipv4)
    port = msgspec.structs.replace(port, gids=(msgspec.structs.replace(chosen, index=case.gid),))
    return {**nodes, "node2": msgspec.structs.replace(second, hcas=(msgspec.structs.replace(hca, ports=(port,)),))}
