"""How is a host reached over SSH? One connection, one channel for the whole run; the one file that knows paramiko."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from diag.errors import NodeError
from diag.inventory import Host
from diag.remote import ssh_steps
from diag.remote.host_keys import HostKey
from diag.remote.ssh_alarm import Alarm
from diag.remote.ssh_channel import SshChannel
from diag.remote.ssh_command import command_line
from diag.remote.ssh_connect import Connector, Limit
from diag.remote.ssh_identities import Identity, PublicKey, Unusable, why_unusable
from diag.remote.ssh_keys import Keys
from diag.remote.ssh_login import Lost, Step
from diag.remote.ssh_options import SshOptions
from diag.remote.ssh_settings import SshSettings
from diag.remote.ssh_socket import Wire
from diag.remote.without import without

with without("invoke"):  # half of paramiko's import time, for a "Match exec" that ssh_match.py does here
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm
    from paramiko.packet import Packetizer
    from paramiko.pkey import PublicBlob, UnknownKeyType
    from paramiko.ssh_exception import PartialAuthentication

__all__ = ["SshOptions", "SshTransport"]

BROKEN = (paramiko.SSHException, OSError, EOFError)
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")

logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)  # its threads would print what is raised here anyway


class SshTransport:
    """Opens one channel per host. Raises DiagError when ssh_config cannot be read."""

    def __init__(self, options: SshOptions) -> None:
        self._connector = Connector(options, Connection, Keys(_load, _list_agent))

    def open(self, host: Host, argv: tuple[str, ...], timeout_s: float) -> SshChannel:
        """Start ``argv`` on ``host``. Raises NodeError with the cause, within ``timeout_s``."""
        connection = self._connector.connect(host, limit := Limit.after(timeout_s))
        return SshChannel(host.name, connection, connection.start(command_line(argv), limit))


class Connection:
    """One SSH connection: first a door (exchange_keys, then the offers), then open (start, tunnel)."""

    broken: tuple[type[Exception], ...] = BROKEN

    def __init__(self, settings: SshSettings, wire: Wire, on_close: Callable[[], None]) -> None:
        self.settings, self.wire, self._on_close = settings, wire, on_close
        self.advice = settings.advice
        self._step, self._expired, self._closed = "banner", False, False
        self._decided = threading.Event()
        """Set when the step that is waited for has an outcome: paramiko's own waits look ten times a second."""
        self._client = _Client(cast("socket.socket", wire), packetizer_class=_Packets)
        options = self._client.get_security_options()
        options.ciphers = sorted(options.ciphers, key=lambda cipher: cipher not in FAST_CIPHERS)

    @property
    def alive(self) -> bool:
        return self._client.is_active()

    @contextlib.contextmanager
    def within(self, limit: Limit) -> Iterator[None]:
        """What happens inside ends at the limit: paramiko's own waits are many, and not all of them have one."""
        alarm = Alarm(limit.until, self._expire)
        try:
            yield
        except BROKEN as error:
            what = self._why(error, limit)
            do = ssh_steps.next_step(self._step, self.settings, self.wire.heard)
            self.close()
            raise NodeError(self.settings.name, "node_unreachable", what, do=do) from error
        except BaseException:
            self.close()
            raise
        finally:
            alarm.call_off()

    def _expire(self) -> None:
        self._expired = True
        self._client.close()
        self._decided.set()

    def _why(self, error: Exception, limit: Limit) -> str:
        if self._step == "banner" and self._client.remote_version:
            self._step = "keys"
        if self._expired:
            return ssh_steps.hung(self._step, self.settings, limit.said_s, self.wire.heard)
        reason = self._client.farewell or str(error) or type(error).__name__
        return ssh_steps.broke(self._step, self.settings, reason, self.wire.heard, self.wire.last_words())

    def exchange_keys(self, known_types: Sequence[str]) -> HostKey:
        """The host's key, proven to be its own; of a type that is known for it where it has one."""
        options = self._client.get_security_options()
        types = options.key_types
        first = tuple(type_ for type_ in known_types if type_ in types)
        options.key_types = (*first, *(type_ for type_ in types if type_ not in first))
        decided = self._next_step()
        self._client.start_client(event=decided)
        decided.wait()
        if not self._client.is_active():
            raise self._client.get_exception() or EOFError("closed")
        key = self._client.get_remote_server_key()
        self._step = "login"
        return HostKey(key.get_name(), key.asbytes())

    # -- the door

    def offer_key(self, user: str, identity: Identity) -> Step:
        key, decided = _signer(identity), self._next_step()
        return self._outcome(lambda: self._client.auth_publickey(user, key, decided), decided)

    def offer_password(self, user: str, password: str, method: str) -> Step:
        if method == "password":
            decided = self._next_step()
            return self._outcome(lambda: self._client.auth_password(user, password, decided, fallback=False), decided)
        answers = iter((password,))

        def answer(_title: str, _instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
            return [next(answers, "") if not shown else "" for _, shown in prompts]

        return self._outcome(lambda: self._client.auth_interactive(user, answer))

    def ask_methods(self, user: str) -> Step:
        return self._outcome(lambda: self._client.auth_none(user))

    def _next_step(self) -> threading.Event:
        self._decided = decided = threading.Event()
        if self._expired:
            decided.set()
        return decided

    def _outcome(self, attempt: Callable[[], list[str]], decided: threading.Event | None = None) -> Step:
        try:
            methods = attempt()
            if decided:
                decided.wait()
            if methods or self._client.is_authenticated():
                return Step(not methods, tuple(methods) or None)
            raise self._client.get_exception() or paramiko.AuthenticationException()
        except (paramiko.BadAuthenticationType, PartialAuthentication) as refused:
            return Step(False, tuple(refused.allowed_types))
        except (paramiko.SSHException, EOFError) as error:
            if self._expired:
                raise
            if not self._client.is_active():
                raise Lost(self._client.farewell or "without a word") from error
            return Step(False)

    # -- open

    def start(self, line: str, limit: Limit) -> paramiko.Channel:
        """A session in which the login shell runs ``line``."""
        with self.within(limit):
            self._step = "session"
            channel = self._client.open_session(timeout=limit.left_s)
            self._step = "command"
            channel.exec_command(line)
            return channel

    def another(self, line: str, timeout_s: float) -> paramiko.Channel | None:
        """A second session; None where the host refuses one (MaxSessions). The connection stays in any case."""
        limit = Limit.after(timeout_s)
        try:
            channel = self._client.open_session(timeout=limit.left_s)
            channel.exec_command(line)
        except paramiko.ChannelException:
            return None
        except BROKEN as error:
            what = f"no second session on the connection: {self.lost() or error}"
            raise NodeError(self.settings.name, "node_unreachable", what) from error
        return channel

    def tunnel(self, host: str, port: int, limit: Limit) -> paramiko.Channel:
        """A connection from the other end to ``host``; the connection stays, whatever becomes of it."""
        try:
            return self._client.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=limit.left_s)
        except BROKEN as error:
            reason = (
                error.text if isinstance(error, paramiko.ChannelException) else f"no answer within {limit.said_s:g} s"
            )
            what = f"jump host {self.settings.name} cannot connect to {host}:{port}: {reason}"
            raise NodeError(self.settings.name, "node_unreachable", what) from error

    def lost(self) -> str:
        """Why a connection that was open is not any more, as far as known."""
        error = self._client.saved_exception
        return self._client.farewell or (str(error) if isinstance(error, OSError) else "")

    def close(self) -> None:
        """Wakes whoever waits; does not wait."""
        if not self._closed:
            self._closed = True
            self._client.close()
            self._decided.set()
            self.wire.close()
            self._on_close()


