"""Does what a user installs work: the wheel, without torch, under the oldest and the newest supported Python?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SNAPSHOT = ROOT / "tests" / "data" / "snapshots" / "healthy-gpu.json"


def interpreter(version: str) -> str | None:
    """A Python of this version: on PATH, or one that pyenv keeps."""
    found = shutil.which(f"python{version}")
    kept = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    for candidate in [*map(str, kept), *([found] if found else [])]:
        if (
            subprocess.run([candidate, "-c", "import venv, ensurepip"], check=False, capture_output=True).returncode
            == 0
        ):
            return candidate
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return next(out.glob("*.whl"))


def test_the_wheel_carries_the_checks_and_the_agent(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("diag/checks/") and name.endswith(".py") for name in names)
    assert "diag/node/agent.py" in names
    assert not any(name.startswith("tests/") for name in names)


@pytest.mark.may_skip
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_the_wheel_serves_a_controller_without_torch(wheel, version, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    subprocess.run([python, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    bin_ = tmp_path / "venv" / "bin"
    pip = [bin_ / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", ROOT / "constraints.txt", wheel], check=True, timeout=400)
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": ""}

    def diag(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [bin_ / "diag", *args], check=False, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=60
        )

    assert "run" in diag("--help").stdout
    checked = diag("check", str(SNAPSHOT))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    planned = diag("plan", str(SNAPSHOT), "--model", "Qwen3-0.6B")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "vllm serve" in planned.stdout
    absent = subprocess.run([bin_ / "python", "-c", "import torch"], check=False, capture_output=True)
    assert absent.returncode != 0
