"""Among the GPUs of one node: are the collectives right and fast, and does NCCL take the ways that are there?"""

import pytest

from diag.facts.alone import had_for_ourselves
from diag.facts.derived import has_accelerator, hcas, loads, past_quick
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.rates import models, published, slow_all_reduces
from diag.facts.record import NotMeasured, is_known
from diag.facts.snapshot import Snapshot
from diag.facts.speed import NcclLog
from diag.facts.verdict import finding
from diag.units import gb_per_s, size

LARGE_BYTES = 256 << 20
"""Below, latency decides, and what is published is of larger ones."""

loaded = pytest.mark.asked(loads, reason="level passive starts no collective")
from_normal = pytest.mark.asked(past_quick, reason="level normal or burn measures it")
on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")
several = pytest.mark.applies(lambda node: len(node.gpus) > 1, reason="one GPU")


@loaded
@on_gpus
@from_normal
@several
@pytest.mark.cause("wrong_results")
def check_sums_in_the_node_are_right(node: Node) -> None:
    """A wrong sum among the GPUs of a node is in every answer of a model that is divided over them.

    Do: look at the links between its GPUs; until then run it with NCCL_P2P_DISABLE=1 and --disable-custom-all-reduce.
    $ ssh {node} 'nvidia-smi nvlink -e; nvidia-smi topo -p2p r'
    """
    together = node.speed.collectives
    wrong = [
        f"{row.collective}{' in a graph' if row.captured else ''} at {size(row.size_bytes)}"
        for row in together.times
        if not row.verified
    ]
    assert not wrong, finding("; ".join(wrong[:3]), "every element of every rank")
    if not together.times:
        raise NotMeasured(together.summary or "no collective came through")


@loaded
@on_gpus
@from_normal
@several
@pytest.mark.optional
@pytest.mark.needs("check_sums_in_the_node_are_right")
@pytest.mark.cause("link_slow")
def check_all_reduce_in_the_node_is_fast(node: Node, peers: Peers) -> None:
    """Each layer ends in an all-reduce over the group: where it is slow, more GPUs make a model no faster.

    Do: read which step of the ladder changed the result, and what NCCL says it uses.
    $ diag run --hosts {node} --level normal -v
    """
    together = node.speed.collectives
    had_for_ourselves(*node.gpus)
    late = peers.once(slow_all_reduces).get(node.name)
    says = f"; {together.ladder_says}" if together.ladder_says else ""
    assert late is None, finding(
        f"busbw {gb_per_s(late.value)}, {late.share:.1%} below{says}" if late else "",
        f"{gb_per_s(late.others)} ({late.count} nodes)" if late else "",
    )
    largest = together.largest("all_reduce")
    if largest is None or largest.size_bytes < LARGE_BYTES or len(set(models(node).values())) > 1:
        return
    wanted = published(node, together, nvls=together.log.nvls)
    assert wanted is None or largest.busbw_bytes_per_s >= wanted.least, finding(
        f"busbw {gb_per_s(largest.busbw_bytes_per_s)} at {size(largest.size_bytes)}{says}",
        f"at least {gb_per_s(wanted.least)} {'with' if wanted.nvls else 'without'} NVLS ({wanted.source})"
        if wanted
        else "",
    )


def logs_between(cluster: Snapshot) -> dict[str, NcclLog]:
    """Node -> what NCCL said in the all-reduce over nodes, where that was run."""
    return dict(cluster.collective.logs) if is_known(cluster, "collective") else {}


def roundabout(node: Node) -> list[str]:
    """Pairs whose GPUs reach each other, says the driver, and that go through host memory or a network all the same."""
    together = node.speed.collectives
    reached = {frozenset((each.a, each.b)) for each in node.between if each.p2p == "ok"}
    ways = [way for way in together.log.transports if way.kind != "P2P"]
    gpus = together.gpus or tuple(gpu.index for gpu in node.gpus)
    if ways and len(gpus) != together.world_size:
        raise NotMeasured("which GPU each rank used is not known")
    ends = [(f"gpu:{gpus[way.source]}", f"gpu:{gpus[way.target]}", way.kind) for way in ways]
    return [f"{one} to {other} by {kind}" for one, other, kind in ends if frozenset((one, other)) in reached]


@loaded
@on_gpus
@from_normal
@several
@pytest.mark.optional
@pytest.mark.cause("p2p_not_supported")
def check_nccl_goes_from_gpu_to_gpu(node: Node) -> None:
    """Where NCCL does not believe in peer access it goes through host memory or the network, at a tenth of the rate.

    Do: look at NCCL_P2P_DISABLE and NCCL_P2P_LEVEL, at ACS, and at what the container hides (/dev, ipc, pids).
    $ ssh {node} 'env | grep NCCL; cat /etc/nccl.conf; nvidia-smi topo -m'
    """
    ways = roundabout(node)
    assert not ways, finding("; ".join(ways[:3]), "P2P: the driver says that they reach each other")


@loaded
@on_gpus
@from_normal
@several
@pytest.mark.optional
@pytest.mark.applies(lambda node: bool(hcas(node)), reason="no HCA")
@pytest.mark.cause("rdma_device_not_in_container")
def check_nccl_uses_the_hcas(node: Node, peers: Peers) -> None:
    """With HCAs in the node NCCL must not fall back to sockets: it does so in silence, at a tenth of the rate.

    Do: give the container /dev/infiniband and libibverbs; look at NCCL_IB_DISABLE, NCCL_NET and the ports' state.
    $ ssh {node} 'ls /dev/infiniband; ibv_devices; env | grep NCCL'
    """
    between = peers.once(logs_between).get(node.name)
    assert between is None or between.network != "Socket", finding(
        "network Socket between nodes", f"its {len(hcas(node))} HCAs"
    )
    log = node.speed.collectives.log
    if log.network is None:
        raise NotMeasured("NCCL did not say which network it uses")
    assert log.network != "Socket", finding("network Socket", f"its {len(hcas(node))} HCAs")


@loaded
@on_gpus
@from_normal
@several
@pytest.mark.optional
@pytest.mark.applies(lambda node: bool(hcas(node)), reason="no HCA")
@pytest.mark.needs("check_nccl_uses_the_hcas")
@pytest.mark.cause("gdr_peermem_missing")
def check_nccl_uses_gpu_direct(node: Node, peers: Peers) -> None:
    """Without GPUDirect each message goes through host memory: slower, and never an error.

    Do: load nvidia_peermem, or a kernel and driver with DMA-BUF; look at NCCL_NET_GDR_LEVEL and ACS.
    $ ssh {node} 'lsmod | grep peermem; env | grep GDR'
    """
    between = peers.once(logs_between).get(node.name)
    ways = [way for way in between.transports if way.kind.startswith("NET/IB")] if between else []
    # a GPU before Ampere may send by the host and receive directly: only where no way does is it off
    assert not ways or any(way.gpu_direct for way in ways), finding(
        f"off on all ways between nodes, {', '.join(sorted({f'by {way.hca}' for way in ways}))}", "GDRDMA"
    )
    log = node.speed.collectives.log
    if not log.gpu_direct:
        raise NotMeasured("NCCL did not say it of any HCA")
    off = [name for name, on in log.gpu_direct if not on]
    why = f": {log.gpu_direct_why[0]}" if log.gpu_direct_why else ""
    assert not off, finding(f"off for {', '.join(off)}{why}", f"on for all {len(log.gpu_direct)} HCAs")
