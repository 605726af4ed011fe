from __future__ import annotations

import json
from typing import Any

import pytest

from diag.facts.record import Missing, peek
from tests.probes.recorded import read, silent

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.158.01  Release Build  (dvs-builder@U22)"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.158.01  Mon May 12 22:23:46 UTC 2026"
ON_HOST = {"mount_namespace": "mnt:[4026531832]"}
IN_DOCKER = {"files": ["/.dockerenv"], "mount_namespace": "mnt:[4026532999]"}


def ran(stdout: str, status: int = 0) -> dict[str, Any]:
    return {"status": status, "stdout": stdout, "stderr": ""}


def system(*, container: Any = None, tools: Any = None, gpus: Any = None, kernel: str = "6.8.0-31", **more: Any) -> Any:
    """A node with eight GPUs on whose system all is well, with changes."""
    row = {
        "modules": ["nvidia", "nvidia_uvm"], "driver_text": OPEN, "driver": "570.158.01", "library": "570.158.01",
        "nvswitches": 4, "iommu": [["0000:18:00.0", "identity"]], "command_line": "quiet", "bridges": [], "files": [],
        "daemons": ["fabric_manager", "persistence"], "hidden": "", "mps_pipe": False,
    }  # fmt: skip
    return read(
        "gpu_system",
        gpu_system={**row, **more},
        gpu_tools=tools if tools is not None else {},
        gpus=gpus if gpus is not None else {"why": {}, "gpus": []},
        container=container if container is not None else ON_HOST,
        machine={"kernel": kernel, "machine": "x86_64", "cpus": 2, "cores": 2, "numa_nodes": 1},
    )


def test_a_node_without_an_accelerator_has_no_such_system():
    assert read("gpu_system") is None


def test_a_healthy_system_is_read():
    found = system()
    assert (found.kernel_driver, found.library_mismatch, found.fabric_manager) == ("570.158.01", None, "active")
    assert (found.persistence_daemon, found.mps, found.dma_buf, found.iommu) == (True, False, True, "passthrough")


REFUSED = "RuntimeError: NVML: Driver/library version mismatch"


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ({}, None),
        ({"library": "575.57.08"}, None),  # NVML answers, so they agree, whatever a file is called
        ({"gpus": silent("gpus", REFUSED)}, "Driver/library version mismatch"),
        (
            {"gpus": silent("gpus", "TimeoutError: NVML did not answer"), "library": "575.57.08"},
            "library 575.57.08, kernel module 570.158.01",
        ),
        ({"gpus": silent("gpus", "TimeoutError: NVML did not answer")}, None),
    ],
)
def test_library_and_kernel_module_are_compared(answers: dict[str, Any], found: str | None):
    assert system(**answers).library_mismatch == found


def test_versions_that_nobody_tells_are_not_taken_to_agree():
    found = system(gpus=silent("gpus", "TimeoutError: x"), library=None)
    assert peek(found, "library_mismatch") == Missing("NVML did not answer (TimeoutError: x)")


@pytest.mark.parametrize(
    ("unit", "state"),
    [
        ("LoadState=loaded\nActiveState=active\n", "inactive"),
        ("LoadState=loaded\nActiveState=failed\n", "failed"),
        ("LoadState=loaded\nActiveState=inactive\n", "inactive"),
        ("LoadState=not-found\nActiveState=inactive\n", None),
    ],
)
def test_a_fabric_manager_that_does_not_run_is_described_by_its_unit(unit: str, state: str | None):
    assert system(daemons=[], tools={"fabric_manager": ran(unit)}).fabric_manager == state


def test_a_fabric_manager_that_cannot_be_seen_is_not_taken_for_dead():
    unit = {"fabric_manager": ran("LoadState=not-found\nActiveState=inactive\n")}
    inside = system(daemons=[], tools=unit, container=IN_DOCKER)
    assert peek(inside, "fabric_manager") == Missing("a container does not show the host's processes")
    bare = system(daemons=[], tools={})
    assert "no systemctl" in peek(bare, "fabric_manager").why
    assert system(tools=unit).fabric_manager == "active", "it runs, started by hand"


