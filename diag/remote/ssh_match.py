"""Does a Host or Match line of ssh_config speak of this host?"""

from __future__ import annotations

import functools
import getpass
import os
import re
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from diag.remote.ssh_tokens import TokenError, expand, tokens

EXEC_LIMIT_S = 5.0
ALONE = ("all", "canonical", "final")
PATTERNS = ("host", "originalhost", "user", "localuser", "exec")


class Facts(NamedTuple):
    """What a header is compared with. ``values`` grows while the files are read."""

    host: str
    original: str
    values: dict[str, list[str]]
    final: bool = False

    def target(self) -> str:
        """The host's name after HostName."""
        named = self.values.get("hostname")
        return named[0].replace("%h", self.original) if named else self.host

    @property
    def wants_final(self) -> bool:
        return "match final" in self.values and not self.final


class Patterns(NamedTuple):
    """A Host line's words, sorted once: most name a host plainly, and there may be one line for all of them."""

    plain: frozenset[str]
    wild: tuple[str, ...]
    negated: tuple[str, ...]

    @classmethod
    def of(cls, words: Sequence[str]) -> Patterns:
        positive = [word for word in words if not word.startswith("!")]
        wild = tuple(word for word in positive if "*" in word or "?" in word)
        return cls(frozenset(positive) - {*wild}, wild, tuple(word[1:] for word in words if word.startswith("!")))

    def match(self, text: str) -> bool:
        """At least one pattern matches, and none that is negated with ``!``."""
        meant = text in self.plain or any(like(pattern, text) for pattern in self.wild)
        return meant and not any(like(pattern, text) for pattern in self.negated)


def matches_any(patterns: Sequence[str], text: str) -> bool:
    return Patterns.of(patterns).match(text)


def like(pattern: str, text: str) -> bool:
    """OpenSSH's wildcards: ``*`` and ``?``, nothing else."""
    if "*" not in pattern and "?" not in pattern:
        return pattern == text
    return _compiled(pattern).fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def match_holds(words: Sequence[str], facts: Facts) -> bool:
    """All criteria of a Match line hold. One that is not known here never holds."""
    left = list(words)
    while left:
        word = left.pop(0).lower()
        wanted, criterion = not word.startswith("!"), word.lstrip("!")
        if criterion not in (*ALONE, *PATTERNS):
            return False
        if criterion == "final":
            facts.values.setdefault("match final", [])
        argument = "" if criterion in ALONE else left.pop(0) if left else ""
        if _holds(criterion, argument, facts) is not wanted:
            return False
    return True


def _holds(criterion: str, argument: str, facts: Facts) -> bool:
    if criterion in ALONE:
        return {"all": True, "canonical": False, "final": facts.final}[criterion]
    if criterion == "exec":
        return _exec(argument, facts)
    user = getpass.getuser()
    text = {
        "host": facts.target(),
        "originalhost": facts.original,
        "user": facts.values.get("user", [user])[0],
        "localuser": user,
    }[criterion]
    return matches_any(argument.split(","), text)


def _exec(command: str, facts: Facts) -> bool:
    port, user = (facts.values.get(keyword, [""])[0] for keyword in ("port", "user"))
    try:
        line = expand(command, tokens(facts.original, facts.target(), port or "22", user or getpass.getuser()))
        argv = (os.environ.get("SHELL") or "/bin/sh", "-c", line)
        quiet = subprocess.DEVNULL
        return (
            subprocess.run(argv, stdin=quiet, stdout=quiet, stderr=quiet, timeout=EXEC_LIMIT_S, check=False).returncode
            == 0
        )
    except (TokenError, OSError, subprocess.TimeoutExpired):
        return False
