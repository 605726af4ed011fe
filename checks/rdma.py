"""Are the RDMA devices there that the bus promises, open to us, of one make, and did they count no errors?"""

import pytest

from diag.facts.collective import Collective
from diag.facts.counters import CONGESTION, ERROR, PATH, meaning_of
from diag.facts.derived import has_accelerator, has_rdma, hcas, in_container, loads, rdma_ends
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.rdma import Hca, RdmaSystem
from diag.facts.record import NotMeasured, is_known, peek
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding, listed

GIVEN_AWAY = ("vfio-pci", "pci-stub")
"""Drivers that hand a card to a virtual machine: it is not ours."""
SHOWN = 4
"""So many are named in a finding."""

on_rdma = pytest.mark.applies(has_rdma, reason="no RDMA device")


def system(node: Node) -> RdmaSystem:
    if node.rdma_system is None:
        raise NotMeasured("the node found no RDMA device when it was asked what they share")
    return node.rdma_system


def is_wanted(node: Node) -> bool:
    """A server without GPUs may have such a card as its plain network card, and nothing that would use it for more."""
    return has_accelerator(node) or (node.rdma_system is not None and node.rdma_system.rdma_core is not None)


wanted = pytest.mark.applies(is_wanted, reason="no accelerator, and no libibverbs")


@pytest.mark.applies(lambda node: bool(hcas(node)), reason="no HCA")
@wanted
@pytest.mark.applies(lambda node: not in_container(node), reason="drivers are the host's")
@pytest.mark.needs("check_hca_has_its_driver")
@pytest.mark.cause("ib_firmware_or_driver_mismatch")
def check_every_hca_is_an_rdma_device(node: Node) -> None:
    """A card whose RDMA driver did not load is a plain network card: NCCL does not see it, and falls back to TCP.

    Do: load its RDMA driver (mlx5_ib, bnxt_re, irdma, efa), and look at why it was not: firmware, versions, blacklist.
    $ ssh {node} 'lsmod | grep -E "mlx5_ib|bnxt_re|irdma|efa"; dmesg | grep -iE "mlx5|bnxt|irdma|efa" | tail'
    """
    registered = {hca.pci_address for hca in node.hcas}
    ours = [device for device in hcas(node) if device.driver not in GIVEN_AWAY]
    without = [device.address for device in ours if device.address not in registered]
    assert not without, finding(f"no RDMA device of {listed(without)}", f"one of each of {len(ours)} HCAs")


@on_rdma
@wanted
@pytest.mark.applies(lambda node: node.host_side is None, reason="its container's own check says it")
@pytest.mark.cause("rdma_device_not_in_container")
def check_rdma_devices_have_their_files(node: Node) -> None:
    """Programs reach an HCA through /dev/infiniband/uverbs*: without the file NCCL takes TCP, or ends at its start.

    Do: modprobe ib_uverbs (needs root); in a container start it with --device /dev/infiniband.
    $ ssh {node} 'ls -l /dev/infiniband; lsmod | grep ib_uverbs'
    """
    without = [hca.name for hca in node.hcas if hca.device_file is None]
    assert not without, finding(f"no file in /dev/infiniband for {listed(without)}", "one for each device")


@on_rdma
@pytest.mark.needs("check_rdma_devices_have_their_files")
@pytest.mark.cause("rdma_device_not_in_container")
def check_rdma_devices_may_be_opened(node: Node) -> None:
    """A device file that this user may not open is a device that NCCL does not find.

    Do: give the user's group access (udev rule of rdma-core: mode 0666), or start the container with the right group.
    $ ssh {node} 'ls -l /dev/infiniband; id'
    """
    closed = [f"{hca.name} ({hca.device_file})" for hca in node.hcas if hca.permitted is False]
    assert not closed, finding(f"{listed(closed)}: permission denied", "readable and writable")


def devices(node: Node) -> tuple[str, ...]:
    return tuple(f"{hca.name} ({layers(hca)})" for hca in node.hcas if not hca.virtual_function)


def layers(hca: Hca) -> str:
    return "/".join(sorted({port.link_layer for port in hca.ports})) or "no port"


