"""Which hosts does a host file select? One host a line, as MPI and DeepSpeed write it.

# comment
gpu01 slots=8
gpu[02-04] gpus=8 user=ops port=2222
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from diag.errors import DiagError
from diag.inventory.engines_place import require_one_way
from diag.inventory.entries import entry, once_each, port_number
from diag.inventory.host import Host
from diag.inventory.nodesets import split_parts
from diag.inventory.texts import TEXTS, written

KEYS = (
    "slots", "gpus", "max_slots", "address", "user", "port", "identity_file", "python", "image", "container", "runtime",
    "interface", "leaf",
)  # fmt: skip
"""``max_slots`` (Open MPI) is read and means nothing here."""
_HANDED_IN = re.compile(r"/dev/stdin|/dev/fd/[0-9]+|/proc/self/fd/[0-9]+")
"""What a shell hands in, as in ``--hostfile <(sinfo …)``: somebody writes into it."""


def read(path: Path) -> list[Host]:
    """All hosts of the file, each once; ``where`` of each says file and line."""
    hosts: list[Host] = []
    for number, line in enumerate(text_of(path).splitlines(), 1):
        content = line.split("#", 1)[0].strip()
        if content:
            hosts += _line(content, f"{path}:{number}")
    if not hosts:
        raise DiagError(str(path), "no host in it", do="expected one host a line, e.g. gpu01 slots=8")
    return once_each(hosts)


def text_of(path: Path) -> str:
    """The file's text, or one line that says why there is none. A pipe without a writer is never opened."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir() or _HANDED_IN.fullmatch(str(path))):
            raise DiagError(str(path), "no regular file", do="expected a text file")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DiagError(str(path), "no such file") from error
    except UnicodeDecodeError as error:
        raise DiagError(str(path), f"not a text file in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise DiagError(str(path), (error.strerror or str(error)).lower()) from error


def _line(content: str, where: str) -> list[Host]:
    first, *words = re.sub(r"\s*=\s*", "=", content).split()
    if "=" in first:
        raise DiagError(where, f"{first!r}: no host in front of it", do="expected e.g. gpu01 slots=8")
    settings = _settings(words, where)
    hosts: list[Host] = []
    for part in split_parts(first):
        _refuse_ambiguous_port(part, where)
        hosts += entry(part, where, whole=first)
    if "address" in settings and len(hosts) > 1:
        raise DiagError(where, f"one address for {len(hosts)} hosts", do="give each host a line of its own")
    return [msgspec.structs.replace(host, **settings) for host in hosts]


def _refuse_ambiguous_port(part: str, where: str) -> None:
    """``gpu01:8`` is eight ranks to MPICH and port 8 to everybody else."""
    if match := re.fullmatch(r"([^@:]+):([0-9]+)", part):
        do = f"write '{match[1]} slots={match[2]}' or '{match[1]} port={match[2]}'"
        raise DiagError(where, f"{part!r}: a port or a number of ranks?", do=do)


def _settings(words: list[str], where: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.replace("-", "_")
        if not equals:
            raise DiagError(where, f"{word!r}: expected key=value", do="one host a line")
        if key not in KEYS:
            raise DiagError(where, f"unknown key {key!r}", do=f"known are {', '.join(KEYS)}")
        if not value:
            raise DiagError(where, f"{word!r}: no value", do=f"expected e.g. {key}=8")
        _set(settings, key, value, where)
    settings.pop("max_slots", None)
    require_one_way(settings, where)
    return settings


def _set(settings: dict[str, Any], key: str, value: str, where: str) -> None:
    field = "slots" if key == "gpus" else key
    meant: Any = value
    if key == "port":
        meant = port_number(value, where, f"{key}={value}")
    elif field in {"slots", "max_slots"}:
        meant = count(value, where, f"{key}={value}")
    elif field in TEXTS:
        meant = written(field, value, where)
    if field in settings and settings[field] != meant:
        raise DiagError(where, f"{key}={value} contradicts {settings[field]}", do=f"give {field} once")
    settings[field] = meant


def count(value: object, where: str, quoted: str) -> int:
    """A number of GPUs or ranks, at least 1."""
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,4}", str(value)) or int(str(value)) < 1:
        raise DiagError(where, f"{quoted!r}: no number of GPUs", do="expected e.g. slots=8")
    return int(str(value))
