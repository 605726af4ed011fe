"""Why did a run of perftest fail? From its words, and where it has none, from how it ended. The first row that fits.

The words were recorded of perftest 4.5 on soft-RoCE, but for those of GPU memory and of queue pairs, which are in its
source. What says only that the other end left explains nothing: that end's words are looked at first.
"""

from __future__ import annotations

import re

import msgspec

from diag.probes.perftest import NothingCame, Trial


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How one end came to its end. ``status`` None: it was killed at the deadline, or by a signal."""

    node: str
    status: int | None
    text: str
    """Its output and errors."""
    timed_out: bool = False


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """``cause``: of ``facts.causes``; empty: none of them. ``at``: the node that has it; empty: either end may."""

    why: str
    cause: str = ""
    at: str = ""


_WORDS = (
    (r"cuMemGetHandleForAddressRange error|DMA-BUF is not supported|Couldn't allocate GPU|nvidia.*peermem",
     "gdr_peermem_missing",
     "GPU memory cannot be given to the HCA on {node}"),
    (r"Couldn't init GPU context|Failed to load CUDA|(cu[A-Z]\w+)\S* (?:error=|returned |failed)", "",
     "perftest cannot use a GPU on {node}"),
    (r"Couldn't allocate MR|failed to create mr|Couldn't register MR", "memlock_limit",
     "{node} may not lock the memory that RDMA needs (memlock)"),
    (r"Port number (\d+) state is (\w+)", "rdma_bad_hca_selected", "port {0} is {1} on {node}"),
    (r"Found Incompatibility issue with GID types", "roce_gid_index", "the GIDs of both ends are of different kinds"),
    (r"Gid index should be between", "roce_gid_index", "{node} has no such GID index, or perftest takes none so high"),
    (r"Failed to modify QP|Unable to Connect the HCA's through the link", "roce_gid_index",
     "{node} finds no way from its GID to the other's"),
    (r"Unable to query port (\d+)", "", "{node} has no port {0} on this device"),
    (r"Did not detect devices|IB device \S+ not found|Unable to find the Infiniband/RoCE device",
     "rdma_device_not_in_container", "perftest finds no such RDMA device on {node}"),
    (r"Couldn't get context for the device|Failed to open device", "rdma_device_not_in_container",
     "{node} may not open its RDMA device (/dev/infiniband)"),
    (r"Failed status 12\b", "ib_link_flapping", "packets of {node} were not acknowledged after all retries"),
    (r"Failed status 13\b", "", "the other end of {node} was not ready after all retries"),
    (r"Failed status 10\b", "", "the other end refused access to its memory: both ends differ in what they run"),
    (r"Failed status (\d+)", "", "work of {node} completed with error {0}"),
    (r"Couldn't connect to (\S+)|Unexpected CM event", "firewall_blocks_ports",
     "{node} cannot connect to the other end, which listens"),
    (r"Couldn't listen to port (\d+)", "", "port {0} of {node} was taken a moment before"),
    (r"(\S+) did not listen at port (\d+)", "", "perftest on {0} did not listen in time"),
    (r"(?:unrecognized|invalid|unknown) option|Invalid Command line", "",
     "perftest on {node} does not know an option: another version"),
    (r"cannot start (\S+): .*No such file", "", "perftest is not installed on {node}"),
)  # fmt: skip
WORDS = tuple((re.compile(pattern), cause, why) for pattern, cause, why in _WORDS)
OWN = frozenset({"gdr_peermem_missing", "memlock_limit", "rdma_bad_hca_selected", "rdma_device_not_in_container"})
"""Of these causes an end speaks for itself: the other has no part in them."""
LEFT = re.compile(
    r"Couldn't read remote address|Unable to (read|write) (to|from) socket|Failed to exchange data|did not listen"
)
"""Said by or of the end that was left alone."""
HUNG_ROCE = (
    "no end within {seconds:.0f} s: {tool} waits for packets that do not come (RoCE: UDP port 4791), or an end hangs"
)
HUNG_IB = "no end within {seconds:.0f} s: {tool} waits for packets that do not come, or an end hangs"
ON_GPU = "{node} cannot register GPU memory with the HCA: no nvidia-peermem, no DMA-BUF"
SAID_AT_MOST = 120


def failure(
    test: Trial, client: Ended, server: Ended, seconds: float, *, ethernet: bool, on_gpu: bool = False
) -> Failure | None:
    """None: both ended well."""
    if client.status == 0 and server.status == 0:
        return None
    ends = sorted((client, server), key=lambda end: LEFT.search(end.text) is not None)
    for end in ends:
        for pattern, cause, why in WORDS:
            match = pattern.search(end.text)
            if match is not None:
                return _known(cause, why, match, end.node, on_gpu=on_gpu)
    if client.timed_out or server.timed_out:
        words = HUNG_ROCE if ethernet else HUNG_IB
        why = words.format(seconds=seconds, tool=test.tool)
        filtered = ethernet and not test.of_latency  # a latency comes after a bandwidth: something passed
        return Failure(why=why, cause="firewall_blocks_ports" if filtered else "")
    wrong = next((end for end in ends if end.status not in {0, None}), ends[0])
    said = [line.strip() for line in wrong.text.splitlines() if line.strip() and not line.lstrip().startswith("-")]
    how = f"status {wrong.status}" if wrong.status is not None else "killed"
    return Failure(why=f"{test.tool} ended on {wrong.node} ({how}): {said[-1][:SAID_AT_MOST] if said else 'no word'}")


def nothing_came(error: NothingCame, *, ethernet: bool) -> Failure:
    """A test of a fixed time ends well although every packet of it was lost."""
    if ethernet:
        return Failure(why=f"{error} (RoCE: UDP port 4791)", cause="firewall_blocks_ports")
    return Failure(why=str(error))


def _known(cause: str, why: str, match: re.Match[str], node: str, *, on_gpu: bool) -> Failure:
    if cause == "memlock_limit" and on_gpu:
        return Failure(why=ON_GPU.format(node=node), cause="gdr_peermem_missing", at=node)
    said = why.format(*(part or "" for part in match.groups()), node=node)
    return Failure(why=said, cause=cause, at=node if cause in OWN else "")
