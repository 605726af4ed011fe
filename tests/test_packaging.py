"""Does what a user gets work: the source archive, the wheel built from it, without torch, under old and new Pythons?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
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
def built(tmp_path_factory) -> Path:
    """A folder with the source archive, and the wheel that was built from it rather than from this checkout."""
    out = tmp_path_factory.mktemp("built")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return next(built.glob("*.whl"))


def test_the_source_archive_carries_what_its_commands_and_texts_name(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "Makefile", ".ci/run", "constraints.txt", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md",
        "CONTRIBUTING.md", "SECURITY.md", "checks/limits.py", "diag/judge.ini", "tests/lab/packages.txt",
        "tests/test_packaging.py",
    }  # fmt: skip
    assert not any(".venv" in name or "_cache" in name or name.endswith(".pyc") for name in names)


def test_the_wheel_carries_the_checks_and_the_agent(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("diag/checks/") and name.endswith(".py") for name in names)
    assert {"diag/node/agent.py", "diag/judge.ini", "diag/planner/model/catalogue.json"} <= set(names)
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
