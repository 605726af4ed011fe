"""How does a command's byte stream on a host reach us? Two Protocols; ssh.py, local.py and a fake stand behind them."""

from __future__ import annotations

from typing import Protocol

from diag.inventory import Host


class Channel(Protocol):
    """Standard input and output of one command on one host."""

    address: str
    """The address that was connected to."""
    advice: tuple[str, ...]
    """One line each for settings that were not obeyed or look wrong."""

    def send(self, chunk: bytes) -> None:
        """Send all of it. Raises NodeError(agent_silent) when the other end is gone."""

    def receive(self, limit: int, timeout_s: float) -> bytes | None:
        """Up to ``limit`` bytes; ``b""`` at the end of the stream, None when nothing came within ``timeout_s``."""

    def errors(self) -> str:
        """The last of what the command wrote to standard error."""

    def exit_status(self, timeout_s: float) -> int | None:
        """The command's exit status; None: not known within ``timeout_s``."""

    def beside(self, argv: tuple[str, ...], timeout_s: float) -> Channel | None:
        """Start another command on the same host; None: it needs a connection of its own. Raises NodeError."""

    def close(self) -> None:
        """Drop the connection; never blocks."""


class Transport(Protocol):
    """Opens one channel per host for the whole run."""

    def open(self, host: Host, argv: tuple[str, ...], timeout_s: float) -> Channel:
        """Start ``argv`` on ``host``. Raises NodeError with the cause: node_unreachable, ssh_auth_failed, host_key_…"""
