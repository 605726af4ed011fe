from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.node.asking import Refused, ask
from tests.node.trees import plant


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/usr/bin/python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "x"], "vllm"),
        (["/opt/venv/bin/python3.12", "/opt/venv/bin/vllm", "serve", "x"], "vllm"),
        (["VLLM::EngineCore_0"], "vllm"),
        (["python", "-u", "-m", "sglang.launch_server"], "sglang"),
        (["sglang::scheduler_TP0"], "sglang"),
        (["python3", "/usr/local/bin/lmdeploy", "serve", "api_server"], "lmdeploy"),
        (["/usr/local/bin/ollama", "serve"], "ollama"),
        (["/opt/ray/core/src/ray/raylet/raylet", "--raylet_socket_name=x"], "ray"),
        (["ray::IDLE"], "ray"),
        (["tritonserver", "--model-repository=x"], "gpu"),
        (["vim", "vllm"], None),
        (["docker", "run", "vllm"], None),
        (["/usr/bin/python3", "-c", "import vllm"], None),
        (["/usr/bin/python3", "train_vllm.py"], None),
        ([""], None),
    ],
)
def test_engines_are_told_by_program_module_or_title(words: list[str], expected: str | None):
    found = ask("processes:engine", words=words)
    assert (found or {}).get("kind") == expected


def test_a_running_engine_is_found_and_its_arguments_stay_on_the_node(tmp_path: Path):
    script = tmp_path / "vllm"
    script.write_text("import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, str(script), "serve", "--api-key", "hunter2"]) as engine:
        try:
            found = _found(engine.pid)
        finally:
            engine.kill()
    assert (found["kind"], found["name"]) == ("vllm", "vllm")
    assert 0 <= found["age_s"] < 60
    assert "hunter2" not in str(found)


def _found(pid: int) -> dict[str, object]:
    """Found by a sibling: what the asking process descends from is its own. Its title takes a moment to change."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        for row in ask("processes:processes"):
            if row["pid"] == pid:
                return row
    raise AssertionError(f"{pid} was not found")


def test_what_the_asking_process_descends_from_is_not_reported(tmp_path: Path):
    tree = {
        "proc/1/cmdline": "init\0",
        "proc/2/task/2/children": "30 31 ",
        "proc/30/cmdline": "vllm\0",
        "proc/40/cmdline": "VLLM::Worker_TP0\0",
        "proc/40/stat": "40 (VLLM::Worker) S 1 40 40 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 5000 0",
        "proc/uptime": "100.5 1.0\n",
    }
    found = ask("processes:processes", root=plant(tmp_path, tree))
    assert [row["pid"] for row in found] == [40]  # 30 is a kernel thread, whatever it calls itself
    assert found[0]["age_s"] == 50.5


def test_who_holds_a_gpus_device_file_uses_it_unless_it_only_watches(tmp_path: Path):
    tree = {
        "dev/nvidia0": "",
        "proc/1/cmdline": "init\0",
        "proc/50/cmdline": "./train\0",
        "proc/50/comm": "train\n",
        "proc/50/fd/7": "-> /dev/nvidia0",
        "proc/60/cmdline": "/usr/bin/nvidia-persistenced\0",
        "proc/60/comm": "nvidia-persiste\n",
        "proc/60/fd/3": "-> /dev/nvidia0",
    }
    found = ask("processes:processes", root=plant(tmp_path, tree))
    assert [(row["pid"], row["kind"], row["name"]) for row in found] == [(50, "gpu", "train")]


def test_a_proc_that_hides_others_is_not_an_idle_machine(tmp_path: Path):
    with pytest.raises(Refused):
        ask("processes:processes", root=plant(tmp_path, {"proc/40/cmdline": "x\0"}))
