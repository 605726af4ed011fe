"""What does sysfs hold of RDMA devices? One tree was recorded; the others are written in the formats of real ones."""

from __future__ import annotations

from pathlib import Path

from tests.node.trees import CONNECTX7, pci_device

DATA = Path(__file__).parent.parent / "data" / "rdma"
SLOTS = 256
UNSET = "0000:0000:0000:0000:0000:0000:0000:0000"


def recorded_rxe() -> dict[str, str]:
    """As it was on a virtual machine with soft-RoCE on eth1."""
    tree: dict[str, str] = {"dev/infiniband/uverbs0": "", "sys/class/net/eth1/mtu": "1500\n"}
    for line in (DATA / "rxe-sysfs.txt").read_text().splitlines():
        path, colon, text = line.partition(": ")
        if not colon:
            continue  # a link: its target is not part of the tree
        if not text.startswith("<"):  # an error: the file cannot be read
            tree[path.lstrip("/").replace(":", "")] = f"{text}\n"
    return tree


def gid_files(port: str, gids: dict[int, tuple[str, str, str]], slots: int = SLOTS) -> dict[str, str]:
    """``gids``: index -> GID, type, interface. The attributes of unset slots cannot be read."""
    tree = {f"{port}/gids/{index}": f"{UNSET}\n" for index in range(slots)}
    for index, (gid, kind, interface) in gids.items():
        tree[f"{port}/gids/{index}"] = f"{gid}\n"
        tree[f"{port}/gid_attrs/types/{index}"] = f"{kind}\n"
        tree[f"{port}/gid_attrs/ndevs/{index}"] = f"{interface}\n"
    return tree


def card(
    name: str,
    address: str,
    *,
    number: int = 0,
    driver: str = "mlx5_core",
    modalias: str = CONNECTX7,
    vendor: str = "0x15b3",
    netdevs: tuple[str, ...] = (),
    link: tuple[str, str, str, str] = ("32.0 GT/s PCIe", "16", "32.0 GT/s PCIe", "16"),
    **files: str,
) -> dict[str, str]:
    """A device on the bus, its class and verbs folders and its file; ``files``: of its class folder."""
    here = f"sys/class/infiniband/{name}"
    names = ("current_link_speed", "current_link_width", "max_link_speed", "max_link_width")
    return {
        **pci_device(
            address, modalias, driver=f"-> ../../drivers/{driver}", numa_node="1\n", vendor=f"{vendor}\n",
            **dict(zip(names, (f"{text}\n" for text in link), strict=True)),
            **{f"infiniband/{name}/": ""}, **{f"net/{net}/dev_port": "0\n" for net in netdevs},
        ),
        f"{here}/device": f"-> ../../../bus/pci/devices/{address}",
        **{f"{here}/{file}": f"{text}\n" for file, text in files.items()},
        f"sys/class/infiniband_verbs/uverbs{number}/ibdev": f"{name}\n",
        f"dev/infiniband/uverbs{number}": "",
    }  # fmt: skip


def port(device: str, **files: str) -> dict[str, str]:
    """Files of its first port; blanks in names are written ``__``."""
    return {
        f"sys/class/infiniband/{device}/ports/1/{name.replace('__', '/')}": f"{text}\n" for name, text in files.items()
    }


INFINIBAND = {
    **card("mlx5_0", "0000:1a:00.0", netdevs=("ibp26s0",), fw_ver="28.43.2026", board_id="MT_0000000838"),
    **port(
        "mlx5_0", link_layer="InfiniBand", state="4: ACTIVE", phys_state="5: LinkUp", rate="400 Gb/sec (4X NDR)",
        lid="0x39", sm_lid="0x1", pkeys__0="0xffff", pkeys__1="0x8001", pkeys__2="0x0000",
        counters__symbol_error="0", counters__port_xmit_data="9050441733", hw_counters__out_of_sequence="12",
        hw_counters__rx_write_requests="44",
    ),
    **gid_files(
        "sys/class/infiniband/mlx5_0/ports/1",
        {0: ("fe80:0000:0000:0000:a088:c203:0012:3450", "IB/RoCE v1", "ibp26s0")}, 8,
    ),
    "sys/class/net/ibp26s0/mtu": "2044\n",
}  # fmt: skip

V4, V6 = "0000:0000:0000:0000:0000:ffff:0a4d:0002", "fe80:0000:0000:0000:966d:aeff:fe38:817e"
ROCE = {
    **card("mlx5_bond_0", "0000:3b:00.0", number=3, netdevs=("ens1f0np0",), fw_ver="28.43.2026"),
    **port(
        "mlx5_bond_0", link_layer="Ethernet", state="4: ACTIVE", phys_state="5: LinkUp", rate="200 Gb/sec (4X HDR)",
        lid="0x0", sm_lid="0x0", pkeys__0="0xffff",
    ),
    **gid_files(
        "sys/class/infiniband/mlx5_bond_0/ports/1",
        {0: (V6, "IB/RoCE v1", "bond0"), 1: (V6, "RoCE v2", "bond0"), 2: (V4, "IB/RoCE v1", "bond0"),
         3: (V4, "RoCE v2", "bond0"), 40: ("fd77:0000:0000:0000:0000:0000:0000:0001", "RoCE v2", "elsewhere0")},
    ),
    "sys/class/net/bond0/bonding/mode": "802.3ad 4\n",
    "sys/class/net/bond0/mtu": "9000\n",
}  # fmt: skip

BROADCOM = "pci:v000014E4d00001760sv000014E4sd00005208bc02sc00i00"
INTEL = "pci:v00008086d00001592sv00008086sd00000002bc02sc00i00"
EFA = "pci:v00001D0Fd0000EFA2sv00001D0Fsd0000EFA2bc02sc00i00"
OTHERS = {
    **card("bnxt_re0", "0000:41:00.0", number=4, driver="bnxt_en", modalias=BROADCOM, vendor="0x14e4"),
    **port("bnxt_re0", link_layer="Ethernet", state="1: DOWN", phys_state="3: Disabled", rate="40 Gb/sec (4X QDR)"),
    **card("irdma0", "0000:51:00.0", number=5, driver="ice", modalias=INTEL, vendor="0x8086", netdevs=("ens5f0",)),
    **port("irdma0", link_layer="Ethernet", state="4: ACTIVE", phys_state="5: LinkUp", rate="100 Gb/sec (4X EDR)"),
    "sys/class/net/ens5f0/mtu": "1500\n",
    **card("rdmap0s6", "0000:61:00.0", number=6, driver="efa", modalias=EFA, vendor="0x1d0f",
           link=("Unknown", "63", "Unknown", "0")),
    **port("rdmap0s6", link_layer="Unspecified", state="4: ACTIVE", phys_state="5: LinkUp", rate="100 Gb/sec (4X EDR)",
           hw_counters__rx_drops="3"),
}  # fmt: skip
VIRTUAL = {
    **card("mlx5_7", "0000:1a:00.2", number=7, link=("Unknown", "0", "Unknown", "0")),
    "sys/bus/pci/devices/0000:1a:00.2/physfn": "-> ../0000:1a:00.0",
    **port("mlx5_7", link_layer="InfiniBand", state="2: INIT", phys_state="5: LinkUp", rate="400 Gb/sec (4X NDR)",
           lid="0xffff", sm_lid="0x0"),
}  # fmt: skip
