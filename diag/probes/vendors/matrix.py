"""What joins each pair of devices? The matrix that ``topo`` commands print, as that of nvidia-smi is drawn.

    GPU0    GPU1    NIC0    Node Affinity  CPU Affinity
    GPU0    X       MX      PIX     0              0-31,64-95

Read of MetaX (``mx-smi topo -m`` and ``-n``) and Ascend (``npu-smi info -t topo``, which shifts its first line).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from diag.facts.device import Between
from diag.probes.vendors.vendor import not_understood

DEVICE = re.compile(r"\b(?:GPU|NPU|Phy-?ID|NIC)\d+\b")
LEGEND = re.compile(r"^\s*(NIC\d+)\s*:\s*(\S+)\s*$", re.MULTILINE)
PATHS = {"SYS", "NODE", "PHB", "PXB", "PIX"}
ALIKE = {"PIXB": "PXB"}
"""As Ascend writes it."""


def between(text: str, what: str, links: frozenset[str]) -> tuple[Between, ...]:
    """Each pair once; ``links``: the words for the vendor's own links. Pairs of two NICs are left out.

    Raises NotMeasured where a row has fewer cells than the header, or a cell holds a word that nobody explained.
    """
    lines = text.splitlines()
    top = next((at for at, line in enumerate(lines) if len(DEVICE.findall(line)) > 1), None)
    if top is None:
        raise not_understood(what, text)
    columns = DEVICE.findall(lines[top])
    nics = dict(LEGEND.findall(text))
    found: list[Between] = []
    for row, line in enumerate(_rows(lines[top + 1 :], columns, what)):
        for column in range(row + 1, len(columns)):
            pair = (columns[row], columns[column])
            if pair[0].startswith("NIC"):
                continue
            path = _path(line[column], links, what)
            if path:
                found.append(Between(a=_name(pair[0], nics), b=_name(pair[1], nics), path=path))
    return tuple(found)


def _rows(lines: list[str], columns: list[str], what: str) -> list[list[str]]:
    """The cells of each device's row, in the order of the columns."""
    named = {words[0]: words[1 : 1 + len(columns)] for line in lines if (words := line.split())}
    for name in columns:
        if len(named.get(name, ())) < len(columns):
            raise not_understood(f"{what}, row {name},", " ".join(named.get(name, ["none"])))
    return [named[name] for name in columns]


def _path(cell: str, links: frozenset[str], what: str) -> str:
    """Empty: the tool does not know either."""
    if cell in links:
        return "link"
    if cell in ("NA", "N/A", "ETH"):
        return ""
    path = ALIKE.get(cell, cell)
    if path not in PATHS:
        raise not_understood(f"{what}, a cell,", cell)
    return path


def _name(column: str, nics: Mapping[str, str]) -> str:
    if column.startswith("NIC"):
        return nics.get(column, column)
    return f"gpu:{re.sub(r'[^0-9]', '', column)}"
