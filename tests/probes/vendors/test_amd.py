from __future__ import annotations

import json
from typing import Any

import pytest

from diag.facts.device import Between, Gpu, GpuProcess
from diag.facts.record import Missing, NotMeasured, peek
from diag.probes.vendors import amd
from diag.probes.vendors.vendor import Found, Printed
from tests.probes.vendors.printed import found, synthetic

GIB, MIB = 1 << 30, 1 << 20
COMMANDS = ("static", "metric", "list", "process", "topology", "bad pages")


def smi(version: str, **changed: Any) -> Found:
    """What amd-smi of a version prints; ``changed``: command (blanks as _) -> other output."""
    said: dict[str, Any] = {}
    for command in COMMANDS:
        try:
            said[command] = synthetic(f"amd/{version}-{command.replace(' ', '-')}.json")
        except FileNotFoundError:
            said[command] = Printed(status=2, stderr="amd-smi: unknown command\n")
    return found("amd", "amd-smi", said | {name.replace("_", " "): text for name, text in changed.items()})


def rocm(**changed: Any) -> tuple[Gpu, ...]:
    said = {"memory": synthetic("amd/rocm-smi-memory.json"), "all": synthetic("amd/rocm-smi-all.json")}
    return amd.gpus(found("amd", "rocm-smi", said | {"processes": "No KFD PIDs currently running\n"} | changed))


def test_rocm_7_wraps_its_gpus_and_names_units():
    first, second = amd.gpus(smi("7.1"))
    assert (first.index, first.name, first.pci_address) == (0, "AMD Instinct MI300X OAM", "0000:05:00.0")
    assert (first.total_bytes, first.used_bytes, first.free_bytes) == (196592 * MIB, 285 * MIB, 196307 * MIB)
    assert (first.driver, first.vbios, first.compute_capability) == ("6.14.9", "022.040.003.043", "9.4")
    assert (first.temperature_c, first.memory_temperature_c, first.slowdown_c) == (43, 36, 100)
    assert (second.utilisation, second.power_w, second.power_cap_w) == (0.03, 142.0, 750.0)
    clocks = first.clocks
    assert (clocks.sm, clocks.sm_max, clocks.memory, clocks.memory_max) == (133, 2100, 900, 1300)
    assert first.uuid == "00ff74a1-0000-1000-8000-000000000000"
    assert (first.serial, first.mig) == ("…0000", False)


def test_rocm_6_0_keeps_plain_numbers_under_other_names():
    (gpu,) = amd.gpus(smi("6.0"))
    assert (gpu.name, gpu.pci_address) == ("AMD Instinct MI210", "0000:c3:00.0")
    assert (gpu.total_bytes, gpu.used_bytes) == (65520 * MIB, 12 * MIB)
    assert (gpu.driver, gpu.vbios, gpu.utilisation, gpu.power_w, gpu.power_cap_w) == (
        "6.3.6", "022.010.000.063", 0.12, 42.0, 300.0,
    )  # fmt: skip
    assert (gpu.clocks.sm, gpu.clocks.memory_max, gpu.slowdown_c) == (800, 1600, 110)
    assert (gpu.ecc.enabled, gpu.ecc.volatile_uncorrected) == (True, 1)
    assert (gpu.throttled_by, gpu.processes) == ((), ())
    assert peek(gpu, "uuid") == Missing("amd-smi does not say uuid")
    assert peek(gpu, "retired") == Missing("amd-smi (bad pages) ended with status 2: amd-smi: unknown command")


def test_a_gpu_that_is_throttled_by_nobody_knows_what_is_not_said_to_be_slowed_by_its_board():
    text = synthetic("amd/6.0-metric.json").replace("UNTHROTTLED", "THROTTLED")
    (gpu,) = amd.gpus(smi("6.0", metric=text))
    assert peek(gpu, "throttled_by") == Missing("amd-smi says that it is throttled, and not by what")


