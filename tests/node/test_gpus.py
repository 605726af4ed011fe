from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.node.asking import Refused, ask, interpreters, zipped
from tests.node.nvml_library import Ask
from tests.node.trees import H200, VIRTIO_NET, pci_device, plant

GIB = 1 << 30


def test_every_gpu_says_what_it_is_and_has(ask_gpus: Ask):
    found = ask_gpus(sample_s=0.05)
    assert (found["driver"], found["cuda_driver"], len(found["gpus"])) == ("575.57.08", "12.9", 8)
    assert found["gpus"][1].items() >= {
        "index": 1, "name": "NVIDIA H200", "uuid": "GPU-00000000-0000-0000-0000-000000000001",
        "pci_address": "00000000:2B:00.0", "memory": [141 * GIB, 4 << 20, 141 * GIB - (604 << 20), 600 << 20],
        "compute_capability": "9.0", "compute_mode": "default", "mig": False, "mig_instances": [], "processes": [],
        "utilisation": 0.0, "persistence": True, "vbios": "96.00.D0.00.03", "why": {},
    }.items()  # fmt: skip
    assert "rest" not in found


def test_a_serial_number_is_masked_before_it_leaves_the_node(ask_gpus: Ask):
    found = ask_gpus()
    assert found["gpus"][2]["serial"] == "...0003"
    assert "165002400" not in str(found)


def test_the_health_of_every_gpu_is_asked_for(ask_gpus: Ask):
    gpu = ask_gpus()["gpus"][0]
    assert gpu["ecc"] == {
        "enabled": True, "pending": True, "volatile_corrected": 0, "volatile_uncorrected": 0, "aggregate_corrected": 3,
        "aggregate_uncorrected": 0,
    }  # fmt: skip
    assert gpu["retired"] == {"kind": "rows", "corrected": 0, "uncorrected": 0, "pending": False, "failed": False}
    assert (gpu["temperature_c"], gpu["memory_temperature_c"], gpu["slowdown_c"]) == (31, 38, 90)
    assert (gpu["power_w"], gpu["power_cap_w"], gpu["power_default_w"]) == (76.5, 700.0, 700.0)
    assert gpu["clocks"] == {"sm": 345, "sm_max": 1980, "memory": 3201, "memory_max": 3201}
    assert gpu["throttle"] == 1
    assert gpu["pcie"] == {
        "generation": 5, "width": 16, "generation_max": 5, "width_max": 16, "device_generation_max": 5, "replays": 0,
    }  # fmt: skip


def test_the_links_of_every_gpu_are_asked_for_and_every_pair(ask_gpus: Ask):
    gpus = ask_gpus()["gpus"]
    assert len(gpus[0]["links"]) == 18
    assert gpus[0]["links"][1] == [1, True, 6, "00000000:05:00.0", 2, 0, 0, 0]
    assert gpus[0]["fabric"] == {"state": 3, "failure": None, "mask": 2, "summary": 1}
    assert [len(gpu["pairs"]) for gpu in gpus] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert gpus[0]["pairs"][3:5] == [[4, 50, 0, 0], [5, 50, 0, 0]]


@pytest.mark.parametrize(
    ("planted", "field", "value"),
    [
        ({"FAKE_UNCORRECTED": "3:2"}, "ecc.volatile_uncorrected", 2),
        ({"FAKE_ECC": "3:0"}, "ecc.enabled", False),
        ({"FAKE_ECC": "3:0"}, "ecc.volatile_uncorrected", None),
        ({"FAKE_REMAP_PENDING": "3:1"}, "retired.pending", True),
        ({"FAKE_REMAP_FAILED": "3:1"}, "retired.failed", True),
        ({"FAKE_PAGES": "3:5"}, "retired.kind", "pages"),
        ({"FAKE_PAGES": "3:5"}, "retired.uncorrected", 5),
        ({"FAKE_PAGES": "3:5"}, "retired.pending", True),
        ({"FAKE_TEMPERATURE": "3:91"}, "temperature_c", 91),
        ({"FAKE_MARGIN": "3:58"}, "slowdown_c", 89),
        ({"FAKE_CAP_W": "3:350"}, "power_cap_w", 350.0),
        ({"FAKE_SM_MAX": "3:1200"}, "clocks.sm_max", 1200),
        ({"FAKE_THROTTLE": "3:136"}, "throttle", 136),
        ({"FAKE_WIDTH": "3:8"}, "pcie.width", 8),
        ({"FAKE_GENERATION_MAX": "3:4"}, "pcie.generation_max", 4),
        ({"FAKE_REPLAYS": "3:99"}, "pcie.replays", 99),
        ({"FAKE_STATE": "3:2"}, "fabric.state", 2),
        ({"FAKE_STATUS": "3:15"}, "fabric.failure", "GPU is lost"),
        ({"FAKE_PERSISTENCE": "3:0"}, "persistence", False),
    ],
)
def test_a_fault_is_seen_on_its_gpu_and_on_no_other(ask_gpus: Ask, planted: dict[str, str], field: str, value: object):
    def of(index: int) -> object:
        found = gpus[index]
        for name in field.split("."):
            found = found[name]
        return found

    gpus = ask_gpus(**planted)["gpus"]
    assert of(3) == value
    assert of(3) != of(2) or (field, value) == ("retired.kind", "pages")
    assert gpus[3]["why"] == {}


