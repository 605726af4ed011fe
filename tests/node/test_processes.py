from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from diag.remote.payload import NODE_FOLDER
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


WORKER = {
    "proc/1/cmdline": "init\0",
    "proc/2/task/2/children": "30 31 ",
    "proc/30/cmdline": "VLLM::Worker_TP0\0",
    "proc/30/stat": "30 (VLLM::Worker) S 1 40 40 0 -1 0 0 0 0 0 0 0 0 0 0 0 0 0 5000 0",
    "proc/uptime": "100.5 1.0\n",
}


def test_children_of_process_2_are_processes_where_it_is_not_the_kernel(tmp_path: Path):
    (found,) = ask("processes:processes", root=plant(tmp_path, {**WORKER, "proc/2/comm": "bash\n"}))
    assert (found["pid"], found["kind"], found["age_s"]) == (30, "vllm", 50.5)


def test_kernel_threads_are_not_looked_at_whatever_they_are_called(tmp_path: Path):
    assert ask("processes:processes", root=plant(tmp_path, {**WORKER, "proc/2/comm": "kthreadd\n"})) == []


def test_the_asking_process_is_no_engine_whatever_it_is_called(tmp_path: Path):
    script = tmp_path / "vllm"
    script.write_text(f"import sys; sys.path.insert(0, {str(NODE_FOLDER)!r})\n")
    with script.open("a") as file:
        file.write("import os, processes; print(os.getpid() in [row['pid'] for row in processes.processes()])\n")
    done = subprocess.run([sys.executable, "-B", str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


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


def test_what_an_agent_started_in_a_container_is_no_engine(tmp_path: Path):
    """It is below the container's daemon, not below us: its mark tells."""
    script = tmp_path / "vllm"
    script.write_text("import time; time.sleep(60)")
    environment = {"DIAG_JOB": "0123456789abcdef.inside"}
    with subprocess.Popen([sys.executable, str(script)], env=environment) as engine:
        try:
            found = [row["pid"] for row in ask("processes:processes")]
        finally:
            engine.kill()
    assert engine.pid not in found
