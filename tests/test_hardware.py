"""Can hardware be declared, and is a device known by the names that drivers and logs give it?"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from diag.declared import declared_snapshot
from diag.engines import plan_launch
from diag.errors import DiagError
from diag.facts.device import Gpu
from diag.facts.record import NotMeasured
from diag.hardware import ALIASES, DEVICES, row_of, visible_of
from diag.units import GIB, MIB


def gpu(text: str, gpu_memory_bytes: int | None = None, **told: Any) -> Gpu:
    return declared_snapshot(text, gpu_memory_bytes, **told).nodes[0].gpus[0]


def test_nodes_gpus_and_a_device_make_a_snapshot():
    declared = declared_snapshot("2x8xH100-80GB")
    assert len(declared.nodes) == 2
    assert [len(node.gpus) for node in declared.nodes] == [8, 8]
    assert declared.nodes[0].gpus[0].total_bytes == 81559 * MIB
    assert declared.nodes[0].gpus[0].compute_capability == "9.0"


@pytest.mark.parametrize("name", [*DEVICES, *ALIASES, "h200", "a100"])
def test_every_known_name_can_be_declared(name):
    declared = gpu(f"1x{name}")
    assert 0.9 * declared.total_bytes < declared.free_bytes <= declared.total_bytes


@pytest.mark.parametrize("key", DEVICES)
def test_a_row_is_found_by_its_key_and_by_the_name_of_its_driver(key):
    row = DEVICES[key]
    assert row_of(row.name) is row
    assert row.total_bytes >= row.visible_bytes >= row.free_bytes > 0.9 * row.total_bytes
    assert row.source
    assert row.links


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("H100 80GB", "H100"),
        ("H100 (GKE A3 Mega TCPXO)", "H100"),
        ("NVIDIA H100 PCIe", "H100-PCIE"),
        ("2x RTX 3090", "RTX-3090"),
        ("RTX3090", "RTX-3090"),
        ("4090", "RTX-4090"),
        ("A100-SXM4-80GB", "A100-80GB"),
        ("A100 40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIE-80GB"),
        ("L4 24GB (22.06)", "L4"),
        ("L40S 48GB", "L40S"),
        ("T4 16GB", "T4"),
        ("V100-32GB SXM2", "V100-32GB"),
        ("H20", "H20"),
        ("NVIDIA L20", "L20"),
        ("RTX A5000", "A5000"),
        ("NVIDIA RTX A4500", "A4500"),
        ("RTX 4080 16GB", "RTX-4080"),
        ("NVIDIA GeForce RTX 5070 Ti", "RTX-5070-TI"),
        ("RTX 5070", "RTX-5070"),
        ("NVIDIA GeForce RTX 5080", "RTX-5080"),
        ("H20 141GB", "H20-141GB"),
        ("GH200 96GB", "GH200"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("DGX Spark GB10", "GB10"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX-PRO-6000"),
        ("RTX 3050 Laptop 6GB", "RTX-3050-LAPTOP"),
        ("AMD MI300X 192GB class", "MI300X"),
        ("MXC500", "MXC500"),
        ("Ascend910B2", "910B"),
    ],
)
def test_a_name_of_a_driver_or_a_log_is_a_row(name, key):
    assert row_of(name) is DEVICES[key]


@pytest.mark.parametrize(
    "name",
    [
        "A100",  # of two sizes
        "V100",
        "RTX 3090 Ti",
        "RTX 4080 SUPER",
        "RTX 5000 Ada Generation",
        "H100 NVL 80GB",
        "H200 (memory held back to emulate 80 GB)",
        "A100-SXM4-64GB",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "910B4",
        "Quadro RTX 6000",
        "24GB",
        "",
    ],
)
def test_a_name_that_is_no_row_s_is_none(name):
    assert row_of(name) is None


def test_metax_has_islands_of_four_and_no_compute_capability():
    row = DEVICES["MXC500"]
    assert (row.island, row.links, row.compute_capability, row.vendor) == (4, "MetaXLink joins 4", None, "metax")
    assert gpu("1xMXC500").compute_capability is None


def test_programs_see_less_than_the_driver_reports():
    assert visible_of("NVIDIA H100 80GB HBM3", 81559 * MIB) == 81080 * MIB
    assert visible_of("NVIDIA H100 80GB HBM3", int(79.1 * GIB)) == int(79.1 * GIB)  # from a program already
    assert visible_of("something else", 80 * GIB) == 80 * GIB


def test_memory_may_be_told():
    assert gpu("8xH100", int(79.1 * GIB)).free_bytes == int(79.1 * GIB)
    assert gpu("2x8xMXC500", 64 * GIB).free_bytes == 64678 * MIB
    told = gpu("8xMXC500", 64 * GIB, gpu_free_bytes=50 * GIB)
    assert (told.total_bytes, told.free_bytes) == (64 * GIB, 50 * GIB)
    assert gpu("1xL40S", gpu_free_bytes=10 * GIB).total_bytes == 46068 * MIB


def test_a_device_without_a_row_needs_its_memory():
    with pytest.raises(DiagError, match=r"'B9000': its memory is not known; known is e\.g\. .*; or name --gpu-memory"):
        declared_snapshot("8xB9000")
    assert gpu("8xB9000", 96 * GIB).total_bytes == 96 * GIB


def test_an_unknown_device_has_no_vendor_until_its_compute_capability_is_told():
    assert gpu("1xB9000", 96 * GIB).vendor == "unknown"
    with pytest.raises(NotMeasured, match="--compute-capability"):
        _ = gpu("1xB9000", 96 * GIB).compute_capability
    told = gpu("1xB9000", 96 * GIB, compute_capability="13.0")
    assert (told.vendor, told.compute_capability) == ("nvidia", "13.0")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("9.0", "9.0"),
        ("9", "9.0"),
        ("90", "9.0"),
        ("sm_90a", "9.0"),
        ("sm121", "12.1"),
        ("12.1", "12.1"),
        ("12", "12.0"),
        ("120", "12.0"),
        ("89", "8.9"),
        ("8", "8.0"),
    ],
)
def test_a_compute_capability_is_read_as_it_is_written(text, found):
    assert gpu("1xH100", compute_capability=text).compute_capability == found


@pytest.mark.parametrize("text", ["9.00", "hopper", "9a", "", "-9.0"])
def test_what_is_no_compute_capability_is_one_clear_line(text):
    with pytest.raises(DiagError, match=r"--compute-capability: .*expected e\.g\. 9\.0, or 90"):
        declared_snapshot("1xH100", compute_capability=text)


def test_a_link_between_nodes_is_kept():
    assert declared_snapshot("2x8xMXC500", link_bytes_per_s=12.5e9).declared_link_bytes_per_s == 12.5e9
    assert declared_snapshot("2x8xMXC500").declared_link_bytes_per_s is None


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"gpu_memory_bytes": 80}, "--gpu-memory: 80 B is no GPU's memory; expected e.g. 64GiB"),
        ({"gpu_free_bytes": 70}, "--gpu-free: 70 B is no GPU's memory; expected e.g. 64GiB"),
        ({"gpu_free_bytes": 90 * GIB}, "--gpu-free: 90.0 GiB of 79.6 GiB: more than there is"),
        ({"link_bytes_per_s": 0}, "--link: 0 bytes/s: expected a rate above 0, e.g. 100Gbit/s"),
    ],
)
def test_nonsense_is_one_clear_line(options, line):
    with pytest.raises(DiagError) as error:
        declared_snapshot("8xH100", **options)
    assert str(error.value) == line


@pytest.mark.parametrize("text", ["", "H100", "8x", "0xH100", "x8xH100", "8xH100xx!", "-1xH100", "0x8xH100"])
def test_what_is_not_a_declaration_is_one_clear_line(text):
    with pytest.raises(DiagError, match=r"--hardware: .*expected e\.g\. 8xH100-80GB"):
        declared_snapshot(text)


def test_a_plan_for_declared_hardware_says_that_nothing_was_measured():
    plan = plan_launch(declared_snapshot("8xH200"), None)
    assert plan.verdict == "FITS"
    assert plan.sources["hardware"].startswith("declared as 8xH200: nothing was measured")
    assert plan.load_seconds is None


def test_planning_imports_nothing_heavy():
    heavy = "import sys, diag.engines, diag.hardware; sys.exit(bool({'torch', 'paramiko', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0
