from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.node.asking import Refused, ask

MIB = 1 << 20


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """32 MiB that really lie on the disk."""
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        for _ in range(8):
            file.write(os.urandom(4 * MIB))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return path


def cached_pages(path: Path) -> int:
    """As util-linux counts them."""
    said = subprocess.run(["fincore", "-n", "-b", "-o", "PAGES", path], capture_output=True, text=True, check=True)
    return int(said.stdout)


def test_what_is_read_is_counted_and_timed(weights: Path):
    found = ask("readspeed:measure", path=str(weights.parent), limit_bytes=16 * MIB, seconds=20)
    assert len(found["repetitions"]) == 4
    assert sum(count for count, _ in found["repetitions"]) == 16 * MIB
    assert all(seconds > 0 for _, seconds in found["repetitions"])


@pytest.mark.skipif(shutil.which("fincore") is None, reason="no fincore here")
def test_the_page_cache_is_left_as_it_was_found(weights: Path):
    with weights.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(file.fileno(), 4 * MIB, 4 * MIB)
    before = cached_pages(weights)
    assert before >= 1024
    for direct in (True, False):
        ask("readspeed:measure", path=str(weights), limit_bytes=32 * MIB, seconds=20, direct=direct)
        assert cached_pages(weights) == before


def test_without_direct_reads_only_what_was_not_cached_is_read(weights: Path):
    found = ask("readspeed:measure", path=str(weights), limit_bytes=32 * MIB, seconds=20, direct=False)
    assert found["direct"] is False
    read = sum(count for count, _ in found["repetitions"])
    assert 4 * MIB <= read <= 32 * MIB


def test_the_time_is_kept(weights: Path):
    found = ask("readspeed:measure", path=str(weights), limit_bytes=1 << 30, seconds=0)
    assert sum(count for count, _ in found["repetitions"]) <= 4 * 4 * MIB


def test_a_model_in_memory_has_no_storage_to_measure(weights: Path):
    weights.read_bytes()
    with pytest.raises(Refused, match="every page is cached"):
        ask("readspeed:measure", path=str(weights), limit_bytes=32 * MIB, seconds=20, direct=False)


def test_nothing_large_enough_to_read_says_so(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(Refused, match="holds no file of at least 4 MiB"):
        ask("readspeed:measure", path=str(tmp_path), limit_bytes=MIB, seconds=1)


def test_no_region_is_read_twice():
    for files in ([["a", 100 * MIB]], [["a", 100 * MIB], ["b", 50 * MIB]], [["a", 9 * MIB]]):
        regions = ask("readspeed:regions", files=files, each=8 * MIB)
        spans = sorted((path, start, start + length) for path, start, length in regions)
        assert spans
        assert all(one[2] <= two[1] for one, two in itertools.pairwise(spans) if one[0] == two[0])


def test_a_hugging_face_cache_is_read_where_its_files_are(weights: Path, tmp_path: Path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(weights)
    (tmp_path / "models--a--b" / "refs").mkdir()
    (tmp_path / "models--a--b" / "refs" / "main").write_text("abc")
    found = ask("readspeed:measure", path=str(tmp_path / "models--a--b"), limit_bytes=16 * MIB, seconds=20)
    assert sum(count for count, _ in found["repetitions"]) == 16 * MIB
