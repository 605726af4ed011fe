"""Which model is planned for, and from where are its config and its file headers read?"""

from __future__ import annotations

from pathlib import Path

import msgspec

from diag.errors import DiagError
from diag.facts.model import ModelFiles
from diag.facts.node import Node
from diag.facts.record import is_known
from diag.facts.snapshot import Snapshot
from diag.planner.catalogue import BUNDLED, DEFAULT, SHORT
from diag.planner.unknown import NotKnown

QUANTIZATION_FILE = "hf_quant_config.json"
"""Some quantized checkpoints say so only here; their ``config.json`` reads like the unquantized model's."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """``name`` is what the engine is told to serve; ``files`` None: no node was asked for them."""

    name: str
    config_json: str
    told: str
    """Where it was read, for the plan's sources."""
    files: ModelFiles | None = None
    refused: str | None = None
    """What makes it unknown beside its config."""


def find_model(text: str | None, snapshot: Snapshot) -> Model:
    """``text``: the Snapshot's model path, a bundled name, a local directory or ``config.json``.

    None: the Snapshot's, where there is one, else the bundled one. Raises DiagError where ``text`` names nothing.
    """
    path = text or snapshot.model_path
    if path is None:
        return _bundled(DEFAULT)
    if (found := _on_nodes(path, snapshot)) is not None:
        return found
    path = SHORT.get(path, path)
    if path in BUNDLED:
        return _bundled(path)
    if text is None:
        raise NotKnown(f"{path}: no node showed its config.json", "name a local copy with --model")
    return _local(path)


def _bundled(name: str) -> Model:
    return Model(name=name, config_json=msgspec.json.encode(BUNDLED[name]).decode(), told=f"{name}, bundled with diag")


def _on_nodes(path: str, snapshot: Snapshot) -> Model | None:
    seen = [node for node in snapshot.nodes if _shows(node, path)]
    if not seen:
        return None
    files = seen[0].model
    return Model(
        name=files.path,
        config_json=files.config_json,
        told=f"{files.path} on {seen[0].name}{_elsewhere(seen, snapshot)}",
        files=files,
        refused=_refused({file.name for file in files.files}),
    )


def _shows(node: Node, path: str) -> bool:
    if not is_known(node, "model"):
        return False
    same = node.model.path.rstrip("/") == path.rstrip("/")
    return same and node.model.exists and is_known(node.model, "config_json")


def _elsewhere(seen: list[Node], snapshot: Snapshot) -> str:
    absent = [node.name for node in snapshot.nodes if node not in seen]
    digests = {node.model.digest for node in seen if is_known(node.model, "digest")}
    lines = [f"not seen on {len(absent)} of {len(snapshot.nodes)} nodes ({absent[0]})"] if absent else []
    lines += [f"{len(digests)} different copies on the nodes"] if len(digests) > 1 else []
    return "".join(f"; {line}" for line in lines)


def _refused(names: set[str]) -> str | None:
    return f"quantization in {QUANTIZATION_FILE}: bytes of quantized weights" if QUANTIZATION_FILE in names else None


def _local(text: str) -> Model:
    path = Path(text)
    config = path / "config.json" if path.is_dir() else path
    try:
        config_json = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(BUNDLED)
        raise DiagError(
            text,
            "no model: expected the Snapshot's model path, a directory with a config.json, or a bundled name",
            do=f"bundled: {names}",
        ) from error
    folder = config.parent
    return Model(
        name=str(folder if config.name == "config.json" else config),
        config_json=config_json,
        told=f"{config} on this machine",
        refused=_refused({file.name for file in folder.iterdir()}),
    )
