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


def header_matches(keyword: str, words: Sequence[str], facts: Facts) -> bool:
    if keyword == "host":
        return matches_any(words, facts.host)
    return _match(words, facts)


def matches_any(patterns: Sequence[str], text: str) -> bool:
    """At least one pattern matches, and none that is negated with ``!``."""
    plain = [pattern for pattern in patterns if not pattern.startswith("!")]
    negated = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    return any(like(pattern, text) for pattern in plain) and not any(like(pattern, text) for pattern in negated)


def like(pattern: str, text: str) -> bool:
    """OpenSSH's wildcards: ``*`` and ``?``, nothing else."""
    if "*" not in pattern and "?" not in pattern:
        return pattern == text
    return _compiled(pattern).fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _match(words: Sequence[str], facts: Facts) -> bool:
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
