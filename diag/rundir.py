"""Where are the files of a run, and which run was the last?

A run directory holds ``snapshot.json`` (``.json.gz`` when large), ``evidence/``, ``verdicts.json``, ``plan.json`` and
``junit.xml``. Evidence is named by its SHA-256 and compressed; what 1,000 nodes say alike is stored once.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import secrets
import threading
import zlib
from collections.abc import Generator, Iterable
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from diag.errors import DiagError
from diag.facts import snapshot as snapshots
from diag.facts.snapshot import Snapshot

LARGE_BYTES = 4 * 1024**2
SNAPSHOTS = ("snapshot.json", "snapshot.json.gz")
RESULTS = ("verdicts.json", "plan.json", "junit.xml")
EVIDENCE = "evidence"
KNOWN = frozenset((*SNAPSHOTS, *RESULTS, EVIDENCE))
LATEST = "latest"
NO_RUN = "name a snapshot.json or a run directory, or start one with: diag run"


class RunDir(msgspec.Struct, frozen=True):
    """One run's directory. ``run_id`` is its name in ``runs/`` even where ``--out`` names another place."""

    path: Path
    run_id: str

    def save_snapshot(self, snapshot: Snapshot) -> Path:
        """The small form is read with any tool; the large one is compressed."""
        plain, packed = (self.path / name for name in SNAPSHOTS)
        with _writing(self.path, plain, packed, *(path.with_name(f"{path.name}.part") for path in (plain, packed))):
            snapshots.save(snapshot, plain)
            if plain.stat().st_size > LARGE_BYTES:
                snapshots.save(snapshot, packed)
                plain.unlink()
                return packed
            packed.unlink(missing_ok=True)
        return plain

    def save(self, name: str, content: bytes | None) -> None:
        """Write one of RESULTS whole or not at all; None: this run has none, so an older one goes."""
        scratch = self.path / f"{name}.part"
        with _writing(self.path, self.path / name, scratch):
            if content is None:
                (self.path / name).unlink(missing_ok=True)
                return
            scratch.write_bytes(content)
            scratch.replace(self.path / name)

    def keep_only(self, digests: Iterable[str]) -> None:
        """Remove the evidence of an earlier run in the same directory."""
        kept = {f"{digest}.gz" for digest in digests}
        for file in (self.path / EVIDENCE).glob("*.gz"):
            if file.name not in kept:
                file.unlink(missing_ok=True)

    def shown(self) -> str:
        """As a user would type it."""
        with contextlib.suppress(ValueError, RuntimeError):
            return f"~/{self.path.relative_to(Path.home())}"
        return str(self.path)


@contextlib.contextmanager
def _writing(path: Path, *files: Path) -> Generator[None]:
    """A disk that is full by now is no bug of diag; of ``files`` no part and none of an earlier run is left."""
    try:
        yield
    except OSError as error:
        for file in files:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        what = f"cannot be written: {(error.strerror or str(error)).lower()}"
        raise DiagError(str(path), what, do="name another run directory with --out DIR") from error


class EvidenceStore:
    """Keeps raw output; called from many threads. A full disk must not end the run: ``unwritten`` says why."""

    def __init__(self, run: RunDir) -> None:
        self.folder = run.path / EVIDENCE
        self.folder.mkdir(exist_ok=True)
        self.kept: set[str] = set()
        self.lock = threading.Lock()
        self.unwritten: DiagError | None = None

    def __call__(self, raw: bytes) -> str:
        """Store once; the SHA-256 of the raw bytes names the file."""
        digest = hashlib.sha256(raw).hexdigest()
        with self.lock:
            if digest in self.kept:
                return digest
            self.kept.add(digest)
        scratch = self.folder / f"{digest}.part"
        try:
            with _writing(self.folder, scratch):
                scratch.write_bytes(gzip.compress(raw, 6, mtime=0))
                scratch.replace(self.folder / f"{digest}.gz")
        except DiagError as error:
            self.unwritten = error
        return digest


def raw_evidence(folder: Path, digest: str) -> bytes:
    """One text of a run's evidence. Raises DiagError where it is gone."""
    file = folder / EVIDENCE / f"{digest}.gz"
    try:
        return gzip.decompress(file.read_bytes())
    except FileNotFoundError as error:
        do = "a Snapshot alone has no evidence: name the directory of its run"
        raise DiagError(str(file), "no such file", do=do) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DiagError(str(file), f"cannot be read: {error}") from error


def runs_folder() -> Path:
    """``$XDG_STATE_HOME/diag/runs``; a relative XDG_STATE_HOME is invalid and ignored, as its specification says."""
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(state) if state.startswith("/") else _home() / ".local" / "state"
    except RuntimeError as error:
        raise DiagError("run directory", "no home directory", do="name one with --out DIR") from error
    return base / "diag" / "runs"


def _home() -> Path:
    """``HOME=`` names no home, but Path.home() the root of all."""
    if os.environ.get("HOME") == "":
        raise RuntimeError
    return Path.home()


def create(out: Path | None) -> RunDir:
    """Make the run directory, or say before the run why it cannot be."""
    run_id = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    path = (out if out is not None else runs_folder() / run_id).absolute()
    _refuse_foreign(path)
    try:
        path.mkdir(mode=0o777 if out is not None else 0o700, parents=True, exist_ok=True)
        probe = path / f".{run_id}.part"
        probe.touch()
        probe.unlink()
    except OSError as error:
        what = f"cannot be written: {(error.strerror or str(error)).lower()}"
        raise DiagError(str(path), what, do="name another run directory with --out DIR") from error
    return RunDir(path, run_id)


def _refuse_foreign(path: Path) -> None:
    """Files that diag did not write are never mixed with a run's, let alone replaced."""
    try:
        names = [entry.name for entry in path.iterdir()] if path.exists() else []
    except NotADirectoryError as error:
        raise DiagError(str(path), "a file, not a directory", do="name a run directory with --out DIR") from error
    except OSError as error:
        raise DiagError(str(path), (error.strerror or str(error)).lower(), do="name another with --out DIR") from error
    foreign = sorted(name for name in names if name not in KNOWN and not name.endswith(".part"))
    if foreign:
        what = f"not empty and no run directory of diag (it holds {foreign[0]})"
        raise DiagError(str(path), what, do="name an empty or new directory with --out DIR")


def point_latest(run: RunDir) -> None:
    """``runs/latest`` -> this run, replaced in one step. Without a writable state directory there is no last run."""
    with contextlib.suppress(OSError, DiagError):
        folder = runs_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = folder / f".{run.run_id}.link"
        scratch.symlink_to(run.path.name if run.path.parent == folder else run.path)
        scratch.replace(folder / LATEST)


def last_run() -> Path:
    """The directory of the last run. Raises DiagError when there is none."""
    latest = runs_folder() / LATEST
    if not latest.is_dir():
        gone = f"the last run is gone: {latest.readlink()}" if latest.is_symlink() else "no run yet"
        raise DiagError("", gone, do=NO_RUN)
    return latest.resolve()
