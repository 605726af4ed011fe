"""What do ``%h``, ``~`` and ``${HOME}`` stand for in a value of ssh_config?"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import socket
from collections.abc import Mapping

TOKEN = re.compile(r"%(.?)")
VARIABLE = re.compile(r"\$\{([^}]*)\}")


class TokenError(ValueError):
    """A token or variable without a value."""


def tokens(original: str, host: str, port: str, user: str, key_alias: str = "") -> dict[str, str]:
    """Letter -> text, as in the TOKENS section of ssh_config(5)."""
    here = socket.gethostname()
    return {
        "%": "%",
        "C": hashlib.sha1(f"{here}{host}{port}{user}".encode()).hexdigest(),  # noqa: S324 - a name, not a secret
        "d": os.path.expanduser("~"),  # noqa: PTH111 - a text
        "h": host,
        "i": str(os.getuid()),
        "k": key_alias or original,
        "L": here.partition(".")[0],
        "l": here,
        "n": original,
        "p": port,
        "r": user,
        "u": getpass.getuser(),
    }


def expand(text: str, known: Mapping[str, str]) -> str:
    """``text`` with its tokens replaced. Raises TokenError."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in known:
            raise TokenError(f"{text}: unknown token {found[0]}")
        return known[found[1]]

    return TOKEN.sub(value, text)


def expand_path(text: str, known: Mapping[str, str]) -> str:
    """A file's path: tokens, ``~`` at its start, and ``${VARIABLE}``. Raises TokenError."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise TokenError(f"{text}: environment variable {found[1]} is not set")
        return os.environ[found[1]]

    return os.path.expanduser(expand(VARIABLE.sub(value, text), known))  # noqa: PTH111 - a text
