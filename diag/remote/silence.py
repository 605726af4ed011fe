"""Why did no agent speak? Read from what the command left: its exit status, its last words, the login's noise."""

from __future__ import annotations

import re
import shlex

from diag.errors import NodeError
from diag.inventory import Host
from diag.remote.frames import Reader
from diag.remote.transport import Channel

NOT_RUN = (126, 127)
OTHER, OTHER_WRAPPER = "name another with --python", "name another with --exec"
INSTEAD = "see whether sshd or a login script there starts something else instead (ForceCommand, exit)"
TOO_OLD = "diag: python too old: "
ABSENT = re.compile(r"not found|no such file|unknown command|cannot execute|permission denied", re.IGNORECASE)


def explain(host: Host, command: str, channel: Channel, reader: Reader, *, ended: bool, deadline_s: float) -> NodeError:
    """The NodeError for a ``command`` that was started and never became an agent."""
    status = channel.exit_status(1.0) if ended else None
    words = channel.errors()
    last = last_line(words) or last_line(reader.last_noise())
    if TOO_OLD in words:
        found = words.partition(TOO_OLD)[2].splitlines()[0]
        return NodeError(host.name, "python_missing", f"Python is too old: {found}", do=OTHER)
    if host.exec and ended and last and not _was_python(_behind(host, command), words):
        what = f"{shlex.join(host.exec)} failed, so {_behind(host, command)} was not started: {last or _ending(status)}"
        return NodeError(host.name, "container_not_there", what, do=_other(host, command, words))
    if status in NOT_RUN or "SyntaxError" in words or (host.exec and ended):
        what = f"{command} does not run there: {last or _ending(status)}"
        return NodeError(host.name, "python_missing", what, do=_other(host, command, words))
    said = f"; the last it printed: {last!r}" if last else ""
    if status == 0 and host.python:  # an agent that cannot go on ends with 1
        what = f"{host.python} is no Python: it ended with status 0 before the agent spoke{said}"
        return NodeError(host.name, "python_missing", what, do=OTHER)
    if ended:
        about = "" if status is None else f" (status {status})"
        what = f"the agent ended before it spoke{about}: {last or 'no message'}"
        return NodeError(host.name, "agent_silent", what, do=INSTEAD if status == 0 else "")
    return NodeError(host.name, "agent_silent", f"connected, but no agent spoke within {deadline_s:g} s{said}")


def _ending(status: int | None) -> str:
    return "it ended without a word" if status is None else f"it ended with status {status} and no message"


def _behind(host: Host, command: str) -> str:
    """The interpreter, without the wrapper before it."""
    return command.removeprefix(" ".join(host.exec)).strip()


def _was_python(python: str, words: str) -> bool:
    """Whether the last words are of the interpreter, or of who looked for it."""
    return "SyntaxError" in words or "Traceback" in words or _is_absent(python, words)


def _other(host: Host, command: str, words: str) -> str:
    """What to name differently: the interpreter, or what is in front of it."""
    python = _behind(host, command)
    if not host.exec or _is_absent(python, words):
        return OTHER
    if _is_absent(host.exec[0], words):
        return f"{host.exec[0]!r} is not found there: install it, or {OTHER_WRAPPER}"
    return f"try {shlex.join((*host.exec, python, '--version'))} there, or {OTHER_WRAPPER}"


def _is_absent(program: str, words: str) -> bool:
    """A line says so of it; ``sh: 1: …`` is sh that speaks."""
    named = re.compile(rf"(?<![\w/.-]){re.escape(program)}(?![\w/.-]|: (line )?\d+:)")
    return any(ABSENT.search(line) and named.search(line) for line in words.splitlines())


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-200:] if lines else ""
