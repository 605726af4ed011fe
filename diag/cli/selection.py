"""Which hosts did the command line select, and how are they logged in to?"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from diag.cli.signals import unwound
from diag.errors import DiagError
from diag.inventory import Host, commandline, gpusets, hostfile, toml
from diag.inventory.commandline import override
from diag.inventory.engines_place import require_one_way
from diag.inventory.gpusets import Part
from diag.inventory.texts import expanded, require_command, require_named, require_one_line
from diag.planner.exclusion import require_nodes
from diag.remote.ssh_options import SshOptions

__all__ = ["excluded", "hosts", "login", "override", "settings"]


def hosts(text: str | None, host_file: Path | None, inventory: Path | None) -> list[Host]:
    """From the one source that was named; from none: this machine."""
    given = {"--hosts": text, "--hostfile": host_file, "--inventory": inventory}
    named = [option for option, value in given.items() if value is not None]
    if len(named) > 1:
        raise DiagError("", f"{' and '.join(named)}: hosts selected in more than one way", do="give one of them")
    if text is not None:
        return commandline.from_text(text)
    if host_file is not None:
        return hostfile.read(host_file)
    return toml.read(inventory) if inventory is not None else commandline.this_machine()


def excluded(text: str | None, chosen: Sequence[Host]) -> tuple[Part, ...]:
    """What the plan is to leave out, said before any host is touched."""
    if text is None:
        return ()
    parts = gpusets.parts(text, "--exclude")
    require_nodes(parts, [host.name for host in chosen])
    return parts


def settings(*, wrapper: str | None, **given: Any) -> dict[str, Any]:
    """Fields of every host that were typed."""
    for option, text in given.items():
        if isinstance(text, str) and not text.strip():
            raise DiagError(f"--{option}", f"{text!r}: empty", do="give it a value, or leave it out")
        if isinstance(text, str):
            (require_command if option == "python" else require_one_line)(text, "", f"--{option}")
            require_named(option, text, f"--{option}")
    typed = given | {"exec": commandline.wrapper(wrapper)}
    require_one_way(typed, "", mark="--")
    return typed


def login(
    config: Path | None,
    identities: tuple[Path, ...],
    accept_new_host_keys: bool,
    connect_timeout_s: float | None,
    *,
    ask_pass: bool,
) -> SshOptions:
    """What holds for every SSH connection; files that were named must be there."""
    return SshOptions(
        config_path=_file(config, "--ssh-config") if config is not None else None,
        identity_files=tuple(_file(path, "--identity") for path in identities),
        accept_new_host_keys=accept_new_host_keys,
        connect_timeout_s=connect_timeout_s,
        password=_asked_once() if ask_pass else None,
    )


def _file(path: Path, option: str) -> str:
    place = expanded(path, option)
    try:
        if not place.is_file() and str(place) != os.devnull:  # which is how ssh -F is given nothing to read
            raise DiagError(option, f"{path}: no {'regular' if place.exists() else 'such'} file")
    except OSError as error:
        raise DiagError(option, f"{path}: {(error.strerror or str(error)).lower()}") from error
    return str(place)


def _asked_once() -> Callable[[], str]:
    """Asked before anything else is on the terminal; a script may pipe it in. Nothing but this function holds it."""
    if sys.stdin is not None and sys.stdin.isatty():
        with unwound():
            password = getpass.getpass("Password for the hosts: ", sys.stderr)
    else:
        password = sys.stdin.readline().rstrip("\n") if sys.stdin is not None else ""
    if not password:
        raise DiagError("--ask-pass", "no password was given")
    return lambda: password
