"""Everything a run found, in one file: the narrow waist between measuring and judging."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import msgspec

from diag.errors import DiagError
from diag.facts.baseline import Baseline
from diag.facts.collective import Collective
from diag.facts.links import Links
from diag.facts.network import Resolution
from diag.facts.node import Node, leaves_of
from diag.facts.record import UNASKED, Known, Record

SCHEMA = 1


class Controller(Record, frozen=True, kw_only=True):
    """Where diag ran, and under what."""

    hostname: str
    python: str
    diag: str


class Stage(Record, frozen=True, kw_only=True):
    """How long a stage of the run took, and on how many of how many nodes it was done."""

    name: str
    seconds: float
    nodes_done: int
    nodes_total: int


class Snapshot(Record, frozen=True, kw_only=True):
    """One run. ``taken_at`` is UTC, ISO 8601; ``level``: passive, quick, normal or burn."""

    schema: int
    taken_at: str
    run_id: str
    level: str
    level_why: str = ""
    controller: Controller
    model_path: str | None = None
    nodes: tuple[Node, ...]
    resolutions: Known[tuple[Resolution, ...]] = UNASKED
    links: Known[Links] = UNASKED
    collective: Known[Collective] = UNASKED
    gloo: Known[Collective | None] = UNASKED
    """A short one of GLOO over the same nodes, where that was NCCL's; None: it was GLOO's itself."""
    without: Known[Collective | None] = UNASKED
    """The collective once more without those at fault; None: there was no need."""
    stages: tuple[Stage, ...] = ()
    interrupted: bool = False
    baseline: Baseline | None = None
    """Figures of an earlier run to compare with; None: none was named."""
    declared_link_bytes_per_s: float | None = None
    """Between nodes, where somebody wrote it down instead of measuring; None: nobody did."""

    @property
    def leaves(self) -> dict[str, str] | None:
        """Node -> its leaf switch; None: nobody named any."""
        return leaves_of(self.nodes)

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise DiagError("snapshot", f"no node {name!r}", do="name one of its nodes")


_decoder = msgspec.json.Decoder(Snapshot)


def save(snapshot: Snapshot, path: Path) -> None:
    """Write atomically; a name ending in ``.gz`` is compressed."""
    encoded = msgspec.json.format(msgspec.json.encode(snapshot), indent=1)
    if path.suffix == ".gz":
        encoded = gzip.compress(encoded, 6, mtime=0)
    scratch = path.with_name(path.name + ".part")
    scratch.write_bytes(encoded)
    scratch.replace(path)


def load(path: Path) -> Snapshot:
    """Read a Snapshot file, or the one in a run directory."""
    if path.is_dir():
        path = next(
            (p for p in (path / "snapshot.json", path / "snapshot.json.gz") if p.exists()), path / "snapshot.json"
        )
    try:
        encoded = path.read_bytes()
        if encoded[:2] == b"\x1f\x8b":
            encoded = gzip.decompress(encoded)
        snapshot = _decoder.decode(encoded)
    except FileNotFoundError as error:
        raise DiagError(str(path), "no such Snapshot", do="name a snapshot.json or a run directory") from error
    except IsADirectoryError as error:
        raise DiagError(str(path), "a directory, not a Snapshot") from error
    except (msgspec.DecodeError, UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
        raise DiagError(str(path), f"not a Snapshot of diag: {error}") from error
    if snapshot.schema > SCHEMA:
        raise DiagError(
            str(path), f"Snapshot schema {snapshot.schema}: this diag reads up to {SCHEMA}", do="upgrade diag"
        )
    return snapshot
