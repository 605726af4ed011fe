"""Changes that make the checks of checks/storage.py fail."""

from __future__ import annotations

from tests.checks.changes import (
    having,
    item,
    named,
    on,
)
from tests.checks.pair import Pair, two

PAIRS = (
    two(
        "file_system_has_space",
        on("gpu02", filesystems=item(named("tmp"), having(free_bytes=0))),
        "0 B free under /tmp",
    ),
    two(
        "file_system_has_inodes", on("gpu02", filesystems=item(named("root"), having(free_inodes=12))), "12 free inodes"
    ),
    two("tmp_is_writable", on("gpu02", filesystems=item(named("tmp"), having(read_only=True))), "read-only"),
    two("model_is_read_as_fast_as_on_peers", on("gpu02", read_speed=having(bytes_per_s=0.2e9)), "0.200 GB/s"),
    Pair(
        check="weights_load_before_peers_give_up",
        named=("gpu01", "gpu02", "gpu03", "gpu04"),
        found="takes 13 min",
        change=on("*", read_speed=having(bytes_per_s=2e7)),
    ),
)