def test_a_process_is_seen_on_its_gpu_though_its_name_is_hidden():
    first, second = amd.gpus(smi("7.1"))
    assert first.processes == (GpuProcess(pid=8101, used_bytes=GIB),)
    assert second.processes == ()


def test_errors_retired_pages_and_limits_that_are_hit_are_told():
    first, second = amd.gpus(smi("7.1"))
    assert (first.ecc.enabled, first.ecc.volatile_corrected, second.ecc.volatile_corrected) == (True, 0, 2)
    assert (first.retired.uncorrected, first.retired.pending, first.retired.failed) == (0, False, False)
    assert (second.retired.uncorrected, second.retired.pending) == (2, True)
    assert (first.throttled_by, second.throttled_by) == ((), ("sw_power_cap",))


def test_a_gpu_in_partitions_is_divided():
    text = synthetic("amd/7.1-static.json").replace('"accelerator_partition": "SPX"', '"accelerator_partition": "CPX"')
    assert [gpu.mig for gpu in amd.gpus(smi("7.1", static=text))] == [True, True]


def test_what_is_not_available_is_missing_for_its_field_only():
    metric = json.loads(synthetic("amd/7.1-metric.json"))
    metric["gpu_data"][0]["mem_usage"] = "N/A"
    metric["gpu_data"][0]["throttle"] = "N/A"
    first, second = amd.gpus(smi("7.1", metric=json.dumps(metric)))
    assert first.total_bytes == 196592 * MIB
    assert peek(first, "used_bytes") == Missing("amd-smi does not say used")
    assert isinstance(peek(first, "throttled_by"), Missing)
    assert second.used_bytes == 285 * MIB


def test_xgmi_joins_gpus_and_pcie_is_as_far_as_it_is_at_most():
    assert amd.between(smi("7.1")) == (Between(a="gpu:0", b="gpu:1", path="link", p2p="ok"),)
    assert amd.between(smi("6.0")) == (Between(a="gpu:0", b="gpu:1", path="NODE", p2p="not accessible"),)


@pytest.mark.parametrize("text", ["", "Unable to initialize\n", "[]x", '[{"no": "gpu"}]', "7", "null", '"x"'])
def test_what_is_no_list_of_gpus_is_quoted(text: str):
    with pytest.raises(NotMeasured, match=r"amd-smi \(?static\)? printed what is not understood"):
        amd.gpus(smi("7.1", static=text))


@pytest.mark.parametrize("text", ['[{"gpu": 0, "process_list": [7]}]', '[{"gpu": 0, "process_list": 7}]'])
def test_an_odd_process_list_leaves_no_false_idleness(text: str):
    (first, *_) = amd.gpus(smi("7.1", process=text))
    assert "not understood" in peek(first, "processes").why


@pytest.mark.parametrize(
    ("graphics", "expected"), [("gfx942", "9.4"), ("gfx90a", "9.0"), ("gfx950", "9.5"), ("gfx1100", "11.0")]
)
def test_a_graphics_version_is_the_capability_that_torch_names(graphics: str, expected: str):
    assert amd.capability(graphics) == expected


def test_rocm_smi_stands_in_with_its_own_keys():
    first, second = rocm()
    assert (first.name, second.name) == ("AMD Instinct MI300X OAM", "AMD Instinct MI300X")
    assert (first.total_bytes, first.used_bytes) == (206141652992, 297000000)
    assert first.free_bytes == 206141652992 - 297000000
    assert (first.pci_address, first.compute_capability, first.power_cap_w) == ("0000:05:00.0", "9.4", 750.0)
    assert (first.clocks.sm, first.clocks.memory, first.mig) == (131, 900, False)
    assert (second.utilisation, second.processes) == (0.88, ())
    assert isinstance(peek(second, "temperature_c"), Missing)


def test_processes_of_an_unknown_card_are_no_proof_of_idleness():
    (first, _) = rocm(processes="PID\tPROCESS NAME\tGPU(s)\tVRAM USED\n8101\tpython\t1\t1073741824\n")
    assert peek(first, "processes") == Missing("there are processes, and the tool does not say on which card")
