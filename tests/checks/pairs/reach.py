"""Changes that make the checks of checks/reach.py fail."""

from __future__ import annotations

from tests.checks.changes import (
    having,
    on,
)
from tests.checks.pair import two

PAIRS = (
    two("login_shell_is_silent", on("gpu02", reach=having(login_noise_bytes=63)), "63 bytes"),
    two(
        "ssh_settings_are_obeyed",
        on("gpu02", reach=having(advice=("StrictHostKeyChecking no is not obeyed",))),
        "StrictHostKey",
    ),
    two("nothing_is_left_behind", on("gpu02", left_behind=("pid 4121 (D state)",)), "pid 4121"),
)