def test_links_that_are_down_are_told_from_links_that_are_not_there(ask_gpus: Ask):
    gpus = ask_gpus(FAKE_LINKS_UP="3:17", FAKE_LINKS="5:4,6:0", FAKE_RECOVERIES="2:3")["gpus"]
    assert [sum(link[1] for link in gpu["links"]) for gpu in gpus] == [18, 18, 18, 17, 18, 4, 0, 18]
    assert [len(gpu["links"]) for gpu in gpus] == [18, 18, 18, 18, 18, 4, 0, 18]
    assert gpus[2]["links"][0][6] == 3


@pytest.mark.parametrize("newest", [1, 2, 3])
def test_the_fabric_is_read_in_every_form_that_drivers_fill(ask_gpus: Ask, newest: int):
    fabric = ask_gpus(FAKE_FABRIC=newest, FAKE_MASK=1)["gpus"][0]["fabric"]
    assert fabric == {"state": 3, "failure": None, "mask": int(newest > 1), "summary": int(newest == 3)}


def test_the_slices_of_a_divided_gpu_are_named(ask_gpus: Ask):
    gpu = ask_gpus(FAKE_MIG="1:1")["gpus"][1]
    assert gpu["mig_instances"] == [
        ["MIG-00000000-0000-0000-0000-000000000002", "1g.18gb", 18 * GIB],
        ["MIG-00000000-0000-0000-0000-000000000003", "1g.18gb", 18 * GIB],
    ]


def test_a_process_on_a_gpu_is_seen_with_its_memory_and_load(ask_gpus: Ask):
    gpu = ask_gpus(FAKE_PID=os.getpid(), sample_s=0.05)["gpus"][0]
    name = Path("/proc/self/comm").read_text().strip()
    assert gpu["processes"] == [{"pid": os.getpid(), "name": name, "used": 10 * GIB}]
    assert gpu["utilisation"] == 0.8


def test_an_old_driver_answers_through_older_functions(ask_gpus: Ask):
    gpu = ask_gpus(FAKE_OLD=1, FAKE_PID=1)["gpus"][0]
    assert gpu["memory"][1] == 10 * GIB + (600 << 20)
    assert [process["pid"] for process in gpu["processes"]] == [1]
    assert gpu["mig"] is False
    assert (gpu["memory"][3], gpu["throttle"]) == (None, 1)
    assert gpu["why"] == {"fabric": "NVML: Function Not Found"}


def test_a_gpu_off_the_bus_does_not_hide_the_others(ask_gpus: Ask):
    lost, *well = ask_gpus(FAKE_LOST=0)["gpus"]
    assert lost == {"index": 0, "why": {}, "lost": "GPU is lost"}
    assert {gpu["name"] for gpu in well} == {"NVIDIA H200"}
    assert [len(gpu["pairs"]) for gpu in well] == [6, 5, 4, 3, 2, 1, 0]


def test_a_gpu_that_is_lost_midway_keeps_what_it_said(ask_gpus: Ask):
    gpus = ask_gpus(FAKE_LOST_AFTER="2:20")["gpus"]
    assert gpus[2]["name"] == "NVIDIA H200"
    assert gpus[2]["why"]["links"] == "NVML: GPU is lost"
    assert gpus[3]["why"] == {}
    assert len(gpus[3]["links"]) == 18


def test_what_one_field_cannot_say_is_said_of_that_field(ask_gpus: Ask):
    gpu = ask_gpus(FAKE_MIG=1, sample_s=0.05)["gpus"][0]
    assert gpu["mig"] is True
    assert "utilisation" not in gpu
    assert gpu["why"] == {"utilisation": "NVML: Not Supported"}


