"""What should a device or link reach? Data, each row with its source; figures are what was measured on such devices.

Only what somebody published is here: MetaX, Ascend and Hygon have no row, and are judged by their peers and by an
earlier run. Rates are of bytes or operations a second; a row's ``least`` is what its source takes for sound.
"""

from __future__ import annotations

import re
from functools import cache

import msgspec

TERA, GIGA = 1e12, 1e9


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """``what``: ``gemm bf16``, ``hbm``, ``p2p``, ``all_reduce 8``; ``typical`` as measured, ``least`` still sound."""

    what: str
    typical: float
    least: float
    source: str
    nvls: bool = False
    """Whether NVLink SHARP (NVLS) was used, which can exceed the links' own rate."""
    links: int = 0
    """Of NVLink between each two GPUs where it was measured; 0: it is not said, or all boards of the model have one."""


MAMF = "ml-engineering, accelerator benchmarks (best shape found)"
NETWORK = "ml-engineering, network benchmarks"
AZURE = "Azure azurehpc-health-checks, conf"
TESTS = "issues of nccl-tests #149 #212 #272 #290"
GEMM_SHARE = 0.8
"""Of the best shape that somebody found: ours is one shape, under the power limit, for seconds."""
COPY_SHARE = 0.85
ONE_GIB_SHARE = 0.92
"""What is published of all-reduces is of 1 to 16 GiB, most of it of the larger ones."""


def _gemm(dtype: str, tera: float) -> Expected:
    return Expected(what=f"gemm {dtype}", typical=tera * TERA, least=GEMM_SHARE * tera * TERA, source=MAMF)


def _hbm(giga: float, source: str, share: float = COPY_SHARE) -> Expected:
    return Expected(what="hbm", typical=giga * GIGA, least=share * giga * GIGA, source=source)


def _p2p(giga: float, least: float, source: str, links: int = 0) -> Expected:
    return Expected(what="p2p", typical=giga * GIGA, least=least * GIGA, source=source, links=links)


def _all_reduce(  # noqa: PLR0917 - columns of a table
    ranks: int, giga: float, least: float, source: str, nvls: bool = False, links: int = 0
) -> Expected:
    what = f"all_reduce {ranks}"
    return Expected(what=what, typical=giga * GIGA, least=least * GIGA, source=source, nvls=nvls, links=links)


SPEC = "vendor's data sheet; device copies reach about 0.77 of it on H100"
H100_HBM = _hbm(2573, "p2pBandwidthLatencyTest in nccl #1264")
HOPPER_P2P = _p2p(376, 335, "nccl #1264; Azure passes 335", links=18)
A100_P2P = _p2p(250, 238, AZURE, links=12)
A100_ALL_REDUCE = _all_reduce(8, 232, 228, f"{TESTS}; {AZURE}")
A100_SPEC = "NVIDIA's A100 data sheet: 1,555 GB/s with 40 GB; copies as on H100"

DEVICES: dict[str, tuple[Expected, ...]] = {
    "H100": (
        _gemm("bf16", 794.5), _gemm("fp8", 1402), H100_HBM, HOPPER_P2P,
        _all_reduce(8, 370, 340, TESTS), _all_reduce(8, 478, 460, f"{TESTS}; {AZURE}", nvls=True),
    ),
    "H100-NVL": (_all_reduce(2, 208, 208, AZURE, links=12),),
    "H200": (
        _gemm("bf16", 794.5), _gemm("fp8", 1453), _hbm(0.77 * 4800, SPEC), HOPPER_P2P,
        _all_reduce(8, 365.6, 340, NETWORK), _all_reduce(8, 473, 450, f"{NETWORK}; {TESTS}", nvls=True),
        _all_reduce(4, 363, 335, NETWORK, links=18),
    ),
    "H20": (_all_reduce(8, 370, 330, "NVLink of 900 GB/s as on H100; 337 within a node by a user of DeepEP"),),
    "H800": (_p2p(160, 140, "DeepEP #16: NVLink of 400 GB/s", links=8),),
    "A100": (_gemm("bf16", 271), _hbm(0.77 * 2000, SPEC), A100_P2P, A100_ALL_REDUCE),
    "A100-40GB": (_gemm("bf16", 271), _hbm(0.77 * 1555, A100_SPEC), A100_P2P, A100_ALL_REDUCE),
    "A800": (_all_reduce(8, 160, 145, "NVIDIA's maintainer in nccl #412"),),
    "GH200": (_gemm("bf16", 828),),
    "B200": (_gemm("bf16", 1745), _gemm("fp8", 3432), _hbm(0.77 * 8000, SPEC), _all_reduce(8, 840, 800, NETWORK)),
    "B300": (_gemm("bf16", 1769), _all_reduce(8, 840, 800, "OCI health checks")),
    "MI300X": (
        _gemm("bf16", 668), _hbm(4500, "Primus: torch copy 4500 to 5000", 0.9), _p2p(44, 38, NETWORK),
        _all_reduce(8, 313, 310, f"{NETWORK}; OCI"), _all_reduce(2, 47.7, 42, NETWORK),
    ),
    "MI355X": (_hbm(0.77 * 8000, SPEC),),
    "V100": (_all_reduce(8, 115, 110, f"{AZURE} (NDv2)"),),
    "L40S": (_hbm(0.77 * 864, SPEC),),
}  # fmt: skip
"""By model. PCIe and NVL cards have rows of their own, or none: their limits differ; so has a smaller memory."""

