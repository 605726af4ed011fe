"""Which hosts does the command line select, and what does it say of all of them?"""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from diag.errors import DiagError
from diag.inventory.engines_place import over, require_use_of_runtime
from diag.inventory.entries import hosts_in, once_each
from diag.inventory.host import Host
from diag.inventory.texts import require_command, require_one_line

OPTION = "--hosts"


def from_text(text: str) -> list[Host]:
    """``gpu[01-04],ops@10.0.0.9:2222`` -> hosts."""
    return once_each(hosts_in(text, OPTION))


def this_machine() -> list[Host]:
    """The machine diag runs on, over the local transport."""
    return [Host(name=platform.node() or "localhost", transport="local", where="this machine")]


def override(hosts: Iterable[Host], settings: Mapping[str, Any]) -> list[Host]:
    """What is typed now beats what a file says; only ``user@host:port`` on the same line beats it."""
    return [require_use_of_runtime(_override(host, settings)) for host in hosts]


def _override(host: Host, settings: Mapping[str, Any]) -> Host:
    typed = host.where == OPTION
    wanted = {
        key: value
        for key, value in settings.items()
        if value not in (None, ()) and not (typed and getattr(host, key) is not None and key in {"user", "port"})
    }
    return msgspec.structs.replace(host, **over(wanted)) if wanted else host


def wrapper(text: str | None, where: str = "--exec") -> tuple[str, ...]:
    """``docker exec -i vllm`` -> its words."""
    require_one_line(text or "", "", where)
    try:
        words = tuple(shlex.split(text or ""))
    except ValueError as error:
        raise DiagError(where, f"{text!r}: {error}", do="expected e.g. 'docker exec -i vllm'") from error
    if words:
        require_command(words[0], "", where)
    return words
