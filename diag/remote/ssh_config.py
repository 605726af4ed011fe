"""What do the ssh_config files say about a host? Read as OpenSSH does: the first value found for a keyword counts.

paramiko's own SSHConfig is not used: it knows no Include, keeps one CertificateFile, lets Match keywords that it does
not know always match, and hands the terminal's input to ``Match exec``. What is understood here is compared with
``ssh -G`` by a test.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from diag.errors import DiagError
from diag.remote.ssh_match import Facts, Patterns, match_holds

USER_FOLDER = "~/.ssh"
SYSTEM_FOLDER = "/etc/ssh"
DEEPEST_INCLUDE = 16
KEYWORD = re.compile(r"([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*)")
WHOLE_LINE = ("proxycommand", "localcommand", "remotecommand", "knownhostscommand")
SEVERAL = ("identityfile", "certificatefile")


class Line(NamedTuple):
    """One directive. ``words`` are unquoted; ``patterns``: of a Host line; ``included``: the files of an Include."""

    keyword: str
    words: tuple[str, ...]
    patterns: Patterns | None = None
    included: tuple[tuple[Line, ...], ...] = ()


class SshConfig:
    """The files, read once; asked for each host."""

    def __init__(self, path: str | None) -> None:
        """``path`` None: the user's and the system's file, where they exist. Raises DiagError."""
        if path is None:
            user, system = Path(USER_FOLDER, "config").expanduser(), Path(SYSTEM_FOLDER, "ssh_config")
            self._files = (*_read_if_there(user, USER_FOLDER), *_read_if_there(system, SYSTEM_FOLDER))
        else:
            self._files = (_read(Path(path).expanduser(), USER_FOLDER, 0),)

    def lookup(self, name: str, given: Mapping[str, str]) -> dict[str, list[str]]:
        """Keyword in lower case -> its words, for the host called ``name``; ``given`` is what the command line says."""
        values: dict[str, list[str]] = {keyword: [value] for keyword, value in given.items()}
        facts = Facts(host=name, original=name, values=values)
        for file in self._files:
            _apply(file, facts, active=True)
        if facts.wants_final:
            values.setdefault("hostname", [name])
            final = facts._replace(host=facts.target(), final=True)
            for file in self._files:
                _apply(file, final, active=True)
        return values


def _apply(file: tuple[Line, ...], facts: Facts, *, active: bool) -> None:
    now = active
    for line in file:
        if line.patterns:
            now = line.patterns.match(facts.host) and active
        elif line.keyword == "match":
            now = match_holds(line.words, facts) and active
        elif now and line.included:
            for included in line.included:
                _apply(included, facts, active=True)
        elif now:
            _keep(line, facts.values)


def _keep(line: Line, values: dict[str, list[str]]) -> None:
    """The first value counts; identities add up; of ProxyJump and ProxyCommand the first named wins."""
    keyword = line.keyword
    if keyword in SEVERAL:
        kept = values.setdefault(keyword, [])
        kept.extend(word for word in line.words[:1] if word not in kept)
    elif not (keyword in ("proxyjump", "proxycommand") and {"proxyjump", "proxycommand"} & values.keys()):
        values.setdefault(keyword, list(line.words))


def _read_if_there(path: Path, folder: str) -> tuple[tuple[Line, ...], ...]:
    return (_read(path, folder, 0),) if path.is_file() else ()


def _read(path: Path, folder: str, depth: int) -> tuple[Line, ...]:
    if depth > DEEPEST_INCLUDE:
        raise DiagError(str(path), "Include goes round in circles")
    try:
        text = path.read_text(errors="surrogateescape")
    except OSError as error:
        raise DiagError(str(path), f"ssh_config cannot be read: {error.strerror}") from error
    return tuple(_lines(text, str(path), folder, depth))


def _lines(text: str, path: str, folder: str, depth: int) -> Iterator[Line]:
    for number, raw in enumerate(text.splitlines(), 1):
        stripped = raw.strip()
        if not stripped or stripped.startswith("#"):
            continue
        where = f"{path}:{number}"
        found = KEYWORD.fullmatch(stripped)
        if not found:
            raise DiagError(where, f"{stripped[:80]!r}: expected a keyword and its value")
        keyword = found[1].lower()
        words = (found[2],) if keyword in WHOLE_LINE else _words(found[2], where)
        if not words:
            raise DiagError(where, f"{found[1]}: no value")
        patterns = Patterns.of(words) if keyword == "host" else None
        yield Line(keyword, words, patterns, _included(words, folder, depth) if keyword == "include" else ())


def _included(patterns: tuple[str, ...], folder: str, depth: int) -> tuple[tuple[Line, ...], ...]:
    """The files named, or those of the folder that the including file belongs to; what matches nothing is no error."""
    paths = [
        path
        for pattern in patterns
        for path in sorted(glob.glob(os.path.join(os.path.expanduser(folder), os.path.expanduser(pattern))))  # noqa: PTH111, PTH118, PTH207 - patterns may be absolute
    ]
    return tuple(_read(Path(path), folder, depth + 1) for path in paths)


def _words(rest: str, where: str) -> tuple[str, ...]:
    """Split at blanks; quotes group, a backslash escapes quotes, blanks and itself; # starts a comment."""
    words: list[str] = []
    word, quote, started, chars = "", "", False, iter(rest)
    for char in chars:
        if char == "\\":
            after = next(chars, "")
            word += after if after and after in "\"'\\ " else char + after
            started = True
        elif quote:
            quote, word = ("", word) if char == quote else (quote, word + char)
        elif char in "\"'":
            quote, started = char, True
        elif char.isspace():
            words, word, started = ([*words, word], "", False) if started else (words, word, started)
        elif char == "#" and not started:
            break
        else:
            word, started = word + char, True
    if quote:
        raise DiagError(where, f"{rest[:80]!r}: a quote is not closed")
    return tuple([*words, word] if started else words)
