"""Can what the user wrote be handed on: as a host's name, as a word of a command, as a setting of the environment?"""

from __future__ import annotations

import re
from pathlib import Path

from diag.errors import DiagError

TEXTS = ("address", "user", "identity_file", "python", "interface", "leaf", "image", "container", "runtime")
"""The settings of a host that are plain texts."""
NAMED = {
    "image": (re.compile(r"[A-Za-z0-9][\w./:@-]*"), "expected e.g. vllm/vllm-openai:v0.11.0"),
    "container": (re.compile(r"[A-Za-z0-9][\w.-]*"), "expected its name or id"),
    "runtime": (re.compile("docker|nerdctl|podman"), "expected one of docker, nerdctl, podman"),
}
"""Those of a container runtime, as it spells them."""
LONGEST_PART = 63
"""Characters between two dots of a host's name (RFC 1035)."""
SHOWN = 40
_NOT_HANDED_ON = re.compile(r"[\0\r\n\ud800-\udfff]")
_ANY = re.compile(".*")
_NAMES = {"\0": "a NUL byte", "\r": "a line break", "\n": "a line break"}


def written(field: str, value: str, where: str) -> str:
    """One of TEXTS, as a Host keeps it."""
    (require_command if field == "python" else require_one_line)(value, f"{field} =", where)
    require_named(field, value, where)
    if field == "address":
        require_host_name(value, f"{where}: address")
    return str(expanded(Path(value), where)) if field == "identity_file" else value


def expanded(path: Path, where: str) -> Path:
    """With ``~`` replaced."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise DiagError(where, f"{path}: {path.parts[0]} is nobody's home here") from error


def require_one_line(text: str, what: str, where: str) -> None:
    """A NUL ends a word of a command, not every shell passes on a line break. ``what``: e.g. ``python =``."""
    if found := _NOT_HANDED_ON.search(text):
        odd = _NAMES.get(found[0], "a byte that is no UTF-8")
        raise DiagError(where, f"{what} {shortened(text)}: {odd} in it".lstrip(), do="leave it out")


def require_command(text: str, what: str, where: str) -> None:
    """The first word of a command: an option there would be the login shell's."""
    require_one_line(text, what, where)
    if not text.strip() or text.startswith("-"):
        wrong = "begins with a dash" if text.strip() else "empty"
        raise DiagError(where, f"{what} {shortened(text)}: {wrong}".lstrip(), do="expected a program's name or path")


def require_named(field: str, value: str, where: str) -> None:
    """An image, a container or a runtime: anything else would be an option, or several words."""
    form, do = NAMED.get(field, (_ANY, ""))
    if not form.fullmatch(value):
        raise DiagError(where, f"{field} {shortened(value)} is no {field}", do=do)


def require_host_name(name: str, where: str) -> None:
    """What a resolver could be asked for. An address with colons is none of its matters."""
    if ":" in name:
        return
    try:
        name.encode("idna")
    except UnicodeError as error:
        raise DiagError(where, f"{shortened(name)}: no host name: {why_no_name(name)}") from error


def why_no_name(name: str) -> str:
    """Of a name that cannot be written as DNS does."""
    parts = name.removesuffix(".").split(".")
    if any(len(part) > LONGEST_PART for part in parts):
        return f"a part longer than {LONGEST_PART} characters"
    return "an empty part beside a dot" if not all(parts) else "characters that DNS does not know"


def shortened(text: str) -> str:
    """Quoted, and no longer than a person reads."""
    return repr(text) if len(text) <= SHOWN else f"{text[:SHOWN]!r}…"
