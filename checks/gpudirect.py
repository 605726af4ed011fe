"""Do the rails carry as much from the memory of GPUs as from the hosts'?"""

import pytest

from diag.facts.derived import Link, has_accelerator, past_quick, several_nodes
from diag.facts.links import Flow
from diag.facts.peers import Peers
from diag.facts.record import NotMeasured, is_known
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding
from diag.units import gbit_per_s

SHARE = 0.85
"""Of what the hosts' memory carries. Clouds pass 350 of 400 Gbit/s from GPUs where they ask 375 of hosts: 0.93."""
SHOWN = 2

several = pytest.mark.applies(several_nodes, reason="one node: it has no link to another")
on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")
from_normal = pytest.mark.asked(past_quick, reason="measured from level normal on")
by_rdma = pytest.mark.applies(lambda link: bool(link.rails), reason="no RDMA was measured on it")


def from_gpus(cluster: Snapshot) -> dict[tuple[str, str], list[Flow]]:
    found: dict[tuple[str, str], list[Flow]] = {}
    for flow in cluster.links.on_gpus:
        found.setdefault((flow.source, flow.target), []).append(flow)
    return found


@several
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
    flows = peers.once(from_gpus).get((link.source, link.target), [])
    if not flows:
        raise NotMeasured("nothing was measured from GPU to GPU on it: an end without CUDA in perftest, or in use")
    hosts = {flow.rail: flow.bytes_per_s for flow in link.rails if flow.method == flows[0].method and carried(flow)}
    rates = [(flow.rail, flow.bytes_per_s, hosts[flow.rail]) for flow in flows if flow.rail in hosts]
    slow = [
        f"{gbit_per_s(gpu)} from GPUs by {rail}, {gpu / host:.0%} of {gbit_per_s(host)}"
        for rail, gpu, host in rates
        if gpu < SHARE * host
    ]
    more = f"; and {len(slow) - SHOWN} more" if slow[SHOWN:] else ""
    assert not slow, finding("; ".join(slow[:SHOWN]) + more, f"at least {SHARE:.0%} of what the hosts' memory carries")


def carried(flow: Flow) -> bool:
    return is_known(flow, "bytes_per_s")
