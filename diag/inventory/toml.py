"""Which hosts does a TOML inventory select, and what does it say of each?

    [defaults]                    for every host
    user = "ops"
    [groups.prefill]              for the hosts of a group
    hosts = "gpu[01-04]"
    exec = "docker exec -i vllm"
    [hosts."gpu[03-04]"]          for these; a host of no group is selected by this alone
    interface = "bond1"

The more particular wins: hosts, then groups, then defaults; ``env`` tables are merged in that order.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from diag.errors import DiagError
from diag.inventory.engines_place import over
from diag.inventory.entries import hosts_in, once_each
from diag.inventory.host import Host
from diag.inventory.hostfile import text_of
from diag.inventory.settings import KEYS, read_settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLES = ("defaults", "groups", "hosts")


def read(path: Path) -> list[Host]:
    """All hosts of the inventory; ``where`` of each says file and line."""
    text = text_of(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DiagError(str(path), f"no TOML: {error}") from error
    return _Inventory(path, text).hosts(document)


class _Inventory:
    """One file while it is read: its text is kept to find the line of each table."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()

    def hosts(self, document: Mapping[str, Any]) -> list[Host]:
        self._known(document, TABLES, "", self._where())
        defaults = self._settings(self._table(document.get("defaults", {}), "defaults"), "defaults")
        layers: dict[str, dict[str, Any]] = {}
        members: list[Host] = []
        for name, group in self._table(document.get("groups", {}), "groups").items():
            title = f"groups.{name}"
            settings = dict(self._table(group, title))
            grouped = self._members(settings.pop("hosts", None), title, name)
            members += grouped
            own = self._settings(settings, title, ("hosts", *KEYS))
            layers |= {host.name: own for host in grouped}
        members = once_each(members)
        particular = self._particular(document)
        return self._together(members, particular, defaults, layers)

    def _particular(self, document: Mapping[str, Any]) -> dict[str, tuple[Host, dict[str, Any]]]:
        """[hosts.…]: its keys are node sets; no host may be under two of them."""
        found: list[tuple[Host, dict[str, Any]]] = []
        for key, table in self._table(document.get("hosts", {}), "hosts").items():
            title = f'hosts."{key}"'
            where = self._where("hosts", key)
            settings = self._settings(self._table(table, title), title)
            hosts = hosts_in(key, where)
            if "address" in settings and len(hosts) > 1:
                raise DiagError(where, f"one address for {len(hosts)} hosts", do="give each host a table of its own")
            found += [(host, settings) for host in hosts]
        renamed = once_each(host for host, _ in found)
        return {host.name: (host, settings) for host, (_, settings) in zip(renamed, found, strict=True)}

    def _together(
        self,
        members: list[Host],
        particular: Mapping[str, tuple[Host, dict[str, Any]]],
        defaults: dict[str, Any],
        layers: Mapping[str, dict[str, Any]],
    ) -> list[Host]:
        grouped = {host.name for host in members}
        alone = [host for name, (host, _) in particular.items() if name not in grouped]
        if not members and not alone:
            raise DiagError(str(self.path), "no host in it", do='expected e.g. [hosts."gpu[01-04]"]')
        hosts = []
        for host in [*members, *alone]:
            written, own = particular.get(host.name, (host, {}))
            typed = {"user": written.user or host.user, "port": written.port or host.port}
            hosts.append(_apply(host, defaults, layers.get(host.name, {}), own, typed))
        return hosts

    def _members(self, hosts: Any, title: str, name: str) -> list[Host]:
        where = self._where("groups", name)
        parts = [hosts] if isinstance(hosts, str) else hosts
        if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
            raise DiagError(where, f"[{title}]: no hosts", do='expected e.g. hosts = "gpu[01-04]"')
        return [host for part in parts for host in hosts_in(part, where)]

    def _settings(self, table: Mapping[str, Any], title: str, known: tuple[str, ...] = KEYS) -> dict[str, Any]:
        where = self._titled(title)
        self._known(table, known, f"[{title}]: ", where)
        return read_settings(table, lambda key: f"{self._line_of(key, where)}: [{title}]")

    def _table(self, value: Any, title: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise DiagError(self._titled(title), f"{title}: {value!r:.40} is no table", do=f"expected [{title}]")
        return value

    def _known(self, table: Mapping[str, Any], known: tuple[str, ...], title: str, where: str) -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                meant = f" (is {near[0]!r} meant?)" if near else ""
                raise DiagError(
                    self._line_of(key, where), f"{title}unknown key {key!r}{meant}", do=f"known are {', '.join(known)}"
                )

    def _titled(self, title: str) -> str:
        return self._where(*title.replace('"', "").split(".", 1))

    def _where(self, *keys: str) -> str:
        """``file:line`` of a table's header, or of the first line that holds its key; else the file."""
        if not keys:
            return str(self.path)
        header = r"\s*\.\s*".join(rf"[\"']?{re.escape(key)}[\"']?" for key in keys)
        for pattern in (rf"\s*\[\s*{header}\s*\]", rf"[^#]*{re.escape(keys[-1])}"):
            for number, line in enumerate(self.lines, 1):
                if re.match(pattern, line):
                    return f"{self.path}:{number}"
        return str(self.path)

    def _line_of(self, key: str, where: str) -> str:
        """``file:line`` of a key below its table's header; of the table itself where it is not found there."""
        header = where.rpartition(":")[2]
        for number, line in enumerate(self.lines[int(header) :], int(header) + 1) if key and header.isdigit() else ():
            if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]", line):
                return f"{self.path}:{number}"
            if re.match(r"\s*\[[^\]=]*\]\s*(#|$)", line):
                break
        return where


def _apply(host: Host, *layers: Mapping[str, Any]) -> Host:
    settings: dict[str, Any] = {}
    env: dict[str, str] = {}
    for layer in layers:
        env |= layer.get("env", {})
        settings |= over({key: value for key, value in layer.items() if value is not None and key != "env"})
    return msgspec.structs.replace(host, **settings, env=tuple(env.items()))