PCIE_X16: dict[int, Expected] = {
    3: Expected(what="pcie 3", typical=12 * GIGA, least=9 * GIGA, source=f"{AZURE} (V100)"),
    4: Expected(what="pcie 4", typical=25 * GIGA, least=21 * GIGA, source=f"{AZURE} (A100)"),
    5: Expected(what="pcie 5", typical=55 * GIGA, least=48 * GIGA, source=f"{NETWORK}; {AZURE}"),
}
"""Generation -> pinned copies between host and device over 16 lanes; fewer lanes carry their share."""
LANES = 16

MEMORY = {"H100": "80GB", "A100": "80GB"}
"""Model -> the memory that its row's copies are of; another one may be slower."""

_VARIANT = re.compile(r"\b(PCIE|NVL|FHHL)\b")
_MEMORY = re.compile(r"\b(\d+GB)\b")
_NAMES = re.compile(r"\b(H100|H200|H20|H800|A100|A800|GH200|B200|B300|MI300X|MI355X|V100|L40S)(?=\b|[-_ ])")


@cache
def of_device(name: str) -> tuple[Expected, ...]:
    """For a driver's name: ``NVIDIA H100 80GB HBM3``. Empty: nothing is known of it."""
    words = name.upper()
    found = _NAMES.search(words)
    if found is None:
        return ()
    variant, memory = _VARIANT.search(words), _MEMORY.search(words)
    whole = f"{found[1]}-{variant[1]}" if variant else found[1]
    rows = DEVICES.get(f"{whole}-{memory[1]}" if memory else whole)
    if rows is not None:
        return rows
    other = memory is not None and whole in MEMORY and memory[1] != MEMORY[whole]
    return tuple(row for row in DEVICES.get(whole, ()) if not (other and row.what == "hbm"))


@cache
def expected(name: str, what: str, *, nvls: bool | None = None) -> Expected | None:
    """One row; where there are two, the one with or without NVLS; with ``nvls`` None the lower one."""
    rows = [row for row in of_device(name) if row.what == what]
    fitting = [row for row in rows if row.nvls == nvls] or [row for row in rows if not nvls or row.nvls]
    return min(fitting or rows, key=lambda row: row.least, default=None)


@cache
def pair(name: str, links: int) -> Expected | None:
    """From one GPU to another that so many NVLinks join: four of a board without NVSwitch share their links out."""
    found = expected(name, "p2p")
    if found is None or not found.links:
        return found
    share = min(1.0, links / found.links)
    return msgspec.structs.replace(found, typical=share * found.typical, least=share * found.least) if share else None


@cache
def all_reduce(name: str, ranks: int, *, nvls: bool | None) -> Expected | None:
    """At 1 GiB, where the links are not yet quite full."""
    found = expected(name, f"all_reduce {ranks}", nvls=nvls)
    return None if found is None else msgspec.structs.replace(found, least=ONE_GIB_SHARE * found.least)


@cache
def host_link(generation: int, width: int) -> Expected | None:
    """Of a PCIe link of that generation and width."""
    whole = PCIE_X16.get(generation)
    if whole is None:
        return None
    share = min(1.0, width / LANES)
    return msgspec.structs.replace(whole, typical=whole.typical * share, least=whole.least * share)
