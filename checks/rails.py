"""Do the rails between the nodes carry data by RDMA, and as much as their ports and slots allow?"""

import pytest

from diag.facts.derived import Link, has_rdma, several_nodes
from diag.facts.link_rates import of_flow
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import Missing, NotMeasured, is_known, peek
from diag.facts.verdict import finding
from diag.units import gbit_per_s

SHOWN = 2

several = pytest.mark.applies(several_nodes, reason="one node: it has no link to another")
active = pytest.mark.asked(lambda cluster: cluster.level != "passive", reason="level passive loads no link")
wanted = pytest.mark.asked(
    lambda cluster: peek(cluster, "links") != Missing("--pairs none"), reason="--pairs none: no link was measured"
)
with_rdma = pytest.mark.applies(has_rdma, reason="no RDMA device")
by_rdma = pytest.mark.applies(lambda link: bool(link.rails), reason="no RDMA was measured on it")
soft = "its device is software, and has no rate of its own"


def failures(link: Link) -> list[str]:
    """Raises NotMeasured where nothing failed and something was not tried."""
    gone = [flow for flow in link.rails if not is_known(flow, flow.figure)]
    failed = [f"{flow.method} by {flow.rail}: {peek(flow, flow.figure).why}" for flow in gone if flow.cause]
    if gone and not failed:
        raise NotMeasured(peek(gone[0], gone[0].figure).why)
    return failed


@several
@active
@wanted
@with_rdma
@by_rdma
@pytest.mark.optional
@pytest.mark.needs("check_link_carries_data")
def check_rails_carry_data(link: Link) -> None:
    """NCCL takes RDMA wherever it finds a port: one that carries nothing hangs it, or ends it, where sockets would do.

    Do: see the culprits and the checks of this port: its GIDs, its partition, memlock, and filters of UDP 4791 (RoCE).
    $ ssh {node} 'ibv_devinfo -v | grep -E "hca_id|state|GID"; ulimit -l'
    """
    failed = failures(link)
    more = f"; and {len(failed) - SHOWN} more" if failed[SHOWN:] else ""
    assert not failed, finding("; ".join(failed[:SHOWN]) + more, f"data to {link.target} by every rail")


def behind(link: Link, node: Node, peers: Peers) -> list[tuple[str, str]]:
    """Rails that carry too little: what is found and expected. Raises NotMeasured where none can be judged."""
    rows, unknown = [], ""
    for flow in link.rails:
        if flow.figure != "bytes_per_s" or not is_known(flow, "bytes_per_s"):
            continue
        if any(hca.name == (flow.rail or "").partition("/")[0] and hca.pci_address is None for hca in node.hcas):
            unknown = soft
            continue
        try:
            should = of_flow(flow, node, peers.nodes[link.target])
        except NotMeasured as why:
            unknown = str(why)
            continue
        if flow.bytes_per_s < should.least:
            found = f"{flow.method} by {flow.rail}: {gbit_per_s(flow.bytes_per_s)}"
            rows.append((found, f"at least {gbit_per_s(should.least)} ({should.source})"))
    if unknown and not rows:
        raise NotMeasured(unknown)
    return rows


@several
@active
@wanted
@with_rdma
@by_rdma
@pytest.mark.optional
@pytest.mark.needs("check_rails_carry_data")
@pytest.mark.cause("link_slow")
def check_rails_reach_their_line_rate(link: Link, node: Node, peers: Peers) -> None:
    """Between two quiet nodes RDMA fills the wire; far below it a cable, a port, its slot or flow control is wrong.

    Do: look at the port's width and speed, at its PCIe link and at the counters that rose.
    $ ssh {node} 'ibstat; lspci -vv | grep -A40 Mellanox | grep LnkSta'
    """
    slow = behind(link, node, peers)
    more = f"; and {len(slow) - SHOWN} more" if slow[SHOWN:] else ""
    found = "; ".join(found for found, _ in slow[:SHOWN]) + more
    assert not slow, finding(found, slow[0][1] if slow else "")
