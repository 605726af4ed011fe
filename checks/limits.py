"""Do the limits of a process on the node let an engine start and stay up?"""

import pytest

from diag.facts.derived import has_rdma
from diag.facts.node import Node
from diag.facts.verdict import finding
from diag.units import size

NOFILE_FLOOR = 4096
"""The kernel's own hard limit (INR_OPEN_MAX, include/uapi/linux/fs.h): less was set on purpose or by mistake."""
NOFILE_WANTED = 65_535
"""vLLM raises its soft limit to that at start (``set_ulimit``, target_soft_limit), and warns where it cannot."""
NPROC_FLOOR = 4096
"""What RHEL 7's 20-nproc.conf gave a user, known to stop Ray workers: threads count too."""


@pytest.mark.cause("open_files_limit")
def check_open_files_limit_is_high_enough(node: Node) -> None:
    """Each connection of an engine is a descriptor; at the limit requests fail in the middle of the day.

    Do: raise the hard limit in /etc/security/limits.d, with LimitNOFILE, or with docker run --ulimit nofile=1048576.
    $ ssh {node} 'ulimit -Hn'
    """
    hard = node.limits.nofile_hard
    assert hard is None or hard >= NOFILE_FLOOR, finding(f"at most {hard} open files", f"at least {NOFILE_FLOOR}")


@pytest.mark.advice
@pytest.mark.needs("check_open_files_limit_is_high_enough")
@pytest.mark.cause("open_files_limit")
def check_open_files_limit_lets_engines_raise_it(node: Node) -> None:
    """Engines raise their own limit at start; where the hard limit forbids it, many connections at once will fail.

    Do: raise the hard limit in /etc/security/limits.d, with LimitNOFILE, or with docker run --ulimit nofile=1048576.
    $ ssh {node} 'ulimit -Hn'
    """
    hard = node.limits.nofile_hard
    assert hard is None or hard >= NOFILE_WANTED, finding(f"at most {hard} open files", f"at least {NOFILE_WANTED}")


@pytest.mark.applies(has_rdma, reason="no RDMA device")
@pytest.mark.cause("memlock_limit")
def check_memlock_is_unlimited_where_there_is_rdma(node: Node) -> None:
    """RDMA registers memory by locking it; below the limit ibv_reg_mr fails with "Cannot allocate memory" in NCCL.

    Do: set memlock unlimited in /etc/security/limits.d, LimitMEMLOCK=infinity, or docker run --ulimit memlock=-1.
    $ ssh {node} 'ulimit -l'
    """
    soft = node.limits.memlock_soft_bytes
    enough = soft is None or soft >= node.memory.total_bytes or node.limits.ipc_lock
    assert enough, finding(f"{size(soft or 0)} may be locked", "unlimited, or all of RAM")


def check_process_limit_is_high_enough(node: Node) -> None:
    """Threads count as processes; an engine with Ray, tokenizers and OpenMP on many cores starts thousands.

    Do: raise nproc in /etc/security/limits.d, the service's TasksMax, or docker run --pids-limit.
    $ ssh {node} 'ulimit -u'
    """
    soft = node.limits.nproc_soft
    assert soft is None or soft >= NPROC_FLOOR, finding(f"at most {soft} processes", f"at least {NPROC_FLOOR}")
