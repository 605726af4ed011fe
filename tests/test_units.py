"""Are bytes, seconds and rates written and read as people in this field do?"""

from __future__ import annotations

import pytest

from diag import units


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (65536, "64.0 KiB"), (64 << 30, "64.0 GiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes_are_written_in_powers_of_1024(n_bytes, text):
    assert units.size(n_bytes) == text


def test_bandwidth_of_memory_is_in_powers_of_1000_and_of_links_in_bits():
    assert units.gb_per_s(11.2e9) == "11.2 GB/s"
    assert units.gb_per_s(118e6) == "0.118 GB/s"
    assert units.gbit_per_s(125e6) == "1.00 Gbit/s"
    assert units.gbit_per_s(12.5e9) == "100.0 Gbit/s"


@pytest.mark.parametrize(
    ("duration_s", "text"), [(4e-5, "40 µs"), (0.0123, "12.3 ms"), (9.84, "9.8 s"), (222, "3 min 42 s")]
)
def test_durations_are_written_in_the_unit_that_reads_best(duration_s, text):
    assert units.seconds(duration_s) == text


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("64GiB", 64 << 30), ("8MiB", 8 << 20), ("64g", 64 << 30), ("1.5 GB", 1_500_000_000), ("77", 77)],
)
def test_sizes_are_read_as_people_write_them(text, n_bytes):
    assert units.parse_size(text) == n_bytes


@pytest.mark.parametrize("text", ["", "GiB", "64 parsecs", "-1GiB", "1e9"])
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"expected e\.g\. 64GiB"):
        units.parse_size(text)


def test_link_rates_are_read_in_bits():
    assert units.parse_rate("100Gbit/s") == 12.5e9
    with pytest.raises(ValueError, match=r"expected e\.g\. 100Gbit/s"):
        units.parse_rate("100G")
