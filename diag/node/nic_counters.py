"""What have this node's NICs and HCAs counted so far? Read before and after a measurement: what rose, rose during it.

Cheap enough for that: sysfs, and of each NIC that has a device one ioctl of its driver's own counters (pauses are in no
file). Nothing is reset. What each counter means is not known here; values are as the driver gives them.
"""

from __future__ import annotations

import _socket as socket  # the module around it costs every node 4 ms of CPU
import array
import fcntl
import os
import re
import struct
import time

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable

STATISTICS = ("rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped", "rx_missed_errors",
              "rx_crc_errors")  # fmt: skip
NICS_AT_MOST = 64
OWN = re.compile(
    r"pause|pfc|xon|xoff|discard|drop|err|crc|cnp|ecn|out_of_buffer|symbol|link_down|fcs|congest|buffer_passed_thres"
)
"""Of a driver's own counters, of which mlx5 has thousands."""
OF_A_QUEUE = re.compile(r"^\[?[rt]x[-_]?(queue[-_]?)?\d+|^ch\d+_|\[\d+\]|_queue_|^q\d+")
"""The same counters again, queue by queue."""
SIOCETHTOOL = 0x8946
GSTRINGS, GSTATS, GSSET_INFO = 0x1B, 0x1D, 0x37
SET_OF_STATISTICS, NAME_BYTES = 1, 32
"""linux/sockios.h, linux/ethtool.h."""


def read(interfaces: list[str] | None = None, root: str = "/") -> dict[str, Any]:
    """``{"nics": {name: {counter: value}}, "hcas": {"mlx5_0/1": {counter: value}}, "at_s": …}``.

    ``interfaces``: these only; None: all but those of containers. Always all HCAs. ``at_s``: by this node's own clock.
    """
    names = _nics(root) if interfaces is None else interfaces
    at_s = time.monotonic()
    return {
        "nics": {name: counted for name in names for counted in [_of_nic(name, root)] if counted},
        "hcas": hcas(root),
        "at_s": at_s,
    }


def hcas(root: str = "/") -> dict[str, dict[str, int]]:
    """By device and port; what a device counts as a whole is with its first port."""
    found: dict[str, dict[str, int]] = {}
    folder = os.path.join(root, "sys/class/infiniband")
    for device in sorted(proc.names(folder)):
        ports = sorted(name for name in proc.names(os.path.join(folder, device, "ports")) if name.isdigit())
        for place, port in enumerate(ports):
            here = os.path.join(folder, device, "ports", port)
            kept = of_port(here)
            if not place:
                kept.update(_numbers(os.path.join(folder, device, "hw_counters")))
            found[f"{device}/{port}"] = kept
    return found


def of_port(folder: str) -> dict[str, int]:
    """``folder``: ``…/ports/1``."""
    return {**_numbers(os.path.join(folder, "counters")), **_numbers(os.path.join(folder, "hw_counters"))}


def _numbers(folder: str) -> dict[str, int]:
    """Files that hold a number; ``lifespan`` is how old the others may be."""
    return _read(folder, (name for name in sorted(proc.names(folder)) if name != "lifespan"))


def _read(folder: str, names: Iterable[str]) -> dict[str, int]:
    texts = ((name, proc.line(os.path.join(folder, name)) or "") for name in names)
    return {name: int(text) for name, text in texts if text.isdigit()}


def _nics(root: str) -> list[str]:
    """With a device first; what a bridge joins without a device is a container's."""
    folder = os.path.join(root, "sys/class/net")
    has_device = {name: os.path.exists(os.path.join(folder, name, "device")) for name in proc.names(folder)}
    names = [
        name
        for name, device in has_device.items()
        if name not in ("lo", "bonding_masters")
        and (device or not os.path.exists(os.path.join(folder, name, "brport")))
    ]
    return sorted(names, key=lambda name: (not has_device[name], name))[:NICS_AT_MOST]


def _of_nic(name: str, root: str) -> dict[str, int]:
    folder = os.path.join(root, "sys/class/net", name)
    counted = _read(os.path.join(folder, "statistics"), STATISTICS)
    if root == "/" and os.path.exists(os.path.join(folder, "device")):
        counted.update({own: value for own, value in drivers_own(name).items() if own not in counted})
    return counted


def drivers_own(interface: str) -> dict[str, int]:
    """What ``ethtool -S`` prints, as far as it is of interest; empty: its driver has none."""
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        return _statistics(asked.fileno(), interface.encode())
    except OSError:
        return {}
    finally:
        asked.close()


def _statistics(fd: int, interface: bytes) -> dict[str, int]:
    info = _ioctl(fd, interface, struct.pack("=IIQI", GSSET_INFO, 0, 1 << SET_OF_STATISTICS, 0))
    count = struct.unpack("=IIQI", info)[3]
    if not count:
        return {}
    names = _ioctl(fd, interface, struct.pack("=III", GSTRINGS, SET_OF_STATISTICS, count) + bytes(count * NAME_BYTES))
    values = _ioctl(fd, interface, struct.pack("=II", GSTATS, count) + bytes(count * 8))
    found = {}
    for place, value in enumerate(struct.unpack(f"={count}Q", values[8 : 8 + count * 8])):
        at = 12 + place * NAME_BYTES
        name = names[at : at + NAME_BYTES].split(b"\0")[0].decode("ascii", "replace").strip()
        if name in of_interest([name]):
            found[name] = value
    return found


def of_interest(names: list[str]) -> list[str]:
    return [name for name in names if OWN.search(name) and not OF_A_QUEUE.search(name)]


def _ioctl(fd: int, interface: bytes, asked: bytes) -> bytes:
    buffer = array.array("B", asked)
    fcntl.ioctl(fd, SIOCETHTOOL, struct.pack("16sP16x", interface, buffer.buffer_info()[0]))
    return buffer.tobytes()
