"""Can hardware be declared, and does the plan say that nothing was measured?"""

from __future__ import annotations

import subprocess
import sys

import pytest

from diag.engines import plan_launch
from diag.errors import DiagError
from diag.hardware import ALIASES, DEVICES, declared_snapshot
from diag.units import GIB


def test_nodes_gpus_and_a_device_make_a_snapshot():
    declared = declared_snapshot("2x8xH100-80GB")
    assert len(declared.nodes) == 2
    assert [len(node.gpus) for node in declared.nodes] == [8, 8]
    assert declared.nodes[0].gpus[0].total_bytes == 81559 * 1024**2


@pytest.mark.parametrize("name", [*DEVICES, *ALIASES, "h200", "a100"])
def test_every_known_name_can_be_declared(name):
    gpu = declared_snapshot(f"1x{name}").nodes[0].gpus[0]
    assert 0.9 * gpu.total_bytes < gpu.free_bytes < gpu.total_bytes


def test_a_device_without_a_row_needs_its_memory():
    with pytest.raises(DiagError, match="its memory is not known; known: H100"):
        declared_snapshot("8xB9000")
    assert declared_snapshot("8xB9000", 96 * GIB).nodes[0].gpus[0].total_bytes == 96 * GIB


@pytest.mark.parametrize("text", ["", "H100", "8x", "0xH100", "x8xH100", "8xH100xx!", "-1xH100", "0x8xH100"])
def test_what_is_not_a_declaration_is_one_clear_line(text):
    with pytest.raises(DiagError, match=r"--hardware: .*expected e\.g\. 8xH100-80GB"):
        declared_snapshot(text)


def test_a_plan_for_declared_hardware_says_that_nothing_was_measured():
    plan = plan_launch(declared_snapshot("8xH200"), None)
    assert plan.verdict == "FITS"
    assert "declared, nothing was measured" in plan.reason
    assert plan.sources["hardware"].startswith("declared as 8xH200: nothing was measured")
    assert plan.load_seconds is None


def test_planning_imports_nothing_heavy():
    heavy = "import sys, diag.engines, diag.hardware; sys.exit(bool({'torch', 'paramiko', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0
