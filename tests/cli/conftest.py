"""The command as a user types it, in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from diag.cli.commands import status_of

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "data" / "snapshots" / "healthy-gpu.json"


class Done(msgspec.Struct, frozen=True):
    """How the command ended."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def diag(capsys) -> Callable[..., Done]:
    def call(*arguments: object) -> Done:
        capsys.readouterr()
        status = status_of([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Done(status, printed.out, printed.err)

    return call


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    def call(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "diag", *map(str, arguments)]
        return subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=120, **options)

    return call
