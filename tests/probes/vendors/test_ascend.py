from __future__ import annotations

import re

import pytest

from diag.facts.device import UNSAID, Between, GpuProcess
from diag.facts.record import Missing, NotMeasured, peek
from diag.probes.vendors import ascend
from tests.probes.vendors.printed import found, real, synthetic

MIB = 1 << 20


def read(table: str, **said: str):
    return ascend.gpus(found("ascend", "npu-smi", {"table": table} | {k.replace("_", " "): v for k, v in said.items()}))


def test_a_chip_is_read_with_its_health_and_the_processes_on_it():
    well, ill = read(synthetic("ascend/910b.txt"))
    assert (well.index, well.name, well.pci_address) == (0, "Ascend 910B3", "0000:c1:00.0")
    assert (well.used_bytes, well.total_bytes, well.free_bytes) == (3301 * MIB, 65536 * MIB, 62235 * MIB)
    assert (well.health, ill.health) == ("ok", "Alarm")
    assert (well.driver, well.power_w, well.temperature_c, ill.utilisation) == ("25.2.0", 92.1, 41, 0.37)
    assert well.processes == ()
    assert ill.processes == (
        GpuProcess(pid=7001, used_bytes=37500 * MIB),
        GpuProcess(pid=7002, name="python", used_bytes=130 * MIB),
    )


def test_two_chips_of_an_npu_are_two_devices_by_their_physical_ids():
    gpus = read(synthetic("ascend/dual.txt"))
    assert [gpu.index for gpu in gpus] == [0, 1, 2, 3]
    assert [gpu.used_bytes // MIB for gpu in gpus] == [3120, 2901, 3119, 2899]
    assert gpus[0].power_w == 171.5
    assert "first chip" in peek(gpus[1], "power_w").why


def test_without_hbm_the_other_memory_counts():
    (gpu,) = read(synthetic("ascend/310p.txt"))
    assert (gpu.name, gpu.used_bytes, gpu.total_bytes) == ("Ascend 310P3", 1510 * MIB, 44280 * MIB)


def test_errors_and_isolated_pages_are_those_of_the_chip():
    well, worn = read(
        synthetic("ascend/910b.txt"), ecc_0=synthetic("ascend/ecc-0.txt"), ecc_1=synthetic("ascend/ecc-1.txt")
    )
    assert (well.ecc.volatile_corrected, well.retired.uncorrected) == (0, 0)
    assert (worn.ecc.volatile_corrected, worn.ecc.volatile_uncorrected, worn.ecc.aggregate_corrected) == (4, 1, 14)
    assert (worn.retired.corrected, worn.retired.uncorrected) == (2, 3)
    assert peek(worn.retired, "pending") == UNSAID


def test_counters_of_one_npu_are_told_apart_by_chip():
    gpus = read(synthetic("ascend/dual.txt"), ecc_0=synthetic("ascend/ecc-dual.txt"))
    assert [gpu.ecc.volatile_corrected for gpu in gpus[:2]] == [0, 9]
    assert peek(gpus[2], "ecc") == Missing("npu-smi was not asked for ecc 1")


def test_hccs_joins_chips():
    pairs = ascend.between(found("ascend", "npu-smi", {"topology": synthetic("ascend/topo.txt")}))
    assert pairs == (Between(a="gpu:0", b="gpu:1", path="link"),)


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda _: "dcmi module initialize failed. ret is -8005\n",
        lambda text: text.replace("3301 / 65536", "????      "),
        lambda text: text.replace("| 0000:C1:00.0 ", ""),
    ],
)
def test_what_is_not_understood_is_quoted(spoiled):
    with pytest.raises(NotMeasured, match="not understood"):
        read(spoiled(synthetic("ascend/910b.txt")))


@pytest.mark.parametrize("said", ["Not Ready", "Alarm, minor", "UNKNOWN"])
def test_a_chip_keeps_whatever_word_its_tool_has_for_its_health(said: str):
    well, ill = read(synthetic("ascend/910b.txt").replace("Alarm".ljust(13), said.ljust(13)))
    assert (well.health, ill.health) == ("ok", said)


@pytest.mark.parametrize("said", ["--", "N/A", ""])
def test_a_chip_whose_health_is_not_told_is_there_and_not_called_healthy(said: str):
    _, chip = read(synthetic("ascend/910b.txt").replace("Alarm".ljust(13), said.ljust(13)))
    assert peek(chip, "health") == Missing(f"npu-smi info tells no health: {said!r}")


@pytest.mark.parametrize("old", ["| 1     910B3 ", "93.0        42", "910B3               | Alarm"])
def test_a_chip_whose_first_line_is_not_understood_does_not_vanish(old: str):
    text = synthetic("ascend/910b.txt")
    assert text.count(old) == 1
    with pytest.raises(NotMeasured, match="first line of a chip in npu-smi info printed what is not understood"):
        read(text.replace(old, re.sub(r"[^|]", " ", old)))


def test_a_chip_that_lost_a_line_does_not_vanish():
    lines = synthetic("ascend/910b.txt").splitlines()
    assert len(read("\n".join(lines[:5] + lines[6:]))) == 2  # the double line below the heading
    for at in (6, 7, 9, 10):
        with pytest.raises(NotMeasured, match="not understood"):
            read("\n".join(lines[:at] + lines[at + 1 :]))


def test_an_odd_row_of_processes_leaves_no_false_idleness():
    gpus = read(synthetic("ascend/910b.txt").replace("| 7001 ", "| ???? "))
    assert "not understood" in peek(gpus[0], "processes").why


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "expected"),
    [("910B3_excerpt", [3369, 3368, 3360, 3362]), ("Ascend910_dualchip_excerpt", [3419, 2874])],
)
def test_real_tables_are_read(name: str, expected: list[int]):
    gpus = read(real(f"ascend/npu-smi_info_{name}.txt"))
    assert [gpu.used_bytes // MIB for gpu in gpus] == expected
    assert {gpu.total_bytes for gpu in gpus} == {65536 * MIB}
    assert {gpu.health for gpu in gpus} == {"ok"}
