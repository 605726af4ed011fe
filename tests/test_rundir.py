"""Are a run's files where a machine looks for them, and never mixed with somebody else's?"""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from pathlib import Path

import pytest

from diag import rundir
from diag.errors import DiagError
from diag.facts import snapshot as snapshots
from tests.report import samples


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "diag" / "runs"


def test_without_out_the_run_lies_under_the_state_directory(state):
    run = rundir.create(None)
    assert run.path == state / run.run_id
    assert run.path.stat().st_mode & 0o777 == 0o700
    assert rundir.create(None).path != run.path


def test_a_relative_state_directory_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert rundir.runs_folder() == tmp_path / ".local" / "state" / "diag" / "runs"


def test_out_is_the_run_directory_itself_and_may_be_used_again(tmp_path):
    run = rundir.create(tmp_path / "mine")
    run.save_snapshot(samples.snapshot())
    run.save("verdicts.json", b"{}")
    rundir.EvidenceStore(run)(b"raw")
    assert rundir.create(tmp_path / "mine").path == tmp_path / "mine"


def test_what_is_no_run_directory_is_refused_before_the_run(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    with pytest.raises(DiagError) as error:
        rundir.create(tmp_path / "home")
    assert str(error.value) == (
        f"{tmp_path}/home: not empty and no run directory of diag (it holds thesis.tex); "
        "name an empty or new directory with --out DIR"
    )
    (tmp_path / "file").touch()
    with pytest.raises(DiagError, match="a file, not a directory; name a run directory with --out DIR"):
        rundir.create(tmp_path / "file")


def test_what_cannot_be_written_is_refused_before_the_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DiagError, match=r"cannot be written|not a directory"):
        rundir.create(tmp_path / "file" / "below")
    with pytest.raises(DiagError, match="cannot be written"):
        rundir.create(Path("/proc/diag-run"))


def test_latest_points_to_the_last_run_wherever_it_is(tmp_path, state):
    first, second = rundir.create(None), rundir.create(tmp_path / "mine")
    rundir.point_latest(first)
    assert rundir.last_run() == first.path
    assert (state / "latest").readlink() == Path(first.run_id)
    rundir.point_latest(second)
    assert rundir.last_run() == tmp_path / "mine"
    assert [entry.name for entry in state.iterdir() if entry.name.startswith(".")] == []


def test_without_a_last_run_one_line_says_so(tmp_path):
    with pytest.raises(DiagError) as error:
        rundir.last_run()
    assert str(error.value) == "no run yet; name a snapshot.json or a run directory, or start one with: diag run"
    run = rundir.create(tmp_path / "mine")
    rundir.point_latest(run)
    run.path.rmdir()
    with pytest.raises(DiagError, match="the last run is gone"):
        rundir.last_run()


def test_a_state_directory_that_cannot_be_written_costs_only_the_link(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    run = rundir.create(tmp_path / "mine")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    rundir.point_latest(run)


def test_the_snapshot_is_compressed_when_it_is_large(tmp_path, monkeypatch):
    run = rundir.create(tmp_path / "mine")
    assert run.save_snapshot(samples.snapshot()).name == "snapshot.json"
    monkeypatch.setattr(rundir, "LARGE_BYTES", 100)
    assert run.save_snapshot(samples.snapshot()).name == "snapshot.json.gz"
    assert sorted(entry.name for entry in run.path.iterdir()) == ["snapshot.json.gz"]
    assert snapshots.load(run.path) == samples.snapshot()
    monkeypatch.undo()
    run.save_snapshot(samples.snapshot())
    assert sorted(entry.name for entry in run.path.iterdir()) == ["snapshot.json"]


def test_evidence_is_named_by_its_content_and_stored_once(tmp_path):
    run = rundir.create(tmp_path / "mine")
    store = rundir.EvidenceStore(run)
    raw = b"lscpu " * 1000
    threads = [threading.Thread(target=store, args=(raw,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    digest = store(raw)
    assert digest == hashlib.sha256(raw).hexdigest()
    [file] = (run.path / "evidence").iterdir()
    assert file.name == f"{digest}.gz"
    assert gzip.decompress(file.read_bytes()) == raw
    assert file.stat().st_size < len(raw) / 10


def test_a_second_run_in_the_same_directory_leaves_nothing_of_the_first(tmp_path):
    run = rundir.create(tmp_path / "mine")
    old = rundir.EvidenceStore(run)(b"old")
    run.save("plan.json", b"{}")
    again = rundir.create(tmp_path / "mine")
    new = rundir.EvidenceStore(again)(b"new")
    again.save("plan.json", None)
    again.keep_only([new])
    assert {entry.name for entry in (run.path / "evidence").iterdir()} == {f"{new}.gz"}
    assert old != new
    assert not (run.path / "plan.json").exists()


def test_a_run_below_home_is_shown_as_a_user_types_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert rundir.create(tmp_path / "a").shown() == "~/a"
    assert rundir.RunDir(Path(os.sep, "srv", "a"), "x").shown() == "/srv/a"


def test_an_empty_home_is_no_home(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", "")
    with pytest.raises(DiagError, match="no home directory"):
        rundir.runs_folder()
