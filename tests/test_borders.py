"""Who may import whom, where the import linter does not look? checks/ sees facts, diag/node/ the standard library."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECKS = sorted((ROOT / "checks").glob("*.py"))
NODE = sorted((ROOT / "diag" / "node").glob("*.py"))
MAY_BE_ABSENT_ON_A_NODE = {"torch", "numpy", "pynvml"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names.add(statement.module)
    return names


@pytest.mark.parametrize("path", CHECKS, ids=lambda p: p.name)
def test_a_check_file_imports_pytest_facts_and_the_standard_library_only(path):
    for name in imported(path):
        top = name.split(".")[0]
        assert top in sys.stdlib_module_names | {"pytest"} or name.startswith(("diag.facts", "diag.units")), name


@pytest.mark.parametrize("path", CHECKS, ids=lambda p: p.name)
def test_a_check_file_does_no_io(path):
    assert not imported(path) & {"os", "subprocess", "socket", "pathlib", "time"}


@pytest.mark.parametrize("path", NODE, ids=lambda p: p.name)
def test_what_runs_on_a_node_needs_the_standard_library_only(path):
    siblings = {p.stem for p in NODE}
    for name in imported(path):
        assert name.split(".")[0] in sys.stdlib_module_names | siblings | MAY_BE_ABSENT_ON_A_NODE, name


def test_no_module_of_the_agent_hides_one_of_the_standard_library():
    assert not {p.stem for p in NODE} & set(sys.stdlib_module_names)
