"""How is one host to be connected to? ssh_config, the command line and the inventory put together, typed."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping, Sequence

import msgspec

from diag.inventory import Host
from diag.remote.ssh_by_hand import ssh_by_hand
from diag.remote.ssh_config import SshConfig
from diag.remote.ssh_options import SshOptions
from diag.remote.ssh_tokens import TokenError, expand, expand_path, tokens

# keyword, values, what the user should know
NOT_OBEYED = (
    (
        "stricthostkeychecking",
        ("no", "off"),
        "ssh_config: StrictHostKeyChecking no is not obeyed: host keys are verified",
    ),
    ("canonicalizehostname", ("yes", "always"), "ssh_config: CanonicalizeHostname is not supported"),
)
DEFAULT_PORT = 22
DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
USER_KNOWN_HOSTS = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]
GLOBAL_KNOWN_HOSTS = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]
NOT_FOR_A_SHELL = re.compile(r"[\s'\"`$\\;&<>|(){}]|^-")
HOP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:\[\]]+|[0-9a-fA-F:]+)(?::(?P<port>\d+))?/?")


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One jump host, as ProxyJump names it."""

    name: str
    user: str | None = None
    port: int | None = None


class SshSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ssh_config, command line and inventory say about one host. Paths are expanded."""

    name: str
    host: str
    port: int
    user: str
    identity_files: tuple[str, ...]
    identities_named: bool
    """The files were named, not the default ones: a missing one is worth a word."""
    identities_asked: tuple[str, ...] = ()
    """Those that the command line or the inventory names: one that cannot be used is worth a word in any case."""
    identities_only: bool
    certificate_files: tuple[str, ...]
    user_known_hosts: tuple[str, ...]
    global_known_hosts: tuple[str, ...]
    host_key_alias: str | None
    accept_new_host_keys: bool
    hash_known_hosts: bool
    connect_timeout_s: float | None
    jumps: tuple[Hop, ...]
    proxy_command: str | None
    advice: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    """The words of an ssh command that reaches it."""

    @property
    def address(self) -> str:
        """Host and port in one text."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def for_host(host: Host, options: SshOptions, config: SshConfig) -> SshSettings:
    """The settings of a selected host. Raises ValueError with one line when ssh_config says what cannot be."""
    given = _given(host.address, host.user or options.user, host.port or options.port)
    identities = (*((host.identity_file,) if host.identity_file else ()), *options.identity_files)
    settings = _settings(host.name, given, identities, options, config)
    return msgspec.structs.replace(settings, by_hand=ssh_by_hand(host, options))


def for_hop(hop: Hop, options: SshOptions, config: SshConfig) -> SshSettings:
    """A jump host's settings: from ssh_config, as OpenSSH does; the command line's user and keys are not for it."""
    settings = _settings(hop.name, _given(None, hop.user, hop.port), (), options, config)
    host = Host(name=hop.name, user=hop.user, port=hop.port)
    return msgspec.structs.replace(settings, by_hand=ssh_by_hand(host, SshOptions(config_path=options.config_path)))


def _given(address: str | None, user: str | None, port: int | None) -> dict[str, str]:
    given = {"hostname": address, "user": user, "port": str(port) if port else None}
    return {keyword: value for keyword, value in given.items() if value}


def _settings(
    name: str, given: Mapping[str, str], identities: Sequence[str], options: SshOptions, config: SshConfig
) -> SshSettings:
    said = _Said(config.lookup(name, given), name)
    timeout_s = options.connect_timeout_s
    asked = tuple(expand_path(path, said.tokens) for path in identities)
    named = (*asked, *said.paths("identityfile", ()))
    return SshSettings(
        name=name,
        host=said.host,
        port=said.port,
        user=said.user,
        identity_files=named or said.expanded(DEFAULT_IDENTITIES),
        identities_named=bool(named),
        identities_asked=asked,
        identities_only=said.yes("identitiesonly"),
        certificate_files=said.paths("certificatefile", ()),
        user_known_hosts=said.paths("userknownhostsfile", USER_KNOWN_HOSTS),
        global_known_hosts=said.paths("globalknownhostsfile", GLOBAL_KNOWN_HOSTS),
        host_key_alias=said.first("hostkeyalias"),
        accept_new_host_keys=options.accept_new_host_keys or said.first("stricthostkeychecking") == "accept-new",
        hash_known_hosts=said.yes("hashknownhosts"),
        connect_timeout_s=timeout_s if timeout_s is not None else _seconds(said.first("connecttimeout")),
        jumps=_jumps(said.first("proxyjump"), said.tokens),
        proxy_command=_proxy_command(said.first("proxycommand"), said.tokens),
        advice=tuple(line for keyword, value, line in NOT_OBEYED if said.first(keyword) in value),
    )


class _Said:
    """What the files say about one host, with tokens expanded."""

    def __init__(self, words: Mapping[str, Sequence[str]], name: str) -> None:
        self._words = words
        self.host = expand(self.first("hostname") or name, {"h": name, "%": "%"}).lower()
        self.user, self.port = self.first("user") or getpass.getuser(), _port(self.first("port"))
        self.tokens = tokens(name, self.host, str(self.port), self.user, self.first("hostkeyalias") or "")

    def first(self, keyword: str) -> str | None:
        words = self._words.get(keyword)
        return words[0] if words and words[0].lower() != "none" else None

    def yes(self, keyword: str) -> bool:
        return (self.first(keyword) or "no").lower() == "yes"

    def paths(self, keyword: str, default: Sequence[str]) -> tuple[str, ...]:
        return self.expanded(self._words.get(keyword, default))

    def expanded(self, paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(expand_path(path, self.tokens) for path in paths if path.lower() != "none")


def _port(text: str | None) -> int:
    if text is None:
        return DEFAULT_PORT
    if not text.isdecimal() or not 0 < int(text) < 65536:  # noqa: PLR2004 - ports end there
        raise ValueError(f"ssh_config: Port {text}: expected 1 to 65535")
    return int(text)


def _seconds(text: str | None) -> float | None:
    """A time as ssh_config writes it: 10, 10s or 1m30s."""
    if text is None:
        return None
    if not re.fullmatch(r"(\d+[smhSMH]?)+", text):
        raise ValueError(f"ssh_config: ConnectTimeout {text}: expected seconds")
    units = {"": 1, "s": 1, "m": 60, "h": 3600}
    return float(sum(int(count) * units[unit.lower()] for count, unit in re.findall(r"(\d+)([smhSMH]?)", text))) or None


def _jumps(text: str | None, known: Mapping[str, str]) -> tuple[Hop, ...]:
    return tuple(_hop(expand(part.strip(), known)) for part in text.split(",")) if text else ()


def _hop(text: str) -> Hop:
    found = HOP.fullmatch(text)
    if not found:
        raise ValueError(f"ssh_config: ProxyJump {text!r}: expected user@host:port")
    port = int(found["port"]) if found["port"] else None
    return Hop(name=found["host"].strip("[]"), user=found["user"], port=port)


def _proxy_command(text: str | None, known: Mapping[str, str]) -> str | None:
    """The command line for the shell; a name with a meaning for the shell is refused."""
    if text is None:
        return None
    for letter in "hnr":
        if f"%{letter}" in text and NOT_FOR_A_SHELL.search(known[letter]):
            raise TokenError(f"ProxyCommand: {known[letter]!r} is no name to hand to a shell")
    return expand(text, known)
