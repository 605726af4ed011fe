"""What does one entry such as ``ops@gpu[01-04]:2222`` or ``[2001:db8::1]:22`` select?

A node is called what the user called its host; the port belongs to the name only where two
entries differ in nothing else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import msgspec

from diag.errors import DiagError
from diag.inventory.host import Host
from diag.inventory.nodesets import EXAMPLE, expand_part, split_parts

MOST_PORTS = 65535


def hosts_in(text: str, where: str) -> list[Host]:
    """All hosts of a comma-separated selection. Raises DiagError for what names none, or one twice."""
    if not text.strip():
        raise DiagError(where, f"{text!r}: no host named", do=EXAMPLE)
    return [host for part in split_parts(text) for host in entry(part, where, whole=text)]


def entry(part: str, where: str, *, whole: str = "") -> list[Host]:
    """The hosts of one comma part, with the user and port written into it."""
    user, at, rest = part.rpartition("@")
    if at and not user and rest:
        raise DiagError(where, f"{part!r}: groups of this machine are not used", do=EXAMPLE)
    if at and not rest:
        raise DiagError(where, f"{part!r}: no host after @", do="expected e.g. ops@gpu[01-04]")
    if at and not re.fullmatch(r"[\w.][\w.\\@$-]*", user):
        raise DiagError(where, f"{part!r}: {user!r} is no user name", do="expected e.g. ops@gpu[01-04]")
    names, port = _names_and_port(rest, where, part=part, whole=whole)
    return [Host(name=name, user=user or None, port=port, where=where) for name in names]


def _names_and_port(rest: str, where: str, *, part: str, whole: str) -> tuple[list[str], int | None]:
    if match := re.fullmatch(r"\[([^\[\]]*:[^\[\]]*)\](?::(\w*))?", rest):
        return [_ipv6(match[1], where)], port_number(match[2], where, part) if match[2] is not None else None
    if rest.count(":") == 1:
        rest, _, port = rest.partition(":")
        return expand_part(rest, where, whole=whole or part), port_number(port, where, part)
    names = expand_part(rest, where, whole=whole)
    return [_ipv6(name, where) if ":" in name else name for name in names], None


def _ipv6(name: str, where: str) -> str:
    try:
        ipaddress.IPv6Address(name)
    except ValueError as error:
        raise DiagError(where, f"{name!r}: no IPv6 address", do="expected e.g. 2001:db8::1 or gpu01:22") from error
    return name


def port_number(text: object, where: str, part: str) -> int:
    """1 to 65535, or an error that quotes ``part``."""
    if isinstance(text, bool) or not re.fullmatch(r"[0-9]{1,5}", str(text)) or not 0 < int(str(text)) <= MOST_PORTS:
        raise DiagError(where, f"{part!r}: {str(text)!r} is no port", do=f"expected 1 to {MOST_PORTS}")
    return int(str(text))


def once_each(hosts: Iterable[Host]) -> list[Host]:
    """Refuse a host selected twice. Forwarded ports of one host are several nodes, each called ``host:port``."""
    every = list(hosts)
    ports: dict[str, set[int | None]] = {}
    for host in every:
        ports.setdefault(host.name, set()).add(host.port)
    seen: dict[tuple[str, int | None], Host] = {}
    for host in every:
        first = seen.setdefault((host.name, host.port), host)
        if first is not host:
            elsewhere = f" (also {first.where})" if first.where != host.where else ""
            do = "name each host once; several ranks are slots=N"
            raise DiagError(host.where, f"{host.name!r} is selected twice{elsewhere}", do=do)
    return [_with_port(host) if len(ports[host.name]) > 1 else host for host in every]


def _with_port(host: Host) -> Host:
    if host.port is None:
        return host
    bare = f"[{host.name}]" if ":" in host.name else host.name
    address = host.address or host.name
    return msgspec.structs.replace(host, name=f"{bare}:{host.port}", address=address)