@on_rdma
@pytest.mark.advice
@pytest.mark.cause("rdma_bad_hca_selected")
def check_rdma_devices_are_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Rails are the devices of one name: where a node lacks one, or calls another kind so, its traffic goes other ways.

    Do: look for a card that is missing or disabled, or make the names alike (rdma-core's persistent naming).
    $ ssh {node} 'ls -l /sys/class/infiniband'
    """
    same = peers.by(devices)
    assert same.agree(node), same.finding(node, "RDMA devices")


def firmwares(node: Node) -> tuple[str, ...]:
    boards = {(hca.board or hca.vendor or hca.name, hca.firmware or "unknown") for hca in node.hcas}
    return tuple(sorted(f"{board}: {firmware}" for board, firmware in boards))


@on_rdma
@pytest.mark.advice
@pytest.mark.cause("ib_firmware_or_driver_mismatch")
def check_hca_firmware_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Cards of one model with another firmware have other bugs, and other defaults for congestion control.

    Do: bring all to the one that the card's maker names for the driver in use (mlxfwmanager, needs root).
    $ ssh {node} 'grep . /sys/class/infiniband/*/fw_ver'
    """
    same = peers.by(firmwares)
    assert same.agree(node), same.finding(node, "firmware")


def stack(node: Node) -> str:
    found = system(node)
    return f"OFED {found.ofed or 'none'}, rdma-core {found.rdma_core or 'none'}"


@on_rdma
@pytest.mark.advice
@pytest.mark.cause("version_differs")
def check_rdma_software_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Drivers and libverbs of other versions choose other GIDs, MTUs and features, one node at a time.

    Do: install the same OFED, or the kernel's drivers and the same rdma-core, everywhere.
    $ ssh {node} 'cat /sys/module/mlx5_core/version; ldconfig -p | grep ibverbs'
    """
    same = peers.by(stack)
    assert same.agree(node), same.finding(node, "RDMA software")


def flow_control(node: Node) -> tuple[str, ...]:
    """Without the interfaces' names, which may differ."""
    return tuple(sorted({said for _, said in system(node).pfc}))


@on_rdma
@pytest.mark.applies(
    lambda node: any(end.port.link_layer == "Ethernet" for end in rdma_ends(node)),
    reason="no RoCE: InfiniBand has its own",
)
@pytest.mark.advice
@pytest.mark.optional
def check_flow_control_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """RoCE is fast only without loss: PFC, trust and ECN that one side has and the other has not stall or drop packets.

    Do: set PFC, trust and ECN alike on all nodes, and as the switches have them (mlnx_qos, dcb; needs root).
    $ ssh {node} 'for d in /sys/class/infiniband/*/device/net/*; do sudo mlnx_qos -i $(basename $d); done'
    """
    same = peers.by(flow_control)
    assert same.agree(node), same.finding(node, "flow control")


def slower_slot(hca: Hca) -> str:
    """What its PCIe link has now and could have; empty: all that it could, or it is on none."""
    if hca.pcie_width is None or hca.pcie_max_width is None:
        return ""
    lanes = f"x{hca.pcie_width} of x{hca.pcie_max_width}" if hca.pcie_width < hca.pcie_max_width else ""
    now, most = hca.pcie_speed_gt_per_s, hca.pcie_max_speed_gt_per_s
    speed = f"{now:g} of {most:g} GT/s" if now is not None and most is not None and now < most else ""
    return ", ".join(filter(None, (lanes, speed)))


@on_rdma
@pytest.mark.advice
def check_hcas_have_their_full_pcie_link(node: Node) -> None:
    """A card on half its lanes, or a generation lower, carries half: its port is 400 Gbit/s and its slot 200.

    Do: put it into a slot that has what it needs, look at the BIOS (bifurcation, speed), reseat card or riser.
    $ ssh {node} "sudo lspci -vv -d 15b3: | grep -E '^[0-9a-f]|LnkCap:|LnkSta:'"
    """
    slow = [f"{hca.name}: {words}" for hca in node.hcas if (words := slower_slot(hca))]
    assert not slow, finding("; ".join(slow[:SHOWN]), "all lanes at the card's own speed")


used = pytest.mark.asked(loads, reason="level passive passes nothing through the NICs")


def risen(node: Node, kind: str) -> list[str]:
    """``mlx5_0/1: 12 symbol_error (bits on the cable …) during links``."""
    rows = []
    for one in node.increases:
        counter = meaning_of(one.counter)
        if counter is not None and counter.kind == kind:
            place = one.device if one.port is None else f"{one.device}/{one.port}"
            rows.append(f"{place}: {one.by} {one.counter} during {one.during} ({counter.meaning})")
    return rows


@used
@pytest.mark.optional
@pytest.mark.cause("ib_link_flapping")
def check_no_network_errors_rose(node: Node) -> None:
    """Errors that a port counts while it is used come from its cable, transceiver, slot or switch port, and get worse.

    Do: reseat or swap cable and transceiver, then try another switch port: what the errors follow is broken.
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/counters/* /sys/class/net/*/statistics/*err* | grep -v ":0$"'
    """
    rows = risen(node, ERROR)
    assert not rows, finding("; ".join(rows[:SHOWN]), "no error counted while diag measured")


def silent_peer(node: Node, cluster: Snapshot) -> str:
    """Why nobody may have answered this node's packets although its path is sound; empty: none known."""
    flows = cluster.links.flows if is_known(cluster, "links") else ()
    for flow in flows:
        if node.name in flow.pair and not is_known(flow, flow.figure):
            return f"{flow.source} > {flow.target} carried nothing"
    if cluster.interrupted:
        return "the run was interrupted"
    jobs = (peek(cluster, name) for name in ("collective", "gloo", "without"))
    unfinished = any(isinstance(job, Collective) and not job.finished for job in jobs)
    return "a collective ended before its time" if unfinished else ""


@used
@pytest.mark.advice
@pytest.mark.optional
def check_packets_were_answered(node: Node, cluster: Snapshot) -> None:
    """Packets that nobody acknowledged were lost on their way, or the other end had gone: it need not be this node.

    Do: look at what else failed between this node and its partners; if nothing did, at the switches between them.
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/hw_counters/* | grep -v ":0$"'
    """
    rows = risen(node, PATH)
    gone = silent_peer(node, cluster) if rows else ""
    if gone:
        raise NotMeasured(f"{gone}: who is left counts {rows[0]}")
    assert not rows, finding("; ".join(rows[:SHOWN]), "every packet acknowledged while diag measured")


@used
@pytest.mark.advice
@pytest.mark.optional
def check_no_congestion_rose(node: Node) -> None:
    """Pauses, drops and congestion notifications on links that we alone used: some node or switch cannot keep up.

    Do: look at whose receiver is slow (PCIe, NUMA), at PFC and ECN on both ends and the switch, and at who else sends.
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/hw_counters/* | grep -v ":0$"'
    """
    rows = risen(node, CONGESTION)
    assert not rows, finding("; ".join(rows[:SHOWN]), "no pause and no drop while diag measured")
