"""Which RDMA devices (HCAs) does this node have, and what do their ports say? From sysfs alone: no tool, no root.

What sysfs does not say of a port is its MTU; ``rdma_tools`` asks for that.
"""

from __future__ import annotations

import os

import nic_counters
import pci
import proc
import rdma
import rdma_gids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERBS = "sys/class/infiniband_verbs"
LINK = ("current_link_speed", "current_link_width", "max_link_speed", "max_link_width")
ABOUT_PORT = ("link_layer", "state", "phys_state", "rate", "lid", "sm_lid")


def devices(root: str = "/") -> list[dict[str, Any]]:
    """Those that the kernel registered, by name."""
    files = _files(root)
    names = sorted(proc.names(os.path.join(root, rdma.CLASS)))
    return [_device(name, files.get(name), root) for name in names]


def _files(root: str) -> dict[str, str]:
    """Device -> the name of its file: the numbers of both need not be the same."""
    folder = os.path.join(root, VERBS)
    named = {proc.line(os.path.join(folder, name, "ibdev")): name for name in proc.names(folder)}
    return {device: name for device, name in named.items() if device}


def _device(name: str, file: str | None, root: str) -> dict[str, Any]:
    here = os.path.join(root, rdma.CLASS, name)
    card = os.path.join(here, "device")
    ports = sorted((one for one in proc.names(os.path.join(here, "ports")) if one.isdigit()), key=int)
    return {
        "name": name,
        "firmware": proc.line(os.path.join(here, "fw_ver")) or None,
        "board": proc.line(os.path.join(here, "board_id")) or None,
        "parent": proc.line(os.path.join(here, "parent")) or None,
        **_card(card),
        **_file(file, root),
        "ports": [_port(os.path.join(here, "ports", one), int(one), _netdevs(card, int(one)), root) for one in ports],
    }


def _card(card: str) -> dict[str, Any]:
    """Where it hangs on the bus. Soft-RoCE hangs nowhere."""
    address = proc.link(card)
    if not address or ":" not in address:
        return {"address": None}
    numa = proc.line(os.path.join(card, "numa_node"))
    vendor = (proc.line(os.path.join(card, "vendor")) or "").replace("0x", "").lower()
    return {
        "address": address,
        "driver": proc.link(os.path.join(card, "driver")),
        "vendor": pci.HCAS.get(vendor, f"vendor {vendor}" if vendor else None),
        "numa_node": int(numa) if numa and numa.isdigit() else None,
        "virtual_function": os.path.lexists(os.path.join(card, "physfn")),
        "link": [proc.line(os.path.join(card, one)) for one in LINK],
    }


def _file(file: str | None, root: str) -> dict[str, Any]:
    """Whether the agent may open it. The file may be missing in a container that sees the device in sysfs."""
    path = os.path.join(root, "dev/infiniband", file or "")
    if file is None or not os.path.exists(path):
        return {"file": None, "permitted": None}
    return {"file": f"/dev/infiniband/{file}", "permitted": os.access(path, os.R_OK | os.W_OK)}


def _netdevs(card: str, port: int) -> list[str]:
    """Network interfaces of the same card; a card with two ports in one function tells them apart by ``dev_port``."""
    names = sorted(proc.names(os.path.join(card, "net")))
    numbers = {name: proc.line(os.path.join(card, "net", name, "dev_port")) or "0" for name in names}
    several = len(set(numbers.values())) > 1
    return [name for name in names if not several or numbers[name] == str(port - 1)]


def _port(here: str, number: int, netdevs: list[str], root: str) -> dict[str, Any]:
    table = rdma_gids.gids(here, root)
    of_gids = dict.fromkeys(row["interface"] for row in table or () if row["interface"])
    interfaces = list(of_gids) or [
        name for name in netdevs if os.path.exists(os.path.join(root, "sys/class/net", name))
    ]
    return {
        "number": number,
        **{name: proc.line(os.path.join(here, name)) for name in ABOUT_PORT},
        "gids": table,
        "pkeys": rdma_gids.pkeys(here),
        "counters": nic_counters.of_port(here),
        "interfaces": interfaces,
        "bond": next((bond for bond in (_bond(name, root) for name in interfaces) if bond), None),
        "mtus": [proc.line(os.path.join(root, "sys/class/net", name, "mtu")) for name in interfaces],
    }


def _bond(interface: str, root: str) -> str | None:
    """The interface itself where it is a bond, else the bond that holds it."""
    folder = os.path.join(root, "sys/class/net")
    for name in (interface, proc.link(os.path.join(folder, interface, "master"))):
        if name and os.path.isdir(os.path.join(folder, name, "bonding")):
            return name
    return None
