"""Is there room where engines write, and are the weights read at a useful speed?"""

import pytest

from diag.facts.derived import loads
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.snapshot import Snapshot
from diag.facts.system import Filesystem
from diag.facts.verdict import finding
from diag.units import MIB, gb_per_s, seconds, size

FREE_FLOOR_BYTES = 512 * MIB
"""A judgement, no engine's own limit: compile caches, sockets, logs and Ray's session of one start fit in it."""
INODES_FLOOR = 1000
"""As many files as the compile caches of one start may make; a judgement too."""
WRITTEN = ("tmp", "root", "containers")
"""Uses in which something is written at every start; a model is only read, /dev/shm has a check of its own."""
SPEED_SHARE = 0.5
"""Half of the median: below it a node is no longer within what cache, load and placement on disk explain."""
PATIENCE_S = 600.0
"""NCCL process groups of torch give up after ten minutes (torch.distributed.constants.default_pg_nccl_timeout)."""

written = pytest.mark.applies(lambda filesystem: filesystem.use in WRITTEN, reason="nothing is written there")
loaded = pytest.mark.applies(lambda cluster: cluster.model_path is not None, reason="no --model was named")
active = pytest.mark.asked(loads, reason="level passive reads nothing at speed")


@written
@pytest.mark.cause("disk_full_or_quota")
def check_file_system_has_space(filesystem: Filesystem) -> None:
    """Engines write compile caches, sockets and logs when they start; on a full disk they end with "No space left".

    Do: make room under {subject}, or point TMPDIR, HF_HOME and the engine's cache elsewhere.
    $ ssh {node} df -h {subject}
    """
    free = filesystem.free_bytes
    found = f"{size(free)} free under {filesystem.path}"
    assert free >= FREE_FLOOR_BYTES, finding(found, f"at least {size(FREE_FLOOR_BYTES)}")


@written
@pytest.mark.applies(lambda filesystem: filesystem.free_inodes is not None, reason="it counts no inodes")
@pytest.mark.cause("disk_full_or_quota")
def check_file_system_has_inodes(filesystem: Filesystem) -> None:
    """Without free inodes no file can be made, with the same "No space left" as on a full disk.

    Do: remove small files under {subject}: old compile caches, sessions of Ray, mails.
    $ ssh {node} df -i {subject}
    """
    free = filesystem.free_inodes or 0
    found = f"{free} free inodes under {filesystem.path}"
    assert free >= INODES_FLOOR, finding(found, f"at least {INODES_FLOOR}")


@pytest.mark.applies(lambda filesystem: filesystem.use == "tmp", reason="only /tmp must be writable")
def check_tmp_is_writable(filesystem: Filesystem) -> None:
    """A kernel that meets a disk error makes the file system read-only; then nothing that uses /tmp starts.

    Do: look for the disk's errors in the kernel log; in a container mount a tmpfs at /tmp.
    $ ssh {node} 'dmesg | grep -iE "remount|i/o error" | tail'
    """
    assert not filesystem.read_only, finding(f"{filesystem.path} is mounted read-only", "writable")


def read_speed(node: Node) -> float:
    return node.read_speed.bytes_per_s


@loaded
@active
@pytest.mark.optional
@pytest.mark.needs("check_model_exists")
@pytest.mark.cause("slow_storage_load_barrier_timeout")
def check_model_is_read_as_fast_as_on_peers(node: Node, peers: Peers) -> None:
    """All ranks wait for the one that loads its weights last; its log names a time-out, not the disk.

    Do: look at the node's disk or its mount of the shared file system.
    $ ssh {node} 'df -h {path}; iostat -x 1 3'
    """
    median = peers.median(read_speed)
    found = f"{gb_per_s(read_speed(node))} from {node.read_speed.path}"
    expected = f"{gb_per_s(median)}, the median of all nodes"
    assert read_speed(node) >= SPEED_SHARE * median, finding(found, expected)


@loaded
@active
@pytest.mark.advice
@pytest.mark.optional
@pytest.mark.needs("check_model_exists", "check_model_has_all_its_files", "check_model_files_are_whole")
@pytest.mark.cause("slow_storage_load_barrier_timeout")
def check_weights_load_before_peers_give_up(node: Node, cluster: Snapshot) -> None:
    """A rank that reads its share longer than the others' time-out makes them end, although nothing is broken.

    Do: copy the model to a local disk, or raise the engine's time-out for loading.
    $ ssh {node} df -h {path}
    """
    load_s = node.model.weights_bytes / len(cluster.nodes) / read_speed(node)
    found = f"the node's share of the weights takes {seconds(load_s)} to read"
    assert load_s <= PATIENCE_S, finding(found, f"less than {seconds(PATIENCE_S)}")
