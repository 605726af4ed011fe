"""What is known of a device by its driver's name, and is it never that of another?"""

from __future__ import annotations

import pytest

from diag.facts.expected import DEVICES, PCIE_X16, all_reduce, expected, host_link, of_device, pair


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A800-SXM4-80GB", "A800"),
        ("NVIDIA B200", "B200"),
        ("AMD Instinct MI300X", "MI300X"),
        ("NVIDIA H100 NVL", "H100-NVL"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("AMD Instinct MI355X OAM", "MI355X"),
    ],
)
def test_a_driver_s_name_finds_its_row(name, model):
    assert of_device(name) == DEVICES[model]


@pytest.mark.parametrize(
    "name",
    ["MetaX MXC500", "NVIDIA H100 PCIe", "NVIDIA A100 80GB PCIe", "Tesla V100-PCIE-32GB", "Ascend 910B3", "GH2000"],
)
def test_of_others_nothing_is_expected(name):
    assert of_device(name) == ()


def test_with_nvls_more_is_expected_than_of_rings():
    with_nvls = expected("NVIDIA H100 80GB HBM3", "all_reduce 8", nvls=True)
    rings = expected("NVIDIA H100 80GB HBM3", "all_reduce 8", nvls=False)
    unknown = expected("NVIDIA H100 80GB HBM3", "all_reduce 8")
    assert (with_nvls.least, rings.least) == (460e9, 340e9)
    assert unknown == rings, "who does not know is not asked for more"


def test_at_one_gib_somewhat_less_is_asked_for_than_of_the_sizes_that_were_published():
    assert all_reduce("NVIDIA H100 80GB HBM3", 8, nvls=True).least == pytest.approx(0.92 * 460e9)
    assert all_reduce("MetaX MXC500", 8, nvls=None) is None


@pytest.mark.parametrize(
    ("name", "links", "least"),
    [
        ("NVIDIA H100 80GB HBM3", 18, 335e9),
        ("NVIDIA H100 80GB HBM3", 6, 335e9 / 3),
        ("NVIDIA A100-SXM4-80GB", 4, 238e9 / 3),
    ],
)
def test_a_pair_that_fewer_links_join_carries_their_share(name, links, least):
    """Boards of four GPUs have no NVSwitch: each pair has a third of the links."""
    assert pair(name, links).least == pytest.approx(least)


def test_of_amd_no_number_of_links_is_asked_for():
    assert pair("AMD Instinct MI300X", 1) == expected("AMD Instinct MI300X", "p2p")


def test_an_a100_with_40_gb_has_the_slower_memory():
    assert expected("NVIDIA A100-SXM4-40GB", "hbm").typical == pytest.approx(0.77 * 1555e9)
    assert expected("NVIDIA A100-SXM4-80GB", "hbm").typical == pytest.approx(0.77 * 2000e9)


def test_fewer_lanes_carry_their_share():
    assert host_link(5, 8).least == pytest.approx(host_link(5, 16).least / 2)
    assert host_link(7, 16) is None


@pytest.mark.parametrize("row", [row for rows in (*DEVICES.values(), PCIE_X16.values()) for row in rows], ids=str)
def test_every_row_names_its_source_and_asks_for_no_more_than_was_measured(row):
    assert row.source
    assert 0 < row.least <= row.typical


@pytest.mark.parametrize("name", ["NVIDIA H100 64GB HBM2", "NVIDIA A100-SXM-64GB"])
def test_memory_of_another_size_is_held_to_no_rate(name):
    assert expected(name, "gemm bf16") is not None
    assert expected(name, "hbm") is None
    assert of_device("Tesla V100-FHHL-16GB") == ()
