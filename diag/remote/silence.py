"""Why did no agent speak? Read from what the command left: its exit status, its last words, the login's noise."""

from __future__ import annotations

from diag.errors import NodeError
from diag.inventory import Host
from diag.remote.frames import Reader
from diag.remote.transport import Channel

NOT_RUN = (126, 127)
OTHER = "name another with --python"
TOO_OLD = "diag: python too old: "


def explain(host: Host, command: str, channel: Channel, reader: Reader, *, ended: bool, deadline_s: float) -> NodeError:
    """The NodeError for a ``command`` that was started and never became an agent."""
    status = channel.exit_status(1.0) if ended else None
    words = channel.errors()
    last = last_line(words) or last_line(reader.last_noise())
    if TOO_OLD in words:
        found = words.partition(TOO_OLD)[2].splitlines()[0]
        return NodeError(host.name, "python_missing", f"Python is too old: {found}", do=OTHER)
    if status in NOT_RUN or "SyntaxError" in words:
        return NodeError(host.name, "python_missing", f"{command} does not run there: {last or status}", do=OTHER)
    if host.exec and ended:
        return NodeError(host.name, "python_missing", f"{command} does not run there: {last or status}")
    if ended:
        about = "" if status is None else f" (status {status})"
        return NodeError(host.name, "agent_silent", f"the agent ended before it spoke{about}: {last or 'no message'}")
    said = f"; the last it printed: {last!r}" if last else ""
    return NodeError(host.name, "agent_silent", f"connected, but no agent spoke within {deadline_s:g} s{said}")


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-200:] if lines else ""
