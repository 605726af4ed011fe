from __future__ import annotations

import re

import pytest

from diag.facts.device import UNSAID, Between, Gpu, GpuProcess
from diag.facts.record import Missing, NotMeasured, peek
from diag.probes.vendors import metax
from diag.probes.vendors.vendor import Printed
from tests.probes.vendors.printed import found, real, synthetic

MIB = 1 << 20


def read(table: str, **said: object) -> tuple[Gpu, ...]:
    return metax.gpus(found("metax", "mx-smi", {"table": table, **said}))


def test_the_oldest_layout_shows_busy_gpus_with_their_processes_and_no_power_cap():
    first, second = read(synthetic("metax/2.1.6-busy.txt"))
    assert (first.index, first.name, first.pci_address) == (0, "MetaX C500", "0000:21:00.0")
    assert (first.total_bytes, first.used_bytes, first.free_bytes) == (65536 * MIB, 50321 * MIB, 15215 * MIB)
    assert (first.utilisation, first.temperature_c, first.power_w) == (0.93, 61, 301.0)
    assert (first.driver, first.vbios) == ("2.9.9", "1.22.2.0")
    assert peek(first, "power_cap_w") == Missing("mx-smi does not say")
    assert first.processes == (GpuProcess(pid=31001, name="python", used_bytes=49500 * MIB),)
    assert second.processes[0].name == "ray::RayWorkerW"


def test_a_cap_that_is_na_is_missing_alone():
    first, second = read(synthetic("metax/2.1.12.txt"))
    assert first.power_cap_w == 350.0
    assert second.power_w == 99.0
    assert "NA" in peek(second, "power_cap_w").why
    assert second.processes == ()


def test_a_gpu_that_is_not_available_is_not_healthy():
    well, ill = read(synthetic("metax/2.2.4.txt"))
    assert (well.health, ill.health) == ("ok", "Unavailable")
    assert well.name == "MetaX C550"


def test_a_temperature_that_the_table_does_not_tell_is_that_of_the_hottest_spot():
    table = synthetic("metax/2.2.4.txt")
    _, ill = read(table, temperatures=synthetic("metax/show-temperature.txt"))
    assert ill.temperature_c == 46
    assert "NA" in peek(read(table)[1], "temperature_c").why


def test_a_gpu_with_sgpu_on_is_divided_and_a_native_one_is_whole():
    whole, divided = read(synthetic("metax/2.2.6-sgpu.txt"))
    assert (whole.mig, divided.mig) == (False, True)
    assert (whole.persistence, divided.processes[0].pid) == (True, 501)


def test_an_unknown_word_for_sgpu_is_not_taken_for_a_whole_gpu():
    odd = synthetic("metax/2.2.6-sgpu.txt").replace("Enabled", "Sharing")
    assert peek(read(odd)[1], "mig") == Missing("sGPU-M: 'Sharing'")


def test_the_newest_layout_has_its_boards_beside_its_gpus():
    gpus = read(synthetic("metax/2.2.9-8.txt"), list=synthetic("metax/2.2.9-L.txt"))
    assert [gpu.index for gpu in gpus] == list(range(8))
    assert gpus[7].pci_address == "0000:54:00.0"
    assert (gpus[7].power_w, gpus[7].temperature_c, gpus[7].health) == (68.0, 37, "ok")
    assert gpus[7].uuid == "GPU-00000007-aaaa-bbbb-cccc-dddddddddddd"
    assert (gpus[7].mig, gpus[7].persistence) == (False, False)


def test_a_list_that_speaks_of_other_devices_gives_no_uuid():
    gpus = read(synthetic("metax/2.2.6-sgpu.txt"), list=synthetic("metax/2.2.9-L.txt"))
    assert peek(gpus[0], "uuid") == Missing("mx-smi -L has GPU 0 at 0000:11:00.0, its table at 0000:21:00.0")


def test_errors_and_retired_pages_are_counted_and_what_is_not_told_is_missing():
    well, worn = read(synthetic("metax/2.1.12.txt"), ecc=synthetic("metax/count-ecc.txt"))
    assert (well.ecc.volatile_corrected, worn.ecc.volatile_corrected) == (0, 3)
    assert (well.retired.uncorrected, worn.retired.uncorrected) == (0, 2)
    assert (worn.ecc.volatile_uncorrected, worn.ecc.enabled) == (None, None)
    assert peek(worn.retired, "pending") == UNSAID


def test_a_command_that_failed_costs_only_its_fields():
    gpus = read(
        synthetic("metax/2.1.12.txt"), ecc=Printed(status=1, stderr="invalid option\n"), list=Printed(why="it hung")
    )
    assert peek(gpus[0], "ecc") == Missing("mx-smi (ecc) ended with status 1: invalid option")
    assert peek(gpus[0], "uuid") == Missing("it hung")
    assert gpus[0].used_bytes == 830 * MIB


