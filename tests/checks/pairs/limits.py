"""Changes that make the checks of checks/limits.py fail."""

from __future__ import annotations

from tests.checks.changes import (
    having,
    on,
)
from tests.checks.pair import two

PAIRS = (
    two("open_files_limit_is_high_enough", on("gpu02", limits=having(nofile_hard=1024)), "1024"),
    two("open_files_limit_lets_engines_raise_it", on("gpu02", limits=having(nofile_hard=20000)), "20000"),
    two(
        "memlock_is_unlimited_where_there_is_rdma", on("gpu02", limits=having(memlock_soft_bytes=64 * 1024)), "64.0 KiB"
    ),
    two("process_limit_is_high_enough", on("gpu02", limits=having(nproc_soft=1024)), "1024"),
)
