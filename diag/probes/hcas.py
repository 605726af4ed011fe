"""Which RDMA devices does a node have, with which ports and GIDs? An empty tuple: its kernel registered none."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Any

import msgspec

from diag.facts.counters import BYTES, meaning_of
from diag.facts.derived import addresses
from diag.facts.rdma import Gid, Hca, RdmaPort
from diag.facts.record import Missing, NotMeasured
from diag.probes import interfaces, rdma_systems
from diag.probes.probe import Answers, Probe, always, gap, maybe, told
from diag.probes.rdma_systems import Mtu
from diag.probes.verbs import Ask, Request

REQUEST = Request(name="hcas", verb=Ask("rdma:devices"))
ETHERNET = "Ethernet"
RATE = re.compile(r"([0-9.]+) Gb/sec(?: \(([0-9]+)X)?")
ROCE_HEADERS_BYTES = 96
"""What the kernel takes off an interface's MTU (iboe_get_mtu of rdma/ib_addr.h): GRH, UDP, BTH, extensions, CRC."""
WIDEST = 32
MTUS_BYTES = (256, 512, 1024, 2048, 4096)


class _Gid(msgspec.Struct, frozen=True):
    index: int
    gid: str
    type: str | None = None
    interface: str | None = None


class _Port(msgspec.Struct, frozen=True):
    number: int
    link_layer: str | None = None
    state: str | None = None
    phys_state: str | None = None
    rate: str | None = None
    lid: str | None = None
    sm_lid: str | None = None
    gids: tuple[_Gid, ...] | None = None
    pkeys: tuple[int, ...] | None = None
    counters: dict[str, int] = {}
    interfaces: tuple[str, ...] = ()
    bond: str | None = None
    mtus: tuple[str | None, ...] = ()


class _Device(msgspec.Struct, frozen=True):
    name: str
    firmware: str | None = None
    board: str | None = None
    parent: str | None = None
    address: str | None = None
    driver: str | None = None
    vendor: str | None = None
    numa_node: int | None = None
    virtual_function: bool = False
    link: tuple[str | None, ...] = (None,) * 4
    file: str | None = None
    permitted: bool | None = None
    ports: tuple[_Port, ...] = ()


class _Devices(msgspec.Struct, frozen=True):
    loaded: bool
    devices: tuple[_Device, ...]


def read(answers: Answers) -> tuple[Hca, ...]:
    found = told(answers, REQUEST.name, _Devices).devices
    if not found:
        return ()
    mtus = maybe(lambda: rdma_systems.mtus(answers))
    held = _held(answers)
    return tuple(_hca(_here(device, held), mtus) for device in found)


def _held(answers: Answers) -> dict[str, set[str]]:
    """Interface -> its addresses in this network namespace; empty: not known."""
    try:
        return {one.name: set(addresses(one)) for one in interfaces.read(answers)}
    except NotMeasured:
        return {}


def _here(device: _Device, held: dict[str, set[str]]) -> _Device:
    """Without the interfaces of another network namespace that are called as one here: eth0 is in all of them."""

    def of_gid(row: _Gid) -> _Gid:
        own, mapped = held.get(row.interface or ""), _ipv4(row)
        elsewhere = own is not None and mapped is not None and mapped not in own
        return msgspec.structs.replace(row, interface=None) if elsewhere else row

    def of_port(port: _Port) -> _Port:
        return msgspec.structs.replace(port, gids=None if port.gids is None else tuple(map(of_gid, port.gids)))

    return msgspec.structs.replace(device, ports=tuple(map(of_port, device.ports)))


def _hca(device: _Device, mtus: dict[tuple[str, int], Mtu] | Missing) -> Hca:
    speed, width, most_speed, most_width = (*device.link, *(None,) * 4)[:4]
    return Hca(
        name=device.name,
        driver=device.driver or ("rdma_rxe" if device.parent else None),
        vendor=device.vendor,
        pci_address=device.address,
        firmware=device.firmware,
        board=device.board,
        numa_node=device.numa_node,
        virtual_function=device.virtual_function,
        pcie_speed_gt_per_s=_of_slot(device, _speed(speed), "its PCIe link's speed"),
        pcie_width=_of_slot(device, _width(width), "its PCIe link's width"),
        pcie_max_speed_gt_per_s=_of_slot(device, _speed(most_speed), "its PCIe link's highest speed"),
        pcie_max_width=_of_slot(device, _width(most_width), "its PCIe link's full width"),
        bond=next((port.bond for port in device.ports if port.bond), None),
        device_file=device.file,
        permitted=device.permitted,
        ports=tuple(_port(device, port, mtus) for port in device.ports),
    )


