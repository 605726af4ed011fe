"""Which model is planned for, and from where are its config and its file headers read?

A path that the Snapshot saw counts first, then what lies on this machine, then a bundled name.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from diag.errors import DiagError
from diag.facts.model import ModelFiles
from diag.facts.node import Node
from diag.facts.record import Missing, NotMeasured, is_known, peek
from diag.facts.snapshot import Snapshot
from diag.planner.model import families
from diag.planner.model.architecture import Architecture
from diag.planner.model.bounds import bounded
from diag.planner.model.catalogue import DEFAULT, bundled, names
from diag.planner.model.gguf_architecture import gguf_architecture
from diag.planner.model.gguf_files import GgufFile, read_gguf
from diag.planner.model.headers import model_files
from diag.planner.unknown import NotKnown

CONFIG, QUANTIZATION = "config.json", "hf_quant_config.json"
"""Some quantized checkpoints say so only in the second; their ``config.json`` reads like the unquantized model's."""
NAMED = 5
LOCAL = "name a local copy with --model"


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """``name`` is what the engine is told to serve. ``config`` is empty for a GGUF file, which says all itself."""

    name: str
    told: str
    """Where it was read, for the plan's sources."""
    config: Mapping[str, Any] = {}
    hf_quant: Mapping[str, Any] | None = None
    files: ModelFiles | None = None
    """With the headers, where there are any; None: there are no files."""
    gguf: GgufFile | None = None

    @property
    def config_json(self) -> str:
        return json.dumps(dict(self.config))


def read_architecture(model: Model) -> Architecture:
    """What is not understood is ``NotKnown``, with what it takes at most where that can be said."""
    try:
        if model.gguf is not None:
            return gguf_architecture(model.gguf)
        return families.read(model.config, model.hf_quant)
    except NotKnown as why:
        raise bounded(why, model.config, model.files, model.gguf) from None


def find_model(text: str | None, snapshot: Snapshot) -> Model:
    """``text``: the Snapshot's model path, a directory, a ``config.json``, a ``.gguf`` file, or a bundled name.

    None: the Snapshot's, where there is one, else the bundled one. DiagError where ``text`` names nothing.
    """
    path = text or snapshot.model_path
    if path is None:
        return _bundled(DEFAULT)
    if (found := _on_nodes(path, snapshot)) is not None:
        return found
    if (found := _local(Path(path))) is not None:
        return found
    if name := _bundled_name(path):
        return _bundled(name)
    why = _why_not_on_nodes(path, snapshot)
    if why is not None or text is None:
        raise why or NotKnown(f"{path}: no node showed its config.json", LOCAL)
    raise _nothing(path)


def is_name_only(text: str) -> bool:
    """Whether it names a bundled model and nothing on this machine: no path that nodes could be asked for."""
    return not text.startswith(("/", ".", "~")) and not Path(text).exists() and _bundled_name(text) is not None


def example(text: str | None, snapshot: Snapshot) -> tuple[str, ...]:
    """What is to be said where nobody named a model."""
    return () if text or snapshot.model_path else (f"no --model given: an example, {DEFAULT}",)


def _bundled(name: str) -> Model:
    found = bundled(name)
    return Model(name=name, config=found.config, hf_quant=found.hf_quant, told=f"{name}, bundled with diag")


def _bundled_name(text: str) -> str | None:
    """The name as published, without who published it, or an end of it, after a hyphen, that is one model's alone."""
    wanted = text.lower()
    known = {name.lower(): name for name in names()}
    if wanted in known:
        return known[wanted]
    short = [name for low, name in known.items() if low.endswith(f"/{wanted}")]
    ends = short or [name for low, name in known.items() if low.endswith(f"-{wanted}")]
    if len(ends) > 1:
        told = ", ".join(ends[:NAMED]) + (", …" if len(ends) > NAMED else "")
        raise DiagError(text, f"{len(ends)} bundled models end so", do=f"name one: {told}")
    return ends[0] if ends else None


def _nothing(text: str) -> DiagError:
    """Names that are near come before all others."""
    if text.lower().endswith(".gguf"):
        return DiagError(text, "no such file")
    short = {name.rpartition("/")[2].lower(): name for name in names()}
    near = difflib.get_close_matches(text.rpartition("/")[2].lower(), short, n=3, cutoff=0.6)
    told = ", ".join(short[one] for one in near) if near else f"{len(names())}, e.g. {DEFAULT}"
    return DiagError(
        text,
        "no model: expected the Snapshot's model path, a directory with a config.json, a .gguf file, or a bundled name",
        do=f"bundled{' and near' if near else ''}: {told}",
    )


