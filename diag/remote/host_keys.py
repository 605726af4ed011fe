"""Is this the key that the known_hosts files have for a host? And how is a new one written down?"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from diag.errors import DiagError
from diag.remote.ssh_match import matches_any

MARKERS = ("@revoked", "@cert-authority")
HASHED = "|1|"


class HostKey(NamedTuple):
    """A public key as it travels: its type and its bytes."""

    type: str
    blob: bytes

    @property
    def base64(self) -> str:
        return base64.b64encode(self.blob).decode()

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l prints it."""
        return fingerprint(self.blob)


class Entry(NamedTuple):
    """One line of a known_hosts file. ``marker`` is one of MARKERS or empty."""

    where: str
    marker: str
    hosts: str
    type: str
    base64: str

    @property
    def path(self) -> str:
        return self.where.rpartition(":")[0]

    @property
    def fingerprint(self) -> str:
        try:
            return fingerprint(base64.b64decode(self.base64))
        except ValueError:
            return "an unreadable key"


def fingerprint(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def host_name(host: str, port: int) -> str:
    """How known_hosts files name a host on a port."""
    return host if port == 22 else f"[{host}]:{port}"  # noqa: PLR2004 - SSH's own


class KnownHosts:
    """All known_hosts files of a run, each read once. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, _File] = {}

    def entries(self, files: Sequence[str], name: str) -> list[Entry]:
        """The lines that speak of ``name``. A file that does not exist says nothing; raises DiagError."""
        with self._lock:
            return [entry for path in files for entry in self._file(path).about(name)]

    def add(self, path: str, name: str, key: HostKey, *, hashed: bool) -> None:
        """Append a line for ``name`` unless the key is there already. Raises DiagError when it cannot be written."""
        with self._lock:
            file = self._file(path)
            if all(entry.base64 != key.base64 for entry in file.about(name)):
                written = hash_name(name, os.urandom(20)) if hashed else name
                _append(path, f"{written} {key.type} {key.base64}\n")
                file.add(path, written, key)

    def _file(self, path: str) -> _File:
        if path not in self._files:
            self._files[path] = _File(path)
        return self._files[path]


class _File:
    """One file's lines: those that name a host plainly can be found at once, the others are tried one by one."""

    def __init__(self, path: str) -> None:
        lines = _read(path)
        self.lines = len(lines)
        self._plain: dict[str, list[Entry]] = {}
        self._others: list[Entry] = []
        for entry in _parsed(path, lines):
            self._keep(entry)

    def add(self, path: str, hosts: str, key: HostKey) -> None:
        self.lines += 1
        self._keep(Entry(f"{path}:{self.lines}", "", hosts, key.type, key.base64))

    def _keep(self, entry: Entry) -> None:
        if any(char in entry.hosts for char in "|*?!"):
            self._others.append(entry)
            return
        for name in entry.hosts.split(","):
            self._plain.setdefault(name.lower(), []).append(entry)

    def about(self, name: str) -> list[Entry]:
        return [*self._plain.get(name.lower(), ()), *(entry for entry in self._others if _speaks_of(entry.hosts, name))]


def _speaks_of(hosts: str, name: str) -> bool:
    if hosts.startswith(HASHED):
        return _hash_matches(hosts, name)
    return matches_any(hosts.lower().split(","), name.lower())


def _hash_matches(hosts: str, name: str) -> bool:
    try:
        salt = base64.b64decode(hosts.split("|")[2])
    except (IndexError, ValueError):
        return False
    return hmac.compare_digest(hash_name(name, salt), hosts)


def hash_name(name: str, salt: bytes) -> str:
    """As HashKnownHosts writes it: HMAC-SHA1 of the name."""
    digest = hmac.digest(salt, name.lower().encode(), "sha1")
    return f"{HASHED}{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _read(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DiagError(path, f"known_hosts cannot be read: {error.strerror}") from error


def _parsed(path: str, lines: Sequence[str]) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        words = line.split()
        marker = words.pop(0) if words and words[0] in MARKERS else ""
        if len(words) >= 3 and not words[0].startswith("#"):  # noqa: PLR2004 - hosts, type, key
            yield Entry(f"{path}:{number}", marker, *words[:3])


def _append(path: str, line: str) -> None:
    """One write, after a newline where the last line lacks one, while no other diag writes."""
    folder = Path(path).parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            unfinished = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            os.write(fd, (b"\n" if unfinished else b"") + line.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise DiagError(path, f"the new host key cannot be added: {error.strerror}") from error