def test_daemons_that_are_hidden_are_not_known():
    found = system(daemons=[], hidden="other users' processes are hidden")
    assert peek(found, "persistence_daemon") == peek(found, "mps") == Missing("other users' processes are hidden")
    assert system(daemons=[], hidden="x", mps_pipe=True).mps is True
    assert system(daemons=[], mps_pipe=True).mps is False, "a pipe that was left behind"


@pytest.mark.parametrize(
    ("kinds", "line", "mode"),
    [
        (["identity", "identity"], "", "passthrough"),
        (["identity", "DMA"], "", "translated"),
        (["DMA-FQ"], "iommu=pt", "translated"),
        ([None, None], "", "off"),
        ([""], "ro iommu=pt", "passthrough"),
        ([""], "intel_iommu=off", "off"),
    ],
)
def test_the_iommu_is_read_from_the_groups_of_our_devices(kinds: list[str | None], line: str, mode: str):
    rows = [[f"0000:{index:02x}:00.0", kind] for index, kind in enumerate(kinds)]
    assert system(iommu=rows, command_line=line).iommu == mode


def test_an_old_kernel_that_does_not_show_its_groups_is_not_judged():
    assert "does not show" in peek(system(iommu=[["0000:18:00.0", ""]]), "iommu").why


def test_dma_buf_needs_the_open_module_and_a_kernel_that_is_known_to_have_it():
    assert system(driver_text=CLOSED).dma_buf is False
    assert "kernel 4.18.0" in peek(system(kernel="4.18.0-553.el8"), "dma_buf").why
    assert system(driver_text=None, driver=None).dma_buf is None


def test_acs_that_only_root_may_read_is_missing():
    found = system(bridges=[["0000:17:00.0", True], ["0000:17:01.0", None], ["0000:27:00.0", "needs root"]])
    assert [peek(bridge, "acs") for bridge in found.bridges] == [True, None, Missing("needs root")]


CLI = "cli-version: 1.17.8\nlib-version: 1.17.8\nbuild date: 2025-05-30T13:47+00:00\n"


@pytest.mark.parametrize(
    ("tools", "version"),
    [
        ({"container_toolkit": ran(CLI)}, "1.17.8"),
        ({"container_runtime": ran("NVIDIA Container Runtime version 1.14.3\n")}, "1.14.3"),
        ({"container_toolkit": "nvidia-container-cli: hung", "container_runtime": ran("version 1.14.3")}, "1.14.3"),
        ({}, None),
    ],
)
def test_the_container_toolkit_tells_its_version(tools: dict[str, Any], version: str | None):
    assert system(tools=tools).container_toolkit == version


def report(overall: str, **more: Any) -> dict[str, Any]:
    """The form of dcgmi's JSON by its source (DcgmiOutput.cpp): header, body, each entry with its value."""
    return ran(
        json.dumps({"body": {"Overall Health": {"value": overall}, **more}, "header": ["Health Monitor Report"]})
    )


def test_dcgm_is_quoted():
    assert system(tools={"dcgm": report("Healthy")}).dcgm == "healthy"
    errors = {"children": {"PCIe system": {"value": "Warning", "overflow": ["Detected more than 8 PCIe replays"]}}}
    gpu = {"children": {"0": {"value": "Warning", "children": {"Errors": errors}}}}
    assert system(tools={"dcgm": report("Warning", GPU=gpu)}).dcgm == "Warning: Detected more than 8 PCIe replays"
    assert system().dcgm is None


def test_dcgm_that_watches_nothing_is_not_healthy():
    said = "Error: Health watches not enabled. Please enable watches. \n"
    found = system(tools={"dcgm": ran(said, 255)})
    assert peek(found, "dcgm") == Missing("dcgmi: Error: Health watches not enabled. Please enable watches.")
