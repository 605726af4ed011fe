"""What do the programs that measure a device need to run here: a gate, a listener, and a torch that can be spoiled."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

NODE = Path(__file__).parents[2] / "diag" / "node"
NAMES = (
    "gemm",
    "copies",
    "p2p",
    "fill",
    "fingerprint",
    "stopwatch",
    "numa",
    "context",
    "proc",
    "markers",
    "settings",
    "measure",
    "alive",
    "heat",
    "gate",
)
MIB = 1 << 20


@pytest.fixture
def programs(monkeypatch) -> Any:
    """``programs("gemm")``: a module of diag/node."""
    monkeypatch.syspath_prepend(str(NODE))
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


class Stand:
    """What a measurement is given, with a gate that is open; ``rows``: what it says."""

    def __init__(self, torch: Any, devices: tuple[str, ...]) -> None:
        self.torch, self.devices = torch, devices
        self.rows: list[dict[str, Any]] = []
        self.met = 0

    def say(self, **row: Any) -> None:
        self.rows.append(row)

    def meet(self) -> None:
        self.met += 1


class Spoiled:
    """torch, but for some of its functions."""

    def __init__(self, **instead: Any) -> None:
        import torch  # noqa: PLC0415 - slow, and this file's alone

        self._torch, self._instead = torch, instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self._torch, name)


def run(
    function: Any, torch: Any = None, devices: tuple[str, ...] = ("cpu",), **arguments: Any
) -> list[dict[str, Any]]:
    stand = Stand(torch or Spoiled(), devices)
    function(stand, **arguments)
    return stand.rows
