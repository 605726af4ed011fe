"""What do the four ConnectX-7 of a healthy HGX H100 say of themselves, as RoCE at 400 Gbit/s?"""

from __future__ import annotations

from diag.facts.rdma import Gid, Hca, RdmaPort, RdmaSystem
from tests.checks.hgx import HCAS

MAC = "a288:c2ff:fe3f"


def hcas(node: int) -> tuple[Hca, ...]:
    return tuple(_hca(node, index) for index in range(HCAS))


def _hca(node: int, index: int) -> Hca:
    return Hca(
        name=f"mlx5_{index}",
        driver="mlx5_core",
        vendor="mellanox",
        pci_address=f"0000:{0x1A + 0x30 * index:02x}:00.0",
        firmware="28.39.1002",
        board="MT_0000000838",
        numa_node=index // 2,
        pcie_speed_gt_per_s=32.0,
        pcie_width=16,
        pcie_max_speed_gt_per_s=32.0,
        pcie_max_width=16,
        device_file=f"/dev/infiniband/uverbs{index}",
        permitted=True,
        ports=(_port(node, index),),
    )


def _port(node: int, index: int) -> RdmaPort:
    interface = f"ens{10 + index}np0"
    return RdmaPort(
        number=1,
        link_layer="Ethernet",
        state="active",
        physical_state="linkup",
        rate_bits_per_s=400 * 10**9,
        width=4,
        interfaces=(interface,),
        gids=gids(f"10.{10 + index}.0.{node + 10}", f"{node:02x}{index:02x}", interface),
        pkeys=(0xFFFF,),
        mtu_active_bytes=4096,
        mtu_max_bytes=4096,
        counters=(),
    )


def gids(ipv4: str, last: str, interface: str) -> tuple[Gid, ...]:
    """As mlx5 fills the table: the link-local address and the IPv4 one, each as v1, then as v2."""
    words = [int(part) for part in ipv4.split(".")]
    mapped = f"0000:0000:0000:0000:0000:ffff:{words[0]:02x}{words[1]:02x}:{words[2]:02x}{words[3]:02x}"
    local = f"fe80:0000:0000:0000:{MAC}:{last}"
    return (
        Gid(index=0, gid=local, kind="roce_v1", interface=interface),
        Gid(index=1, gid=local, kind="roce_v2", interface=interface),
        Gid(index=2, gid=mapped, kind="roce_v1", interface=interface, ipv4=ipv4),
        Gid(index=3, gid=mapped, kind="roce_v2", interface=interface, ipv4=ipv4),
    )


def rdma_system() -> RdmaSystem:
    return RdmaSystem(
        core_loaded=True,
        ofed="MLNX_OFED_LINUX-24.10-1.1.4.0",
        rdma_core="50.0",
        perftest="24.10.0",
        perftest_cuda=True,
        pfc=(),
        network_namespaces="shared",
    )
