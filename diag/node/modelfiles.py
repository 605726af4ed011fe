"""What lies in a model directory: which files, which tensors, and is anything missing, cut or only a pointer?

Not looked at: sub-directories, the bytes of the tensors themselves, and what files other than safetensors hold inside.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat

import manners
import tensors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SMALL_BYTES = 1 << 20
CONFIG = "config.json"
QUANTIZATION = "hf_quant_config.json"
INDEX = "model.safetensors.index.json"
POINTER = b"version https://git-lfs.github.com/spec"


def model(path: str) -> dict[str, Any]:
    """The directory, or the one file, at ``path``. Raises OSError where it may not be looked into."""
    manners.idle_on_disks()
    path = os.path.expanduser(path)
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
    except FileNotFoundError:
        return {"exists": False}
    folder = snapshot(path) if is_folder else os.path.dirname(path) or "."
    names = sorted(os.listdir(folder)) if is_folder else [os.path.basename(path)]
    rows = [row for row in (_file(folder, name) for name in names if not name.startswith(".")) if row]
    weights = _weights(folder, rows)  # first: it finds what is wrong with files
    return {
        "exists": True,
        "files": [[row["name"], row["size"], row.get("sha256"), row.get("problem")] for row in rows],
        "config": _text(folder, names, CONFIG),
        "hf_quant": _text(folder, names, QUANTIZATION),
        "digest": digest(rows),
        **weights,
    }


def snapshot(folder: str) -> str:
    """In a Hugging Face cache the files of ``models--a--b`` lie under the commit that refs/main names."""
    try:
        with open(os.path.join(folder, "refs/main"), encoding="utf-8") as ref:
            named = os.path.join(folder, "snapshots", ref.read(80).strip())
    except OSError:
        return folder
    return named if os.path.isdir(named) else folder


def _file(folder: str, name: str) -> dict[str, Any] | None:
    """Size, hash of a small file, and what is wrong with it; None: not a file. Links are followed."""
    path = os.path.join(folder, name)
    row: dict[str, Any] = {"name": name, "size": 0}
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            return None
        row["size"] = found.st_size
        if not found.st_size:
            row["problem"] = "empty"
        elif found.st_size <= SMALL_BYTES:
            with open(path, "rb") as file:
                content = file.read(SMALL_BYTES)
            row["sha256"] = hashlib.sha256(content).hexdigest()
            if content.startswith(POINTER):
                row["problem"] = "git-lfs pointer"
    except FileNotFoundError:
        row["problem"] = "a link that leads nowhere"
    except OSError as error:
        row["problem"] = f"not readable: {error.strerror}"
    return row


def digest(rows: list[dict[str, Any]]) -> str:
    """Equal where names, sizes and the small files' contents are."""
    lines = (f"{row['name']}\0{row['size']}\0{row.get('sha256') or ''}\n" for row in rows)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _text(folder: str, names: list[str], name: str) -> str | None:
    if name not in names:
        return None
    with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
        return file.read(SMALL_BYTES)


def _weights(folder: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Tensors of the files that belong to the model, and the shards that its index names but the directory lacks."""
    present = {row["name"]: row for row in rows}
    index = present.get(INDEX)
    shards = _named_by_index(folder, index) if index else []
    wanted = shards or _unindexed(list(present))
    groups: dict[str, list[int]] = {}
    drafts: dict[str, list[int]] = {}
    for name in wanted:
        row = present.get(name)
        if row is None or row.get("problem"):
            continue
        row_problem = tensors.add(os.path.join(folder, name), row["size"], groups, drafts)
        if row_problem:
            row["problem"] = row_problem
    unindexed = index is not None and bool(index.get("problem"))
    if unindexed:
        wanted = [INDEX, *wanted]
    return {
        "weights": [[name, present[name].get("problem")] for name in wanted if name in present],
        "groups": [[dtype, *sums] for dtype, sums in sorted(groups.items())],
        "drafts": [[dtype, *sums] for dtype, sums in sorted(drafts.items())],
        "missing": None if unindexed else sorted(name for name in shards if name not in present),
    }


def _named_by_index(folder: str, row: dict[str, Any]) -> list[str]:
    """Nothing, and a ``problem`` in the index's row: which shards there should be is not known."""
    if row.get("problem"):
        return []
    try:
        with open(os.path.join(folder, INDEX), encoding="utf-8") as file:
            names = {str(name) for name in json.load(file)["weight_map"].values()}
    except OSError as error:
        row["problem"] = f"not readable: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        row["problem"] = f"no JSON index: {type(error).__name__}: {error}"
    else:
        if not names:
            row["problem"] = "no JSON index: its weight_map names no file"
        return sorted(names)
    return []


def _unindexed(names: list[str]) -> list[str]:
    """Without an index: ``model*.safetensors``; only where there is none, whatever else ends so (``consolidated…``)."""
    found = [name for name in names if name.endswith(".safetensors")]
    return [name for name in found if name.startswith("model")] or found
