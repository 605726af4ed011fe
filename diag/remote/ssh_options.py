"""What did the user say about SSH on the command line? It wins over ssh_config; a host's own settings win over both."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class SshOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The command line's part. ``config_path`` None: ~/.ssh/config and /etc/ssh/ssh_config; else that file only."""

    user: str | None = None
    port: int | None = None
    config_path: str | None = None
    identity_files: tuple[str, ...] = ()
    accept_new_host_keys: bool = False
    """As StrictHostKeyChecking accept-new: unknown keys are added, changed ones refused."""
    password: Callable[[], str] | None = None
    """Asked for at most when nothing else logs in; never for a jump host. None: no password is tried."""
    connect_timeout_s: float | None = None
