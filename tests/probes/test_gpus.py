from __future__ import annotations

from typing import Any

import pytest

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
        "memory": [141 * GIB, GIB, 140 * GIB, 600 << 20], "compute_capability": "9.0", "compute_mode": "default",
        "mig": False, "processes": [], "utilisation": 0.0,
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
    row = gpu(why={"utilisation": "NVML: Not Supported"})
    del row["utilisation"]
    (found,) = read("gpus", gpus=nvml(row), pci=on_bus("nvidia"))
    assert peek(found, "utilisation") == Missing("NVML: Not Supported")


def test_what_nvml_was_not_asked_because_it_hung_is_missing_and_says_what_it_hung_in():
    why = "NVML did not answer within 12 s (asked for links of gpu:0)"
    (found,) = read("gpus", gpus=nvml(gpu(), rest=why), pci=on_bus("nvidia"))
    assert found.used_bytes == GIB
    assert peek(found, "links") == peek(found, "fabric") == Missing(why)


def test_what_the_device_does_not_have_is_none():
    (found,) = read("gpus", gpus=nvml(gpu(ecc=None, retired=None, pcie=None, fabric=None)), pci=on_bus("nvidia"))
    assert (found.ecc, found.retired, found.pcie, found.fabric) == (None, None, None, None)


def test_a_reserve_that_an_old_driver_does_not_tell_is_not_none_at_all():
    (found,) = read("gpus", gpus=nvml(gpu(memory=[GIB, 0, GIB, None])), pci=on_bus("nvidia"))
    assert peek(found, "reserved_bytes") == Missing("this driver does not say")


CLOCKS = {"sm": 345, "sm_max": ["NVML: Unknown Error"], "memory": 3201, "memory_max": None}


def test_of_a_record_only_the_number_that_failed_is_missing():
    (found,) = read("gpus", gpus=nvml(gpu(clocks=CLOCKS)), pci=on_bus("nvidia"))
    assert (found.clocks.sm, found.clocks.memory_max) == (345, None)
    assert peek(found.clocks, "sm_max") == Missing("NVML: Unknown Error")


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (0x001, ()),
        (0x003, ()),
        (0x004, ("sw_power_cap",)),
        (0x048, ("hw_slowdown", "hw_thermal_slowdown")),
        (0x0A0, ("sw_thermal_slowdown", "hw_power_brake")),
    ],
)
def test_reasons_to_throttle_are_decoded_and_idling_is_none(bits: int, reasons: tuple[str, ...]):
    (found,) = read("gpus", gpus=nvml(gpu(throttle=bits)), pci=on_bus("nvidia"))
    assert found.throttled_by == reasons


@pytest.mark.parametrize(
    ("mask", "summary", "health"),
    [
        (0b10, 1, ()),
        (0b01, 0, ("degraded bandwidth",)),
        (0b010001, 2, ("degraded bandwidth", "unhealthy route", "unhealthy")),
        (0x500, 3, ("too few NVLinks", "limited capacity")),
        (0x100, 0, ()),
    ],
)
def test_the_health_of_the_fabric_is_decoded(mask: int, summary: int, health: tuple[str, ...]):
    row = gpu(fabric={"state": 3, "failure": None, "mask": mask, "summary": summary})
    (found,) = read("gpus", gpus=nvml(row), pci=on_bus("nvidia"))
    assert (found.fabric.state, found.fabric.status, found.fabric.health) == ("completed", "success", health)


def test_a_gpu_takes_its_place_from_the_bus():
    bus = on_bus("nvidia")
    bus["devices"][0] |= {"cpus": "0-31,64-95", "width_max": 16, "path": ["pci0000:1a", "0000:1a:01.0"]}
    link = {"generation": 5, "width": 8, "generation_max": 5, "width_max": 8, "device_generation_max": 5, "replays": 0}
    (found,) = read("gpus", gpus=nvml(gpu(pcie=link)), pci=bus)
    assert (found.numa_node, found.cpus, found.pcie.width_max, found.pcie.device_width_max) == (0, "0-31,64-95", 8, 16)


def test_the_place_of_a_gpu_that_is_not_on_the_bus_is_not_known():
    row = gpu(pci_address="00000000:99:00.0")
    (found,) = read("gpus", gpus=nvml(row), pci=on_bus("nvidia"))
    assert peek(found, "numa_node") == Missing("0000:99:00.0 is not on the bus that is seen here")


def test_a_lost_gpu_keeps_its_place():
    (found,) = read("gpus", gpus=nvml({"index": 3, "why": {}, "lost": "GPU is lost"}), pci=on_bus("nvidia"))
    assert (found.index, found.name) == (3, "unknown")
    assert peek(found, "total_bytes") == Missing("GPU is lost")
    assert found.lost == "GPU is lost"
    assert found.driver == "575.57.08"


def test_a_gpu_that_is_lost_while_it_is_asked_is_told_and_its_neighbour_is_not():
    words = "NVML: GPU is lost"
    beside, gone = gpu(why={"pairs": words}), gpu(index=1, why={"temperature_c": words})
    assert [one.lost for one in read("gpus", gpus=nvml(beside, gone), pci=on_bus("nvidia"))] == [None, words]


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
    assert found == Missing("metax GPU on the bus, of which no tool was asked")
    assert read("devices", pci=on_bus("metax", "metax"))[0].vendor == "metax"


def test_device_files_alone_of_another_vendor_are_no_proof_of_absence():
    """A container may have the files and no bus."""
    found = read("gpus", gpus={"absent": True}, pci={"devices": [], "files": ["/dev/davinci0", "/dev/kfd"]})
    assert found == Missing("/dev/davinci0, /dev/kfd there, but no such GPU on the bus, and no tool was asked")


def test_a_bus_that_was_not_read_proves_nothing():
    dark = silent("pci", "PermissionError: closed")
    assert read("devices", pci=dark) == Missing("PermissionError: closed")
    assert read("gpus", pci=dark, gpus=silent("gpus", "RuntimeError: x")) == Missing(
        "bus not read (PermissionError: closed): RuntimeError: x"
    )
    assert read("gpus", pci=dark) == Missing("bus not read (PermissionError: closed)")
