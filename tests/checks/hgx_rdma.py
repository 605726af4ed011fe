"""What do the four ConnectX-7 of a healthy HGX H100 say of themselves, on InfiniBand or on RoCE?"""

from __future__ import annotations

import msgspec

from diag.facts.device import PciDevice
from diag.facts.rdma import Gid, Hca, RdmaPort, RdmaSystem

COUNTERS = ("link_downed", "local_ack_timeout_err", "out_of_sequence", "port_xmit_discards", "symbol_error")


def hca_on_the_bus(index: int) -> PciDevice:
    return PciDevice(
        kind="hca",
        vendor="mellanox",
        address=f"0000:{0x1A + 0x30 * index:02x}:00.0",
        vendor_id="15b3",
        device_id="1021",
        driver="mlx5_core",
        numa_node=index // 2,
    )


def connectx7(node: int, index: int) -> Hca:
    device = hca_on_the_bus(index)
    return Hca(
        name=f"mlx5_{index}",
        driver=device.driver,
        vendor=device.vendor,
        pci_address=device.address,
        firmware="28.43.2026",
        board="MT_0000000838",
        numa_node=device.numa_node,
        pcie_speed_gt_per_s=32.0,
        pcie_width=16,
        pcie_max_speed_gt_per_s=32.0,
        pcie_max_width=16,
        device_file=f"/dev/infiniband/uverbs{index}",
        permitted=True,
        ports=(_infiniband(node, index),),
    )


def _infiniband(node: int, index: int) -> RdmaPort:
    guid = f"a088:c203:00{node:02x}:34{index:02x}"
    return RdmaPort(
        number=1,
        link_layer="InfiniBand",
        state="active",
        physical_state="linkup",
        rate_bits_per_s=400 * 10**9,
        width=4,
        lid=16 * node + index,
        sm_lid=1,
        interfaces=(f"ibp{index}s0",),
        gids=(Gid(index=0, gid=f"fe80:0000:0000:0000:{guid}", kind="ib", interface=f"ibp{index}s0"),),
        pkeys=(0xFFFF,),
        mtu_active_bytes=4096,
        mtu_max_bytes=4096,
        mtu_told_by="ibv_devinfo",
        counters=tuple((name, 0) for name in COUNTERS),
    )


def rdma_system() -> RdmaSystem:
    return RdmaSystem(
        core_loaded=True,
        ofed="24.10-1.1.4",
        rdma_core="2410mlnx54",
        perftest="6.23",
        perftest_cuda=True,
        perftest_source_option="--bind_source_ip",
        pfc=(),
        network_namespaces="shared",
    )


def on_ethernet(node: int, index: int) -> RdmaPort:
    """The same card, set to the other kind."""
    local = f"fe80:0000:0000:0000:a288:c2ff:fe{node:02x}:34{index:02x}"
    mapped = f"0000:0000:0000:0000:0000:ffff:0a4d:{index:02x}{node:02x}"
    rows = ((local, None), (mapped, f"10.77.{index}.{node}"))
    kinds = ("roce_v1", "roce_v2")
    return msgspec.structs.replace(
        _infiniband(node, index),
        link_layer="Ethernet",
        lid=None,
        sm_lid=None,
        interfaces=(f"rail{index}",),
        gids=tuple(
            Gid(index=2 * row + column, gid=gid, kind=kind, interface=f"rail{index}", ipv4=ipv4)
            for row, (gid, ipv4) in enumerate(rows)
            for column, kind in enumerate(kinds)
        ),
    )