def test_islands_and_nics_are_read_from_the_matrix():
    pairs = metax.between(found("metax", "mx-smi", {"topology with NICs": synthetic("metax/topo-n-8.txt")}))
    assert len(pairs) == 8 * 7 // 2 + 8 * 2
    assert Between(a="gpu:0", b="gpu:3", path="link") in pairs
    assert Between(a="gpu:0", b="gpu:4", path="SYS") in pairs
    assert Between(a="gpu:5", b="mlx5_1", path="PIX") in pairs


def test_a_version_without_nics_in_its_matrix_is_asked_for_the_one_without():
    said = {"topology with NICs": Printed(status=1), "topology": synthetic("metax/topo-m-8.txt")}
    pairs = metax.between(found("metax", "mx-smi", said))
    assert len(pairs) == 28
    assert sum(pair.path == "link" for pair in pairs) == 12


@pytest.mark.parametrize(
    ("spoiled", "words"),
    [
        (lambda text: text.replace("Memory-Usage", "HBM-Used    "), "HBM-Used"),
        (lambda text: text.replace("0000:54:00.0        |", "0000:54:00.0        "), "row of mx-smi"),
        (lambda text: text.replace("847/65536 MiB", "many"), "many"),
        (lambda text: re.sub(r"Attached GPUs\s+: 8", "Attached GPUs : 9", text), "9 attached GPUs, 8 in its table"),
        (lambda _: "Segmentation fault\n", "Segmentation fault"),
        (lambda _: "", "''"),
    ],
)
def test_what_is_not_understood_is_quoted_and_never_guessed(spoiled, words: str):
    with pytest.raises(NotMeasured, match=re.escape(words)):
        read(spoiled(synthetic("metax/2.2.9-8.txt")))


def test_a_process_row_of_another_form_hides_no_gpu_and_leaves_no_false_idleness():
    odd = synthetic("metax/2.2.6-sgpu.txt").replace("501         python ", "???         python ")
    gpus = read(odd)
    assert "not understood" in peek(gpus[1], "processes").why
    assert gpus[1].used_bytes == 990 * MIB


@pytest.mark.parametrize("cell", ["??", ""])
def test_a_matrix_with_an_odd_cell_is_not_understood(cell: str):
    text = synthetic("metax/topo-m-8.txt").replace("SYS  ", f"{cell:<5}", 1)
    with pytest.raises(NotMeasured, match="mx-smi topo -m"):
        metax.between(found("metax", "mx-smi", {"topology": text}))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "count", "used_mib", "processes"),
    [
        ("2.1.6_4xMXC500_busy", 4, 60982, 1),
        ("2.1.12_C500_excerpt", 2, 826, None),
        ("2.2.4_1xC500", 1, 858, 0),
        ("2.2.6_1xC500_sGPU", 1, 986, 1),
        ("2.2.9_8xC500", 8, 826, 0),
    ],
)
def test_real_tables_of_every_layout_are_read(name: str, count: int, used_mib: int, processes: int | None):
    text = real(f"metax/mx-smi_{name}.txt")
    if name.endswith("excerpt"):
        text = re.sub(r"(Attached GPUs\s+:) 8", rf"\1 {count}", text)
    gpus = read(text)
    assert [gpu.index for gpu in gpus] == list(range(count))
    assert {gpu.name for gpu in gpus} == {"MetaX C500"}
    assert (gpus[0].used_bytes, gpus[0].total_bytes) == (used_mib * MIB, 65536 * MIB)
    known = peek(gpus[0], "processes")
    assert isinstance(known, Missing) if processes is None else len(known) == processes


@pytest.mark.shared
def test_real_lists_counts_and_matrices_are_read():
    said = {
        "table": real("metax/mx-smi_2.2.9_8xC500.txt"),
        "list": real("metax/mx-smi_-L.txt"),
        "ecc": real("metax/mx-smi_--count-ecc.txt"),
        "topology with NICs": real("metax/mx-smi_topo_-n_8xC500.txt"),
    }
    node = found("metax", "mx-smi", said)
    assert [gpu.retired.uncorrected for gpu in metax.gpus(node)[:3]] == [0, 4, 1]
    pairs = metax.between(node)
    assert Between(a="gpu:4", b="mlx5_3", path="PIX") in pairs
    for name in ("mx-smi_topo_-m_8xC500", "mx-smi_2.1.7_topo_-m_8xC500"):
        alone = metax.between(found("metax", "mx-smi", {"topology": real(f"metax/{name}.txt")}))
        assert {pair.path for pair in alone} == {"link", "NODE"}
        assert sum(pair.path == "link" for pair in alone) == 12
