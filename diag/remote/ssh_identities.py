"""Which keys are offered to a host, in which order? The best first: a host ends the login after a few wrong ones."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from diag.remote.ssh_settings import SshSettings

CERTIFICATE = "-cert-v01@openssh.com"
CERTIFICATE_SUFFIX = "-cert.pub"
PRIVATE = b"PRIVATE KEY-----"


class Unusable(Exception):  # noqa: N818 - a fact, told when nothing else logs in or when the user named the file
    """Why a key file is no key for us, and what to do about it."""

    def __init__(self, what: str, do: str = "") -> None:
        super().__init__(what)
        self.do = do


class PublicKey(NamedTuple):
    """A public key or a certificate as it travels."""

    type: str
    blob: bytes


class Identity(NamedTuple):
    """What can sign. ``key`` is the keyring's own kind of object; ``certificate`` is offered in the key's place."""

    label: str
    public: PublicKey
    key: object
    certificate: PublicKey | None = None


class Keyring(Protocol):
    """Where keys come from."""

    def agent(self) -> Sequence[Identity]: ...

    def file(self, path: str) -> Identity:
        """A private key. Raises Unusable, FileNotFoundError."""

    def public(self, path: str) -> Sequence[PublicKey]:
        """As ``read_public``."""


def identities(settings: SshSettings, keyring: Keyring, notes: dict[str, Unusable]) -> Iterator[Identity]:
    """Named keys, the agent's, default keys, each behind its certificates. ``notes`` grows by files of no use."""
    agent = keyring.agent()
    certificates = [(path, found) for path in _certificate_paths(settings) for found in keyring.public(path)]
    files = _from_files(settings, keyring, agent, notes)
    others = (
        () if settings.identities_only else sorted(agent, key=lambda key: not key.public.type.endswith(CERTIFICATE))
    )
    offered: set[bytes] = set()
    for identity in _in_turn(files, others) if settings.identities_named else _in_turn(others, files):
        for candidate in (*_certified(identity, certificates), identity):
            shown = (candidate.certificate or candidate.public).blob
            if shown not in offered:
                offered.add(shown)
                yield candidate


def _in_turn(
    first: Iterator[Identity] | Sequence[Identity], then: Iterator[Identity] | Sequence[Identity]
) -> Iterator[Identity]:
    yield from first
    yield from then


def _from_files(
    settings: SshSettings, keyring: Keyring, agent: Sequence[Identity], notes: dict[str, Unusable]
) -> Iterator[Identity]:
    """The named files' keys; the agent's copy where it has one, which needs no passphrase."""
    for path in settings.identity_files:
        public = [
            key.blob for name in (path, f"{path}.pub", f"{path}{CERTIFICATE_SUFFIX}") for key in keyring.public(name)
        ]
        held = [identity for identity in agent if identity.public.blob in public]
        yield from held
        if not held:
            try:
                yield keyring.file(path)
            except FileNotFoundError:
                if settings.identities_named:
                    notes[path] = Unusable(f"{path} does not exist")
            except Unusable as unusable:
                notes[path] = unusable


def _certificate_paths(settings: SshSettings) -> tuple[str, ...]:
    return (*settings.certificate_files, *(path + CERTIFICATE_SUFFIX for path in settings.identity_files))


def _certified(identity: Identity, certificates: Sequence[tuple[str, PublicKey]]) -> Iterator[Identity]:
    for path, certificate in certificates:
        if is_certificate_for(certificate, identity.public):
            yield identity._replace(label=f"{identity.label} with {path}", certificate=certificate)


def is_certificate_for(certificate: PublicKey, public: PublicKey) -> bool:
    """A certificate holds its type, a nonce, then the fields of the public key (PROTOCOL.certkeys of OpenSSH)."""
    if not certificate.type.endswith(CERTIFICATE) or certificate.type == public.type:
        return False
    fields = _after_strings(public.blob, 1)
    return bool(fields) and _after_strings(certificate.blob, 2).startswith(fields)


def _after_strings(blob: bytes, count: int) -> bytes:
    for _ in range(count):
        if len(blob) < 4:  # noqa: PLR2004 - a length
            return b""
        blob = blob[4 + struct.unpack(">I", blob[:4])[0] :]
    return blob


def read_public(path: str) -> list[PublicKey]:
    """What a public key file holds: nothing when it does not exist or is something else."""
    try:
        words = Path(path).read_text(errors="replace").split()
        blob = base64.b64decode(words[1], validate=True)
    except (OSError, ValueError, IndexError):
        return []
    return [PublicKey(words[0], blob)] if blob[4:].startswith(words[0].encode()) else []


def why_unusable(path: str, error: Exception) -> str:
    """Of a file that could not be loaded as a private key; ``error`` is what the library says."""
    try:
        there = PRIVATE in Path(path).read_bytes()
    except OSError as unread:
        return f"{path} cannot be read: {(unread.strerror or str(unread)).lower()}"
    if there:
        return f"{path} is no private key that can be read: {' '.join(str(error).split())}"
    if read_public(path):
        return f"{path} is a public key, and no agent holds its private key"
    return f"{path} is no private key: there is no line -----BEGIN … PRIVATE KEY----- in it"