def _of_slot(device: _Device, value: Any, what: str) -> Any:
    """None: it hangs on no PCIe link of its own (soft-RoCE, a virtual function). Else it has one, known or not."""
    if value is None and device.address is not None and not device.virtual_function:
        return gap(f"the kernel does not say {what}")
    return value


def _speed(text: str | None) -> float | None:
    """``32.0 GT/s PCIe``; ``Unknown`` is how the kernel says that it does not know."""
    match = re.match(r"([0-9.]+) GT/s", text or "")
    return float(match[1]) if match else None


def _width(text: str | None) -> int | None:
    """Lanes; 63 and 255 are how it is said that they are not known."""
    return int(text) if text and text.isdigit() and 0 < int(text) <= WIDEST else None


def _port(device: _Device, port: _Port, mtus: dict[tuple[str, int], Mtu] | Missing) -> RdmaPort:
    ethernet = (port.link_layer or "") == ETHERNET
    rate = RATE.match(port.rate or "")
    active, most, told_by = _mtu(device, port, mtus)
    return RdmaPort(
        number=port.number,
        link_layer=port.link_layer or "unknown",
        state=_word(port.state),
        physical_state=_word(port.phys_state),
        rate_bits_per_s=round(float(rate[1]) * 1e9) if rate else gap(f"its rate reads {port.rate!r}"),
        width=int(rate[2]) if rate and rate[2] else gap(f"its rate reads {port.rate!r}"),
        lid=None if ethernet else _lid(port.lid),
        sm_lid=None if ethernet else _lid(port.sm_lid),
        interfaces=port.interfaces,
        gids=gap("its GID table cannot be read")
        if port.gids is None
        else tuple(_gid(row, ethernet) for row in port.gids),
        pkeys=gap("its partition keys cannot be read") if port.pkeys is None else port.pkeys,
        mtu_active_bytes=active,
        mtu_max_bytes=most,
        mtu_told_by=told_by,
        counters=tuple((name, value) for name, value in sorted(port.counters.items()) if _is_of_interest(name)),
    )


def _is_of_interest(name: str) -> bool:
    return name in BYTES or meaning_of(name) is not None


def _word(text: str | None) -> str:
    """``4: ACTIVE`` -> ``active``."""
    return (text or "").partition(":")[2].strip().lower() or "unknown"


def _lid(text: str | None) -> int | None:
    """0 is none; 0xffff an unset one."""
    try:
        lid = int(text or "0", 16)
    except ValueError:
        return None
    return lid if 0 < lid < 0xFFFF else None  # noqa: PLR2004 - as said


def _mtu(device: _Device, port: _Port, mtus: dict[tuple[str, int], Mtu] | Missing) -> tuple[int, int, str]:
    """Active and highest, and who told. Of RoCE the active one follows from the interface, as the kernel does it."""
    known = None if isinstance(mtus, Missing) else mtus.get((device.name, port.number))
    if known is not None:
        return known.active_bytes, known.max_bytes, "ibv_devinfo"
    why = mtus.why if isinstance(mtus, Missing) else "ibv_devinfo does not show this port"
    own = [int(mtu) for mtu in port.mtus if mtu and mtu.isdigit()]
    if port.link_layer == ETHERNET and own:
        fits = [mtu for mtu in MTUS_BYTES if mtu + ROCE_HEADERS_BYTES <= min(own)]
        return max(fits, default=MTUS_BYTES[0]), gap(why), port.interfaces[0]
    return gap(why), gap(why), ""


def _gid(row: _Gid, ethernet: bool) -> Gid:
    return Gid(
        index=row.index,
        gid=row.gid,
        kind=KINDS.get(row.type or "", row.type or "unknown") if ethernet else "ib",
        interface=row.interface,
        ipv4=_ipv4(row),
    )


def _ipv4(row: _Gid) -> str | None:
    """The address that it maps; None: of IPv6. Raises NotMeasured."""
    try:
        mapped = IPv6Address(row.gid).ipv4_mapped
    except ValueError:
        raise NotMeasured(f"GID {row.index}: found {row.gid[:80]!r}, expected an address") from None
    return str(mapped) if mapped else None


KINDS = {"IB/RoCE v1": "roce_v1", "RoCE v1": "roce_v1", "RoCE v2": "roce_v2", "IB": "ib"}
"""As the kernel spells them (gid_type_str, drivers/infiniband/core/cache.c)."""


PROBE = Probe(topic="hcas", requests=always(REQUEST, *rdma_systems.REQUESTS), read=read)