def _on_nodes(path: str, snapshot: Snapshot) -> Model | None:
    seen = [node for node in snapshot.nodes if _shows(node, path)]
    if not seen:
        return None
    files = seen[0].model
    where = f"{files.path} on {seen[0].name}"
    return Model(
        name=files.path,
        config=_object(files.config_json, f"{files.path}/{CONFIG} on {seen[0].name}"),
        hf_quant=_side_file(files, where),
        told=f"{where}{_elsewhere(seen, snapshot)}",
        files=files,
    )


def _shows(node: Node, path: str) -> bool:
    if not is_known(node, "model"):
        return False
    same = node.model.path.rstrip("/") == path.rstrip("/")
    return same and node.model.exists and is_known(node.model, "config_json")


def _why_not_on_nodes(path: str, snapshot: Snapshot) -> NotKnown | None:
    """Of what lies there without a config that was read: a GGUF file is read on this machine only."""
    for node in snapshot.nodes:
        files: ModelFiles | Missing = peek(node, "model")
        if isinstance(files, ModelFiles) and files.path.rstrip("/") == path.rstrip("/") and files.exists:
            lacks: Missing = peek(files, "config_json")
            return bounded(NotKnown(f"{path} on {node.name}: {lacks.why}", LOCAL), {}, files, None)
    return None


def _side_file(files: ModelFiles, where: str) -> Mapping[str, Any] | None:
    """Snapshots of before it was read list its name alone."""
    if all(file.name != QUANTIZATION for file in files.files):
        return None
    try:
        text = files.hf_quant_json
    except NotMeasured as why:
        raise NotKnown(f"quantization in {QUANTIZATION} of {where}: {why}", "gather the Snapshot anew") from None
    return None if text is None else _object(text, f"{QUANTIZATION} of {where}")


def _elsewhere(seen: list[Node], snapshot: Snapshot) -> str:
    absent = [node.name for node in snapshot.nodes if node not in seen]
    digests = {node.model.digest for node in seen if is_known(node.model, "digest")}
    lines = [f"not seen on {len(absent)} of {len(snapshot.nodes)} nodes ({absent[0]})"] if absent else []
    lines += [f"{len(digests)} different copies on the nodes"] if len(digests) > 1 else []
    return "".join(f"; {line}" for line in lines)


def _local(path: Path) -> Model | None:
    """None: nothing lies there."""
    if _is_gguf(path):
        return Model(name=str(path), told=f"{path} on this machine", gguf=read_gguf(path))
    config = path / CONFIG if path.is_dir() else path
    if not config.is_file():
        _say_what_lacks(path)
        return None
    whole = config.name == CONFIG
    side = config.with_name(config.name.removesuffix(CONFIG) + QUANTIZATION)
    return Model(
        name=str(config.parent if whole else config),
        config=_read(config),
        hf_quant=_read(side) if config.name.endswith(CONFIG) and side.is_file() else None,
        told=f"{config} on this machine",
        files=model_files(config.parent) if whole else None,
    )


def _is_gguf(path: Path) -> bool:
    """Ollama's blobs are called by their digest."""
    if not path.is_file():
        return False
    if path.suffix.lower() == ".gguf":
        return True
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def _say_what_lacks(path: Path) -> None:
    if not path.is_dir():
        return
    ggufs = sorted(file.name for file in path.iterdir() if file.suffix.lower() == ".gguf")
    if ggufs:
        raise DiagError(str(path), "a directory of .gguf files", do=f"name one of them: {', '.join(ggufs[:4])}")
    raise DiagError(str(path), "no model: the directory holds no config.json")


def _read(file: Path) -> Mapping[str, Any]:
    try:
        return _object(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise DiagError(str(file), f"not readable: {error}") from error
    except NotKnown as why:
        raise DiagError(str(file), "expected a JSON object", do="is it a model's config.json?") from why


def _object(text: str, where: str) -> Mapping[str, Any]:
    """Published configs hold ``Infinity``, which only Python takes for JSON."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise NotKnown(f"{where}: no JSON: {error}") from error
    if not isinstance(found, dict):
        raise NotKnown(f"{where}: found {text[:80]!r}, expected a JSON object")
    return found
