"""What of these readers is proven by real output, and what was written after documentation or source alone?

Nothing was run on a device of any of them; all are experimental.
"""

from __future__ import annotations

import msgspec


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """One tool. ``real``: versions (or devices) whose real output its reader is tested on, or was written after."""

    vendor: str
    tool: str
    real: str
    only_documented: str


READ = (
    Read(
        vendor="metax",
        tool="mx-smi",
        real="tables of 2.1.6, 2.1.12, 2.2.4, 2.2.6, 2.2.9, 2.3.1; topo -m of 2.1.7 and 2.2.9, topo -n, -L, "
        "--count-ecc and --show-temperature of 2.2.9",
        only_documented="a GPU that is not available, sGPU switched on; MACA_VISIBLE_DEVICES, by which torch is "
        "told the order of its devices",
    ),
    Read(
        vendor="ascend",
        tool="npu-smi",
        real="tables with processes of 910B and A3 (dual-chip), 23.0 to 26.0; -t topo of 910B3",
        only_documented="-t ecc (source and documentation), 310P, other words than OK",
    ),
    Read(
        vendor="amd",
        tool="amd-smi",
        real="shortened captures of static and metric (MI300X, ROCm 6 and 7)",
        only_documented="process, list, topology, bad-pages: its source in ROCm 6.0 to 7.1; partitions",
    ),
    Read(
        vendor="amd",
        tool="rocm-smi",
        real="shortened captures of memory and use",
        only_documented="all other keys; processes by card it does not tell",
    ),
    Read(
        vendor="hygon",
        tool="hy-smi",
        real="captured JSON of BW cards (DTK 26.04, with its missing commas), its table, older keys",
        only_documented="topology is not read; processes by card it does not tell",
    ),
    Read(
        vendor="others",
        tool="torch.accelerator",
        real="",
        only_documented="names and total memory, in torch's order",
    ),
)
