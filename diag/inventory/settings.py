"""What may be said of a host, and is what was written a value of that kind?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diag.errors import DiagError
from diag.inventory.commandline import wrapper
from diag.inventory.engines_place import require_one_way
from diag.inventory.entries import port_number
from diag.inventory.hostfile import count
from diag.inventory.texts import TEXTS, require_command, require_one_line, written

KEYS = (
    "address", "user", "port", "identity_file", "python", "exec", "image", "container", "runtime", "env", "interface",
    "leaf", "slots", "gpus", "transport",
)  # fmt: skip
TRANSPORTS = ("ssh", "local")


def read_settings(table: Mapping[str, Any], place: Callable[[str], str]) -> dict[str, Any]:
    """Fields of a Host. ``place`` names file, line and table of a key; each is already known to be one of KEYS."""
    settings: dict[str, Any] = {}
    for key, value in table.items():
        field = "slots" if key == "gpus" else key
        if field in settings:
            raise DiagError(place(key), "slots and gpus say the same", do="give one of them")
        settings[field] = _value(field, value, place(key))
    require_one_way(settings, place(""))
    return settings


def _value(field: str, value: Any, where: str) -> Any:
    if field in TEXTS:
        return _text(field, value, where)
    if field == "port":
        return port_number(value, where, f"port = {value}")
    if field == "slots":
        return count(value, where, f"slots = {value}")
    if field == "exec":
        return _words(value, where)
    if field == "env":
        return _environment(value, where)
    if value not in TRANSPORTS:
        raise DiagError(where, f"transport = {value!r}", do=f"expected one of {', '.join(TRANSPORTS)}")
    return value


def _text(field: str, value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DiagError(where, f"{field} = {value!r:.40}", do="expected a text in quotes")
    return written(field, value, where)


def _words(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return wrapper(value, where)
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        for word in value:
            require_one_line(word, "exec:", where)
        if value:
            require_command(value[0], "exec:", where)
        return tuple(value)
    raise DiagError(where, f"exec = {value!r:.40}", do="expected e.g. 'docker exec -i vllm' or a list of its words")


def _environment(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise DiagError(where, f"env = {value!r:.40}", do='expected e.g. env = { NCCL_DEBUG = "WARN" }')
    for name, setting in value.items():
        require_one_line(name, "env", where)
        if isinstance(setting, bool) or not isinstance(setting, (str, int)) or "=" in name or not name:
            raise DiagError(where, f"env {name} = {setting!r:.40}", do="expected a text in quotes")
        require_one_line(str(setting), f"env {name} =", where)
    return {name: str(setting) for name, setting in value.items()}
