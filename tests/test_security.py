"""Does SECURITY.md name every program that is run on a node?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from diag.remote.runtimes import RUNTIMES

ROOT = Path(__file__).parent.parent
SAID = (ROOT / "SECURITY.md").read_text()
SOURCES = sorted(
    path
    for folder in ("node", "probes", "probes/vendors", "remote", ".")
    for path in (ROOT / "diag" / folder).glob("*.py")
)
RUNNING = ("run", "Run", "_run", "_ran", "_answer", "job")
TABLES = {"Tool": "name", "Trial": "tool"}
"""Records that name a program, and the field in which they do."""
ELSEWHERE = {
    "accelerators.py": "vendors' tools, and its own interpreter",
    "container_choice.py": "a runtime of RUNTIMES",
    "gpu_tools.py": "its TOOLS",
    "gpus.py": "its own interpreter",
    "guards.py": "the runtime that started a container",
    "packages.py": "ollama",
    "perftest.py": "the tool of a Trial",
    "perftest_run.py": "the tool of a Trial",
    "rdma_tools.py": "its TOOLS",
    "ssh_match.py": "Match exec of the user's ssh_config, on the controller",
    "torch_view.py": "its own interpreter",
    "job.py": "torchrun, and the board",
    "measurements.py": "its own interpreter",
    "node_collectives.py": "torchrun's launcher",
    "climb.py": "the same, for each step of the ladder",
    "onlookers.py": "its own interpreter",
    "verbs.py": "what it is asked to",
}
"""Files that run what they do not spell where they run it, and what that is."""


def first(node: ast.expr | None) -> str | None:
    """``dmesg`` of ``["dmesg", "-T"]``; None: it is no literal."""
    if isinstance(node, (ast.List, ast.Tuple)) and node.elts and isinstance(node.elts[0], ast.Constant):
        return str(node.elts[0].value)
    return None


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", "")), node


def tables(path: Path) -> Iterator[str]:
    """The programs of each ``TOOLS``."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and "TOOLS" in {getattr(target, "id", "") for target in node.targets}:
            values = node.value.values if isinstance(node.value, ast.Dict) else ()  # else of Tool records
            yield from filter(None, map(first, values))


def programs() -> Iterator[str]:
    for path in SOURCES:
        yield from tables(path)
        for name, call in calls(path):
            yield from filter(None, [first(call.args[0])] if name in RUNNING and call.args else [])
            field = TABLES.get(name)
            yield from (str(each.value.value) for each in call.keywords
                        if each.arg == field and isinstance(each.value, ast.Constant))  # fmt: skip
    yield from (one.name for one in RUNTIMES)
    yield from ("ollama", "torchrun")


NAMES = sorted(set(programs()))


def test_the_programs_are_found():
    assert {"dmesg", "dcgmi", "ibv_devinfo", "ib_write_bw", "ib_send_lat", "npu-smi", "podman"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_program_is_named(name):
    assert f"`{name}`" in SAID or f"`{name} " in SAID


def test_nobody_else_runs_what_is_not_spelled_out():
    """A file that is new here: let this test find its programs, or add it with what it runs."""
    running = {
        path.name
        for path in SOURCES
        for name, call in calls(path)
        if name in ("run", "Run", "job", "posix_spawnp") and call.args and first(call.args[0]) is None
    }
    assert running <= set(ELSEWHERE)


def test_nothing_is_said_twice():
    bold = [line.partition("**")[2].partition("**")[0] for line in SAID.splitlines() if line.startswith("- **")]
    assert len(bold) == len(set(bold))
