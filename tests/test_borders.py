"""Who may import whom, where the import linter does not look? checks/ sees facts, diag/node/ the standard library."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECKS = sorted((ROOT / "checks").glob("*.py"))
NODE = sorted((ROOT / "diag" / "node").glob("*.py"))
CONTROLLER = sorted(set((ROOT / "diag").rglob("*.py")) - set(NODE))
MAY_BE_ABSENT_ON_A_NODE = {"torch", "pynvml", "vllm"}
WORLD = {
    "asyncio", "glob", "http", "importlib", "io", "multiprocessing", "os", "pathlib", "random", "shutil", "socket",
    "subprocess", "tempfile", "time", "urllib",
}  # fmt: skip
"""Modules with which a check would measure instead of judge."""
DOORS = {"open", "exec", "eval", "compile", "__import__", "print", "input"}
"""Built-in functions that lead out of a check too."""


def imported(path: Path) -> set[str]:
    """``from .a import b`` counts as ``.a``, so that it is nobody's standard library."""
    names: set[str] = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names.add("." * statement.level + (statement.module or ""))
    return names


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def called(path: Path) -> Iterator[str]:
    """``open`` of ``open(…)``, ``.bind`` of ``listener.bind(…)``."""
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            yield call.func.id
        elif isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            yield f".{call.func.attr}"


def of_facts(name: str) -> bool:
    """Facts, and what follows from them without I/O."""
    return name in ("diag.facts", "diag.units", "diag.localise") or name.startswith("diag.facts.")


@pytest.mark.parametrize("path", CHECKS, ids=lambda p: p.name)
def test_a_check_file_imports_pytest_facts_and_the_standard_library_only(path):
    for name in imported(path):
        assert name.split(".")[0] in sys.stdlib_module_names | {"pytest"} or of_facts(name), name


@pytest.mark.parametrize("path", CHECKS, ids=lambda p: p.name)
def test_a_check_file_does_no_io(path):
    assert not tops(path) & WORLD
    assert not set(called(path)) & DOORS


@pytest.mark.parametrize("path", NODE, ids=lambda p: p.name)
def test_what_runs_on_a_node_needs_the_standard_library_only(path):
    siblings = {p.stem for p in NODE}
    assert tops(path) <= sys.stdlib_module_names | siblings | MAY_BE_ABSENT_ON_A_NODE


def test_no_module_of_the_agent_hides_one_of_the_standard_library():
    assert not {p.stem for p in NODE} & set(sys.stdlib_module_names)


def test_only_jobs_import_torch_and_only_the_child_that_asks_nvml_its_bindings():
    jobs = {"launch", "allreduce", "collectives", "measure", "torch_devices", "torch_view"}
    for library, users in (("torch", jobs), ("pynvml", {"nvml"})):
        assert {path.stem for path in NODE if library in tops(path)} == users


def test_only_what_nodes_meet_at_listens_on_an_address():
    """``agent.py`` listens to its wire; UDP needs no listening: its one socket that waits for others is named too."""
    listening = {path.stem for path in NODE if re.search(r"\.listen\(\d", path.read_text())}
    assert listening == {"dials", "board"}
    waiting = {path.stem for path in NODE if "SOCK_DGRAM" in path.read_text()} - {"nic_counters", "ras"}
    assert waiting <= {"unfragmented", "routes", "links", "hosts"}, waiting


def test_nothing_of_the_controller_imports_what_runs_on_a_node():
    for path in CONTROLLER:
        assert not any(name.startswith("diag.node") for name in imported(path)), path


def test_the_readme_s_tree_names_every_module_of_diag():
    tree = (ROOT / "README.md").read_text().partition("## How it is built")[2]
    for path in (ROOT / "diag").iterdir():
        if path.suffix == ".py" and not path.stem.startswith("__"):
            assert f" {path.name} " in tree
        elif any(path.glob("*.py")):
            assert f"      {path.name}/ " in tree
