"""May the key that a host shows be believed? An unknown or changed one is that host's error and says what to do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from diag.errors import DiagError, NodeError
from diag.remote.host_keys import Entry, HostKey, KnownHosts, host_name
from diag.remote.ssh_settings import SshSettings

RSA = "ssh-rsa"
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


def known_types(settings: SshSettings, book: KnownHosts) -> tuple[str, ...]:
    """The signature algorithms of the keys that are known for the host: to be asked for first, as OpenSSH does."""
    types = [entry.type for entry in _entries(settings, book) if not entry.marker]
    names = [name for type_ in types for name in (RSA_SIGNATURES if type_ == RSA else (type_,))]
    return tuple(dict.fromkeys(names))


def verify(
    node: str, settings: SshSettings, key: HostKey, book: KnownHosts, *, behind: bool = False
) -> tuple[str, ...]:
    """Advice when ``key`` may be believed for the host, else NodeError(host_key_unknown or host_key_changed).

    ``behind`` a jump host, where ssh-keyscan cannot reach it. An unknown key is added where settings accept new ones.
    """
    entries = _entries(settings, book)
    _refuse_revoked(node, entries, key)
    plain = [entry for entry in entries if not entry.marker]
    if any(entry.base64 == key.base64 for entry in plain):
        return ()
    same_type = [entry for entry in plain if entry.type == key.type]
    if same_type:
        raise _changed(node, settings, key, same_type[0])
    if not settings.accept_new_host_keys:
        raise _unknown(node, settings, key, entries, behind=behind)
    return _accept(settings, key, book)


def _entries(settings: SshSettings, book: KnownHosts) -> list[Entry]:
    """Of the name with its port; of the plain name where nothing speaks of that, as OpenSSH does."""
    files = (*settings.user_known_hosts, *settings.global_known_hosts)
    if settings.host_key_alias:
        return book.entries(files, settings.host_key_alias)
    return book.entries(files, host_name(settings.host, settings.port)) or book.entries(files, settings.host)


def _accept(settings: SshSettings, key: HostKey, book: KnownHosts) -> tuple[str, ...]:
    name = _name(settings)
    if not settings.user_known_hosts:
        return (f"new host key of {name} ({key.fingerprint}) believed but kept nowhere: UserKnownHostsFile none",)
    path = settings.user_known_hosts[0]
    try:
        book.add(path, name, key, hashed=settings.hash_known_hosts)
    except DiagError as error:
        return (f"new host key of {name} ({key.fingerprint}) believed, but {error}",)
    return (f"new host key of {name} added to {path}: {key.type} {key.fingerprint}",)


def _refuse_revoked(node: str, entries: Sequence[Entry], key: HostKey) -> None:
    for entry in entries:
        if entry.marker == "@revoked" and entry.base64 == key.base64:
            what = f"shows the host key {key.fingerprint}, which {entry.where} marks as @revoked"
            raise NodeError(node, "host_key_changed", what, do="do not connect; give the host a new key")


def _changed(node: str, settings: SshSettings, key: HostKey, entry: Entry) -> NodeError:
    what = (
        f"host key of {_name(settings)} changed: found {key.type} {key.fingerprint}, "
        f"expected {entry.fingerprint} ({entry.where})"
    )
    remove = shlex.join(("ssh-keygen", "-f", entry.path, "-R", _name(settings)))
    return NodeError(node, "host_key_changed", what, do=f"if the host was reinstalled: {remove}")


def _unknown(node: str, settings: SshSettings, key: HostKey, entries: Sequence[Entry], *, behind: bool) -> NodeError:
    what = f"host key of {_name(settings)} is in no known_hosts file: {key.type} {key.fingerprint}"
    for entry in entries[:1]:
        if entry.marker == "@cert-authority":
            what += f"; {entry.where} trusts a certificate authority, and host certificates are not supported"
        else:
            what += f"; {entry.where} has another type, {entry.type} {entry.fingerprint}"
    what = "; ".join((what, *settings.advice))
    how = (
        f"check it, then {_how_to_accept(settings, key, behind=behind)}, or accept all new ones: --accept-new-host-keys"
    )
    return NodeError(node, "host_key_unknown", what, do=how)


def _how_to_accept(settings: SshSettings, key: HostKey, *, behind: bool) -> str:
    path = settings.user_known_hosts[0] if settings.user_known_hosts else "known_hosts"
    if behind or settings.host_key_alias:
        return shlex.join((*settings.by_hand, "true"))
    type_ = "rsa" if key.type == RSA else "ecdsa" if key.type.startswith("ecdsa") else key.type.removeprefix("ssh-")
    port = "" if settings.port == 22 else f"-p {settings.port} "  # noqa: PLR2004 - SSH's own
    return f"ssh-keyscan -t {type_} {port}{shlex.quote(settings.host)} >> {shlex.quote(path)}"


def _name(settings: SshSettings) -> str:
    return settings.host_key_alias or host_name(settings.host, settings.port)
