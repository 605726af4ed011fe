"""Do the rails between the nodes carry data by RDMA, and as much as their ports and slots allow?"""

import pytest

from diag.facts.derived import Link, has_accelerator, has_rdma, loads, pairs_wanted, past_quick, several_nodes
from diag.facts.link_rates import of_flow
from diag.facts.links import Flow
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import NotMeasured, is_known, peek
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding
from diag.units import gbit_per_s

SHOWN = 2
SHARE = 0.85
"""From GPUs, of what the hosts' memory carries. Clouds pass 350 of 400 Gbit/s where they ask 375 of hosts: 0.93."""

several = pytest.mark.applies(several_nodes, reason="one node: it has no link to another")
active = pytest.mark.asked(loads, reason="level passive loads no link")
wanted = pytest.mark.asked(pairs_wanted, reason="--pairs none: no link was measured")
on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")
from_normal = pytest.mark.asked(past_quick, reason="level normal or burn measures it")
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


def from_gpus(cluster: Snapshot) -> dict[tuple[str, str], list[Flow]]:
    found: dict[tuple[str, str], list[Flow]] = {}
    for flow in cluster.links.on_gpus:
        found.setdefault((flow.source, flow.target), []).append(flow)
    return found


def lost_from_gpus(flows: list[Flow], hosts: tuple[Flow, ...]) -> list[str]:
    """Rails that carry much less from GPUs. Raises NotMeasured where none does and one was not compared."""
    of_hosts = {(flow.method, flow.rail): flow.bytes_per_s for flow in hosts if is_known(flow, "bytes_per_s")}
    slow, unknown = [], "" if flows else "nothing was measured from GPU to GPU on it: perftest without CUDA, or in use"
    for flow in flows:
        host = of_hosts.get((flow.method, flow.rail))
        if host is None or not is_known(flow, "bytes_per_s"):
            unknown = f"{flow.rail} was not measured both from GPUs and from the hosts' memory"
        elif flow.bytes_per_s < SHARE * host:
            rate = gbit_per_s(flow.bytes_per_s)
            slow.append(f"{rate} from GPUs by {flow.rail}, {flow.bytes_per_s / host:.0%} of {gbit_per_s(host)}")
    if unknown and not slow:
        raise NotMeasured(unknown)
    return slow


@several
@active
@wanted
@on_gpus
@from_normal
@by_rdma
@pytest.mark.optional
@pytest.mark.advice
@pytest.mark.cause("acs_iommu_breaks_p2p")
def check_rails_carry_as_much_from_gpus(link: Link, peers: Peers) -> None:
    """GPUDirect should cost little; where it costs much, packets between GPU and HCA go up to the CPU and down again.

    Do: switch ACS off on the bridges between them, boot with iommu=pt, and look at the GPU's own PCIe link.
    $ ssh {node} 'nvidia-smi topo -m; lspci -vvv | grep -i acsctl'
    """
    slow = lost_from_gpus(peers.once(from_gpus).get((link.source, link.target), []), link.rails)
    more = f"; and {len(slow) - SHOWN} more" if slow[SHOWN:] else ""
    assert not slow, finding("; ".join(slow[:SHOWN]) + more, f"at least {SHARE:.0%} of what the hosts' memory carries")
