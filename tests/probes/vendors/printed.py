"""How do tests get a tool's output? From the synthetic files of tests/data, or real ones beside the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from diag.probes.vendors.vendor import Found, Printed

FOLDER = Path(__file__).parents[2] / "data" / "vendors"
REAL = Path(__file__).parents[4] / "shared" / "samples"


def synthetic(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def real(name: str) -> str:
    """Without the line that says where it was seen; skips where the material is not here."""
    path = REAL / name
    if not path.exists():
        pytest.skip(f"{name} lies outside the project")
    return "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("# source"))


def found(vendor: str, tool: str | None, said: dict[str, Any] | None = None, **more: Any) -> Found:
    """What the node would answer; ``said``: command -> its output, or Printed for one that failed."""
    given = (said or {}).items()
    printed = {name: text if isinstance(text, Printed) else Printed(status=0, stdout=text) for name, text in given}
    return Found(vendor=vendor, tool=tool, said=printed, **more)


ADDRESSES = tuple(f"0000:{bus}:00.0" for bus in ("11", "12", "13", "14", "51", "52", "53", "54"))
"""Of the GPUs in metax/2.2.9-8.txt."""


def eight_metax(**said: Any) -> dict[str, Any]:
    """What a node with 8 MetaX GPUs answers, by request, for ``tests.probes.recorded``; ``said``: other output."""
    device = {"kind": "accelerator", "vendor": "metax", "vendor_id": "9999", "device_id": "4001", "driver": "metax",
              "virtual_function": False}  # fmt: skip
    devices = [
        {**device, "address": address, "numa_node": place // 4, "cpus": f"{place // 4 * 32}-{place // 4 * 32 + 31}",
         "path": ["pci0000:10", f"0000:1{place}:01.0"]}
        for place, address in enumerate(ADDRESSES)
    ]  # fmt: skip
    files = {
        "table": "2.2.9-8.txt", "list": "2.2.9-L.txt", "topology with NICs": "topo-n-8.txt", "topology": "topo-m-8.txt",
        "ecc": "count-ecc-8.txt",
    }  # fmt: skip
    printed = {name: {"status": 0, "stdout": synthetic(f"metax/{file}"), "stderr": ""} for name, file in files.items()}
    link = {"current_link_speed": "32.0 GT/s PCIe", "current_link_width": "16", "max_link_speed": "32.0 GT/s PCIe"}
    slot = {"max_link_speed": "32.0 GT/s PCIe", "max_link_width": "16"}
    found = {
        "vendor": "metax", "tool": "mx-smi", "looked_for": ["mx-smi"], "places": ["/opt/mxdriver/bin"],
        "said": printed | said, "devices": {address: {**link, "max_link_width": "16"} for address in ADDRESSES},
        "above": {address: [slot] for address in ADDRESSES}, "closed": [],
    }  # fmt: skip
    return {
        "pci": {"devices": devices, "files": ["/dev/mxcd"], "nvswitches": 0},
        "accelerators": {"vendors": [found]},
    }
