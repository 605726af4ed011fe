"""Do the limits of a process on the node let an engine start and stay up?"""

import pytest

from diag.facts.node import Node
from diag.facts.verdict import finding

NOFILE_FLOOR = 65_535
"""What vLLM raises its soft limit to at start (``set_ulimit``, target_soft_limit 65535); the hard limit must allow it."""


@pytest.mark.cause("open_files_limit")
def check_open_files_limit_is_high_enough(node: Node) -> None:
    """Each connection of an engine is a descriptor; at the limit requests fail in the middle of the day.

    Do: raise the hard limit in /etc/security/limits.d or the service's LimitNOFILE.
    $ ssh {node} 'ulimit -Hn'
    """
    hard = node.limits.nofile_hard
    assert hard is None or hard >= NOFILE_FLOOR, finding(f"at most {hard} open files", f"at least {NOFILE_FLOOR}")
