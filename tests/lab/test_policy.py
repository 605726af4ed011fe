"""Under CI, may a test that needs the lab be skipped? It may not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.lab.cluster import PROJECT

SKIPPED = "import pytest\n@pytest.mark.{mark}\ndef test_skips_itself():\n    pytest.skip('not today')\n"
CONFTEST = "from tests.conftest import pytest_runtest_makereport\n"


def outcome(folder, mark, environment):
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_skipped.py").write_text(SKIPPED.format(mark=mark))
    argv = (
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(PROJECT / "pyproject.toml"),
        "-p",
        "no:cacheprovider",
        str(folder),
    )
    kept = {key: value for key, value in os.environ.items() if key != "CI"}
    done = subprocess.run(argv, cwd=PROJECT, env=kept | environment, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[-1]


def test_elsewhere_it_is_skipped(tmp_path):
    assert "1 skipped" in outcome(tmp_path, "lab", {})


@pytest.mark.parametrize("mark", ["lab", "docker"])
def test_under_ci_a_skip_is_a_failure(tmp_path, mark):
    assert "1 failed" in outcome(tmp_path, mark, {"CI": "true"})
