from __future__ import annotations

from typing import Any

from diag.facts.device import GpuProcess
from diag.facts.record import Missing, peek
from tests.probes.recorded import read, silent

GIB = 1 << 30


def on_bus(vendor: str, driver: str | None = "nvidia", files: tuple[str, ...] = ()) -> dict[str, Any]:
    device = {
        "kind": "accelerator", "vendor": vendor, "address": "0000:1b:00.0", "vendor_id": "10de", "device_id": "2335",
        "driver": driver, "numa_node": 0, "virtual_function": False,
    }  # fmt: skip
    return {"devices": [device], "files": list(files)}


def gpu(**more: Any) -> dict[str, Any]:
    row = {
        "index": 0, "why": {}, "name": "NVIDIA H200", "uuid": "GPU-0", "pci_address": "00000000:1B:00.0",
        "memory": [141 * GIB, GIB, 140 * GIB], "compute_capability": "9.0", "compute_mode": "default", "mig": False,
        "processes": [], "utilisation": 0.0,
    }  # fmt: skip
    return {**row, **more}


def nvml(*gpus: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"driver": "575.57.08", "cuda_driver": "12.9", "why": {}, "gpus": list(gpus), **more}


def test_a_node_without_a_gpu_has_proof_of_that():
    assert read("gpus") == ()
    assert read("devices") == ()


def test_a_gpu_is_read_and_its_address_is_that_of_the_bus():
    (found,) = read("gpus", gpus=nvml(gpu()), pci=on_bus("nvidia"))
    assert (found.name, found.pci_address, found.total_bytes, found.free_bytes) == (
        "NVIDIA H200", "0000:1b:00.0", 141 * GIB, 140 * GIB,
    )  # fmt: skip
    assert (found.driver, found.cuda_driver, found.mig, found.processes) == ("575.57.08", "12.9", False, ())


def test_a_process_in_a_container_may_hide_how_much_it_holds():
    (found,) = read("gpus", gpus=nvml(gpu(processes=[{"pid": 9, "name": None, "used": None}])), pci=on_bus("nvidia"))
    assert found.processes == (GpuProcess(pid=9),)


def test_what_nvml_could_not_say_is_missing_with_its_words():
    row = gpu(utilisation=None, why={"utilisation": "NVML: Not Supported"})
    (found,) = read("gpus", gpus=nvml(row), pci=on_bus("nvidia"))
    assert peek(found, "utilisation") == Missing("NVML: Not Supported")


def test_a_lost_gpu_keeps_its_place():
    (found,) = read("gpus", gpus=nvml({"index": 3, "why": {}, "lost": "GPU is lost"}), pci=on_bus("nvidia"))
    assert (found.index, found.name) == (3, "unknown")
    assert peek(found, "total_bytes") == Missing("GPU is lost")
    assert found.driver == "575.57.08"


def test_a_gpu_whose_library_fails_is_missing_and_its_driver_named():
    why = "RuntimeError: NVML: Driver Not Loaded"
    assert read("gpus", gpus=silent("gpus", why), pci=on_bus("nvidia", "nouveau")) == Missing(
        f"1 NVIDIA GPU on the bus (nouveau): {why}"
    )
    assert read("gpus", gpus=silent("gpus", why), pci=on_bus("nvidia", None)) == Missing(
        f"1 NVIDIA GPU on the bus (no driver bound): {why}"
    )


def test_a_gpu_of_another_vendor_is_neither_absent_nor_healthy():
    found = read("gpus", gpus={"absent": True}, pci=on_bus("metax", "metax"))
    assert found == Missing("metax GPU on the bus; no reader for it yet")
    assert read("devices", pci=on_bus("metax", "metax"))[0].vendor == "metax"


def test_device_files_alone_of_another_vendor_are_no_proof_of_absence():
    """A container may have the files and no bus."""
    found = read("gpus", gpus={"absent": True}, pci={"devices": [], "files": ["/dev/davinci0", "/dev/kfd"]})
    assert found == Missing("/dev/davinci0, /dev/kfd there, but no such GPU on the bus; no reader for it yet")


def test_a_bus_that_was_not_read_proves_nothing():
    dark = silent("pci", "PermissionError: closed")
    assert read("devices", pci=dark) == Missing("PermissionError: closed")
    assert read("gpus", pci=dark, gpus=silent("gpus", "RuntimeError: x")) == Missing(
        "bus not read (PermissionError: closed): RuntimeError: x"
    )
    assert read("gpus", pci=dark) == Missing("bus not read (PermissionError: closed)")
