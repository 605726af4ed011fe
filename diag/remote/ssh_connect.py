"""How does one get from a host's name to a connection that is logged in? Settings, jump hosts, host key, login."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Generic, NamedTuple, Protocol, TypeVar

from diag.errors import DiagError, NodeError
from diag.inventory import Host
from diag.remote import ssh_settings, ssh_trust
from diag.remote.host_keys import HostKey, KnownHosts
from diag.remote.ssh_config import SshConfig
from diag.remote.ssh_dial import dial
from diag.remote.ssh_identities import Keyring
from diag.remote.ssh_jumps import Jumps
from diag.remote.ssh_login import Door, log_in
from diag.remote.ssh_options import SshOptions
from diag.remote.ssh_settings import Hop, SshSettings
from diag.remote.ssh_socket import Stream, Wire


class Limit(NamedTuple):
    """When a connection has to stand; ``said_s``: how long that is, as the user knows it."""

    until: float
    said_s: float

    @classmethod
    def after(cls, seconds: float) -> Limit:
        return cls(time.monotonic() + seconds, seconds)

    @property
    def left_s(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def earlier(self, seconds: float | None) -> Limit:
        """``seconds`` from now, if that is sooner."""
        return self if seconds is None or seconds >= self.left_s else Limit.after(seconds)


class Connection(Door, Protocol):
    """What ssh.py makes of a wire. Each method raises NodeError where it fails; ``within`` names the step that hung."""

    advice: tuple[str, ...]

    @property
    def alive(self) -> bool: ...
    def within(self, limit: Limit) -> AbstractContextManager[None]: ...
    def exchange_keys(self, known_types: Sequence[str]) -> HostKey: ...
    def tunnel(self, host: str, port: int, limit: Limit) -> Stream: ...
    def close(self) -> None: ...


C = TypeVar("C", bound=Connection)


class Connector(Generic[C]):
    """Connections for all hosts of a run. Raises DiagError when ssh_config cannot be read."""

    def __init__(
        self,
        options: SshOptions,
        make: Callable[[SshSettings, Wire, Callable[[], None]], C],
        keyring: Keyring,
    ) -> None:
        self._options, self._config = options, SshConfig(options.config_path)
        self._book = KnownHosts()
        self._make, self._keyring = make, keyring
        self._jumps: Jumps[C] = Jumps()

    def connect(self, host: Host, limit: Limit) -> C:
        """Logged in. Raises NodeError with the cause that stopped it; a jump host's too is the host's."""
        try:
            settings = ssh_settings.for_host(host, self._options, self._config)
            return self._open(settings, settings.jumps, limit, self._options.password, (host.name,))
        except NodeError as error:
            if error.where == host.name:
                raise
            raise NodeError(host.name, error.cause, f"jump host {error.where}: {error.what}", do=error.do) from error
        except (DiagError, ValueError) as error:
            raise NodeError(host.name, "node_unreachable", str(error)) from error

    def _open(
        self,
        settings: SshSettings,
        jumps: tuple[Hop, ...],
        limit: Limit,
        password: Callable[[], str] | None,
        passed: tuple[str, ...],
    ) -> C:
        handshake = limit.earlier(settings.connect_timeout_s)
        connection = self._wired(settings, jumps, handshake, limit, passed)
        with connection.within(handshake):
            key = connection.exchange_keys(ssh_trust.known_types(settings, self._book))
            connection.advice += ssh_trust.verify(settings.name, settings, key, self._book, behind=bool(jumps))
        with connection.within(limit):
            connection.advice += log_in(connection, settings, self._keyring, password)
        return connection

    def _wired(
        self, settings: SshSettings, jumps: tuple[Hop, ...], handshake: Limit, limit: Limit, passed: tuple[str, ...]
    ) -> C:
        """Not spoken on yet. Through the last of ``jumps``, which is reached through those before it."""
        if not jumps:
            return self._make(settings, dial(settings, handshake.until, handshake.said_s), lambda: None)
        hop = self._jump(jumps, limit, passed)
        try:
            wire = Wire(hop.tunnel(settings.host, settings.port, limit), settings.host)
        except BaseException:
            self._jumps.give_back(jumps, hop)
            raise
        connection = self._make(settings, wire, lambda: self._jumps.give_back(jumps, hop))
        connection.advice = (*hop.advice, *connection.advice)
        return connection

    def _jump(self, jumps: tuple[Hop, ...], limit: Limit, passed: tuple[str, ...]) -> C:
        """Connected to the last of ``jumps``; the first of them may have jump hosts of its own in ssh_config."""
        *before, last = jumps
        if last.name in passed:
            raise NodeError(last.name, "node_unreachable", f"ProxyJump goes round in circles: {' -> '.join(passed)}")
        settings = ssh_settings.for_hop(last, self._options, self._config)
        way = tuple(before) or settings.jumps

        def make() -> C:
            return self._open(settings, way, limit, None, (*passed, last.name))

        try:
            return self._jumps.take(jumps, make, limit.until)
        except TimeoutError:
            what = f"it is not connected within {limit.said_s:g} s"
            raise NodeError(last.name, "node_unreachable", what) from None
