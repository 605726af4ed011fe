"""How are bytes, seconds and rates written for people, and read from them? Inside there are only bytes and seconds."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024**2
GIB = 1024**3
GB = 10**9

_SIZES = {"": 1, "b": 1, "k": KIB, "kib": KIB, "kb": 1000, "m": MIB, "mib": MIB, "mb": 10**6,
          "g": GIB, "gib": GIB, "gb": GB, "t": 1024**4, "tib": 1024**4, "tb": 10**12}  # fmt: skip
_RATES = {"bit/s": 1, "kbit/s": 10**3, "mbit/s": 10**6, "gbit/s": 10**9}


def size(n_bytes: float) -> str:
    """``68719476736`` -> ``64.0 GiB``."""
    for unit, scale in (("TiB", 1024**4), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(n_bytes) >= scale:
            return f"{n_bytes / scale:.1f} {unit}"
    return f"{n_bytes:.0f} B"


def megahertz(mhz: float) -> str:
    """``1,755 MHz``"""
    return f"{mhz:,.0f} MHz"


def tflops(flops_per_s: float) -> str:
    return f"{flops_per_s / 10**12:.1f} TFLOP/s"


def gb_per_s(bytes_per_s: float) -> str:
    """Bandwidth of memory, PCIe and collectives: GB/s of 10⁹ bytes; what is far below is written in MB/s or kB/s."""
    for unit, scale in (("GB/s", GB), ("MB/s", 10**6), ("kB/s", 1000)):
        if bytes_per_s >= scale * 0.1:
            value = bytes_per_s / scale
            return f"{value:.1f} {unit}" if value >= 1 else f"{value:.3f} {unit}"
    return f"{bytes_per_s:.0f} B/s"


def gbit_per_s(bytes_per_s: float) -> str:
    """Bandwidth of network links: Gbit/s of 10⁹ bits."""
    for unit, scale in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        value = bytes_per_s * 8 / scale
        if value >= 0.1:  # noqa: PLR2004 - below, the next unit reads better
            return f"{value:.1f} {unit}" if value >= 10 else f"{value:.2f} {unit}"  # noqa: PLR2004 - two digits below
    return f"{bytes_per_s * 8:.0f} bit/s"


def seconds(duration_s: float) -> str:
    """``0.00042`` -> ``0.4 ms``; ``222`` -> ``3 min 42 s``."""
    if duration_s < 1e-3:  # noqa: PLR2004 - the next smaller unit
        return f"{duration_s * 1e6:.0f} µs"
    if duration_s < 1:
        return f"{duration_s * 1e3:.1f} ms"
    if duration_s < 100:  # noqa: PLR2004 - below, a decimal still matters
        return f"{duration_s:.1f} s"
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes} min {rest} s"


def parse_size(text: str) -> int:
    """``64GiB``, ``64g``, ``1048576`` -> bytes; KiB/MiB/GiB and a bare k/m/g are powers of 1024, kB/MB/GB of 1000."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in _SIZES:
        raise ValueError(f"{text!r} is no size; expected e.g. 64GiB, 8MiB or 1048576")
    return int(float(match[1]) * _SIZES[match[2].lower()])


def parse_rate(text: str) -> float:
    """``100Gbit/s`` -> bytes per second."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKmMgG]?bit/s)\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is no rate; expected e.g. 100Gbit/s")
    return float(match[1]) * _RATES[match[2].lower()] / 8