class _Client(paramiko.Transport):
    """What of paramiko's client is not ours to choose by its options."""

    farewell = ""
    """The reason that the host gave when it ended the connection."""

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Without host certificates: paramiko would ask for them and not verify them."""
        return tuple(self.get_security_options().key_types)

    def _parse_disconnect(self, m: paramiko.Message) -> None:
        m.get_int()
        self.farewell = m.get_text().strip()[:200]


class _Packets(Packetizer):
    """Without the thread that paramiko starts for each connection to watch its handshake: ``within`` does."""

    def start_handshake(self, timeout: float) -> None:
        pass


def _load(path: str) -> Identity:
    try:
        key = paramiko.PKey.from_path(path)
    except FileNotFoundError:
        raise
    except (paramiko.PasswordRequiredException, TypeError) as error:
        what = f"{path} is encrypted, and no agent holds it"
        raise Unusable(what, f"eval $(ssh-agent); ssh-add {path}") from error
    except (paramiko.SSHException, UnknownKeyType, OSError, ValueError, UnsupportedAlgorithm) as error:
        raise Unusable(why_unusable(path, error)) from error
    key.public_blob = None  # paramiko has loaded a certificate beside it; ours are chosen by the caller
    return Identity(path, PublicKey(key.get_name(), key.asbytes()), key)


def _list_agent() -> tuple[Identity, ...]:
    try:
        with socket.socket(socket.AF_UNIX) as probe:  # paramiko would leave its own unclosed where none listens
            probe.connect(os.environ.get("SSH_AUTH_SOCK", ""))
        agent, lock = paramiko.Agent(), threading.Lock()
        keys = [_AgentKey(agent, key.blob, key.comment, lock) for key in agent.get_keys()]
        agent.close()
    except BROKEN:
        return ()
    return tuple(Identity(f"{key.comment} of the agent", PublicKey(key.name, key.blob), key) for key in keys)


class _AgentKey(paramiko.AgentKey):
    """A key or a certificate that the agent holds. It signs for one host at a time, each time over a new connection."""

    public_blob: Any = None
    inner_key: Any = None

    def __init__(self, agent: paramiko.Agent, blob: bytes, comment: str, lock: threading.Lock) -> None:
        super().__init__(agent, blob, comment)
        self._one_at_a_time = lock

    def asbytes(self) -> bytes:
        return self.blob

    def sign_ssh_data(self, data: Any, algorithm: str | None = None) -> Any:
        with self._one_at_a_time, contextlib.closing(paramiko.Agent()) as self.agent:
            return super().sign_ssh_data(data, algorithm)


def _signer(identity: Identity) -> paramiko.PKey:
    key = identity.key
    assert isinstance(key, paramiko.PKey), "an Identity of Keys"
    if identity.certificate:
        key = copy.copy(key)
        key.public_blob = PublicBlob(identity.certificate.type, identity.certificate.blob)
    return key
