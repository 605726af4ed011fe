"""How is a host's SSH port reached, and if it is not: which step failed, in words that tell the failures apart?"""

from __future__ import annotations

import errno
import queue
import socket
import threading
import time
from typing import Any

from diag.errors import NodeError
from diag.inventory.texts import why_no_name
from diag.remote.ssh_settings import SshSettings
from diag.remote.ssh_socket import ProxyCommand, Wire
from diag.remote.ssh_steps import start_sshd

DEAD_AFTER_S = 20
TUNING = (
    ("SO_KEEPALIVE", 1), ("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 2),
    ("TCP_NODELAY", 1), ("TCP_USER_TIMEOUT", DEAD_AFTER_S * 1000),
)  # fmt: skip
NO_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL)


def dial(settings: SshSettings, until: float, said_s: float) -> Wire:
    """A connection to the host, or through its ProxyCommand. Raises NodeError(node_unreachable) by ``until``.

    ``said_s`` is the time limit as the user knows it.
    """
    if settings.proxy_command:
        command = ProxyCommand(settings.proxy_command)
        return Wire(command.ours, settings.host, command)
    connection = _connect(settings, until, said_s)
    return Wire(connection, str(connection.getpeername()[0]))


def _connect(settings: SshSettings, until: float, said_s: float) -> socket.socket:
    """The first of the name's addresses that answers; each gets its share of the time."""
    addresses = _addresses(settings, until, said_s)
    for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        try:
            connection = socket.socket(family, kind, protocol)
        except OSError as error:
            what = f"no socket for {settings.address}: {error.strerror}"
            raise _unreachable(settings, what, do="more connections at once: ulimit -n 65536") from error
        try:
            connection.settimeout(max(0.001, (until - time.monotonic()) / left))
            connection.connect(address)
            _tune(connection)
            return connection
        except OSError as error:
            connection.close()
            if left == 1:
                do = start_sshd(settings) if isinstance(error, ConnectionRefusedError) else ""
                raise _unreachable(settings, _why(error, settings, str(address[0]), said_s), do=do) from error
    raise _unreachable(settings, f"{settings.host} has no address")


def _tune(connection: socket.socket) -> None:
    for name, value in TUNING:
        if hasattr(socket, name):
            level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
            connection.setsockopt(level, getattr(socket, name), value)


def _addresses(settings: SshSettings, until: float, said_s: float) -> list[tuple[Any, ...]]:
    """What the name resolves to. A resolver that hangs is left to itself: its own limit may be far beyond ours."""
    try:
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return list(socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=flags))
    except (socket.gaierror, UnicodeError):
        pass
    answer: queue.SimpleQueue[list[tuple[Any, ...]] | Exception] = queue.SimpleQueue()
    threading.Thread(
        target=_resolve, args=(settings, answer), daemon=True, name=f"diag resolves {settings.host}"
    ).start()
    try:
        found = answer.get(timeout=max(0.0, until - time.monotonic()))
    except queue.Empty:
        what = f"the resolver did not answer for {settings.host} within {said_s:g} s"
        raise _unreachable(settings, what, do="check /etc/resolv.conf or give its address") from None
    if isinstance(found, Exception):
        no_name = why_no_name(settings.host) if isinstance(found, UnicodeError) else str(found)
        reason = found.strerror if isinstance(found, socket.gaierror) else no_name
        what = f"the name {settings.host} does not resolve here: {reason}"
        raise _unreachable(settings, what, do="add it to /etc/hosts or DNS, or give its address")
    return found


def _resolve(settings: SshSettings, answer: queue.SimpleQueue[list[tuple[Any, ...]] | Exception]) -> None:
    try:
        answer.put(list(socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)))
    except (OSError, UnicodeError) as error:
        answer.put(error)


def _why(error: OSError, settings: SshSettings, address: str, said_s: float) -> str:
    at = settings.address if address == settings.host else f"{settings.address} ({address})"
    if isinstance(error, TimeoutError):
        return f"no TCP connection to {at} within {said_s:g} s: the host is down, or a firewall drops the packets"
    if isinstance(error, ConnectionRefusedError):
        return f"{at} refuses connections: no sshd runs there, or on another port"
    if error.errno in NO_WAY:
        return f"no route to {at}: the host is down, or its network is another"
    return f"no TCP connection to {at}: {error.strerror or error}"


def _unreachable(settings: SshSettings, what: str, do: str = "") -> NodeError:
    return NodeError(settings.name, "node_unreachable", what, do=do)