FUNCTIONS = {
    "nvmlDeviceGetSerial": "serial", "nvmlDeviceGetVbiosVersion": "vbios", "nvmlDeviceGetEccMode": "ecc",
    "nvmlDeviceGetTemperature": "temperature_c", "nvmlDeviceGetPowerUsage": "power_w",
    "nvmlDeviceGetFieldValues": "memory_temperature_c", "nvmlDeviceGetCurrPcieLinkGeneration": "pcie",
    "nvmlDeviceGetPersistenceMode": "persistence", "nvmlDeviceGetGpuFabricInfoV": "fabric",
    "nvmlDeviceGetCurrentClocksEventReasons": "throttle",
}  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_a_device_does_not_have_is_none(ask_gpus: Ask, function: str):
    gpu = ask_gpus(FAKE_FAIL=f"{function}:3", FAKE_MARGIN=40)["gpus"][0]
    assert gpu[FUNCTIONS[function]] is None


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_fails_is_not_taken_for_absent(ask_gpus: Ask, function: str):
    gpu = ask_gpus(FAKE_FAIL=f"{function}:999")["gpus"][0]
    assert gpu["why"] == {FUNCTIONS[function]: "NVML: Unknown Error"}
    assert FUNCTIONS[function] not in gpu


def test_of_a_record_only_the_number_that_failed_is_missing(ask_gpus: Ask):
    gpu = ask_gpus(FAKE_FAIL="nvmlDeviceGetPcieReplayCounter:999,nvmlDeviceGetMaxClockInfo:3")["gpus"][0]
    assert gpu["pcie"]["replays"] == ["NVML: Unknown Error"]
    assert gpu["pcie"]["width"] == 16
    assert (gpu["clocks"]["sm"], gpu["clocks"]["sm_max"]) == (345, None)
    assert gpu["why"] == {}


@pytest.mark.parametrize(
    ("code", "words"), [(9, "Driver Not Loaded"), (18, "RM has detected an NVML/RM version mismatch")]
)
def test_a_library_that_refuses_is_quoted(ask_gpus: Ask, code: int, words: str):
    with pytest.raises(Refused, match=f"NVML: {words}"):
        ask_gpus(FAKE_INIT=code)


def test_a_gpu_without_its_library_is_not_an_absent_one(ask_gpus: Ask):
    with pytest.raises(Refused, match="NVML: NVML Shared Library Not Found"):
        ask_gpus(LD_LIBRARY_PATH="/nonexistent")


def test_a_driver_that_hangs_is_left_alone_in_time(ask_gpus: Ask):
    began = time.monotonic()
    with pytest.raises(Refused, match="NVML did not answer within 1 s"):
        ask_gpus(seconds=1, FAKE_HANG=1)
    assert time.monotonic() - began < 10


def test_a_function_that_hangs_costs_only_what_comes_after_it(ask_gpus: Ask):
    found = ask_gpus(seconds=2, FAKE_HANG_IN="nvmlDeviceGetNvLinkVersion")
    assert found["rest"] == "NVML did not answer within 2 s (asked for links of gpu:0)"
    assert {gpu["temperature_c"] for gpu in found["gpus"]} == {31}
    assert not any("links" in gpu for gpu in found["gpus"])


def test_a_library_that_ends_its_process_costs_only_what_comes_after_it(ask_gpus: Ask):
    found = ask_gpus(FAKE_DIES_IN="nvmlDeviceGetEccMode", sample_s=0.01)
    assert found["rest"] == "NVML ended its process with status -6 (asked for health of gpu:0)"
    assert [gpu["utilisation"] for gpu in found["gpus"]] == [0.0] * 8


def test_what_a_library_prints_is_no_answer(ask_gpus: Ask):
    assert len(ask_gpus(FAKE_NOISE=1)["gpus"]) == 8


def test_eight_gpus_are_told_in_little_text(ask_gpus: Ask):
    assert len(str(ask_gpus())) < 25_000


def test_without_a_gpu_on_the_bus_or_in_dev_no_library_is_loaded(tmp_path: Path):
    root = plant(tmp_path, {**pci_device("0000:00:01.0", VIRTIO_NET), "dev/null": ""})
    env = {"LD_LIBRARY_PATH": "/nonexistent"}
    assert ask("gpus:gpus", env=env, root=root, seconds=5, sample_s=0) == {"absent": True}


def test_a_bus_that_cannot_be_read_proves_no_absence(tmp_path: Path):
    with pytest.raises(Refused):
        ask("gpus:gpus", env={"LD_LIBRARY_PATH": "/nonexistent"}, root=str(tmp_path), seconds=10, sample_s=0)


@pytest.mark.parametrize("python", interpreters())
def test_the_bindings_that_travel_work_under_every_python(
    python: str, library: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    root = plant(tmp_path, pci_device("0000:1b:00.0", H200))
    env = {"LD_LIBRARY_PATH": str(library)}
    code = zipped(tmp_path_factory.mktemp("zip"))
    found = ask("gpus:gpus", python=python, code=code, env=env, root=root, seconds=20, sample_s=0)
    assert [gpu["index"] for gpu in found["gpus"]] == list(range(8))
    assert found["gpus"][7]["fabric"]["state"] == 3
