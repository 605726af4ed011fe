"""How do tests build a /sys, /proc or /dev to read from?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def plant(root: Path, files: Mapping[str, str]) -> str:
    """Write ``files``: path -> text; ``-> target`` makes a link, a path ending in / a folder. The root as text."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif text.startswith("-> "):
            path.symlink_to(text[3:])
        else:
            path.write_text(text)
    return str(root)


def pci_device(address: str, modalias: str, **more: str) -> dict[str, str]:
    """The files of one device on the bus; ``more``: further files or links of its folder."""
    folder = f"sys/bus/pci/devices/{address}"
    return {f"{folder}/modalias": f"{modalias}\n", **{f"{folder}/{name}": text for name, text in more.items()}}


H200 = "pci:v000010DEd00002335sv000010DEsd000018BEbc03sc02i00"
CONNECTX7 = "pci:v000015B3d00001021sv000015B3sd00000041bc02sc07i00"
CONNECTX6_ETHERNET = "pci:v000015B3d0000101Dsv000015B3sd00000016bc02sc00i00"
VIRTIO_NET = "pci:v00001AF4d00001041sv00001AF4sd00001041bc02sc00i00"
NVSWITCH = "pci:v000010DEd000022A3sv000010DEsd00001796bc06sc80i00"
MI300X = "pci:v00001002d000074A1sv00001002sd000074A1bc12sc00i00"
RAPHAEL = "pci:v00001002d0000164Esv00001002sd0000164Ebc03sc00i00"
"""Graphics of a processor."""
METAX = "pci:v00009999d00004001sv00009999sd00004001bc03sc80i00"
