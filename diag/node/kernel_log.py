"""Which errors of GPUs and NVSwitches did the kernel log since the machine started? The log is read, never cleared."""

from __future__ import annotations

import os
import time

import gpus
import verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = "dev/kmsg"
RECORD_BYTES, TOOL_BYTES_AT_MOST = 8192, 1 << 22
MARK = "Xid ("
TIME = 2
"""Its place in a record's head."""
SAID_AT_MOST, ROWS_AT_MOST = 160, 64


def xids(seconds: float, root: str = "/") -> list[list[object]]:
    """[seconds since start or None, line] of the last line for each error code and device, oldest first.

    None was logged on a node without an NVIDIA GPU. Raises OSError, with ``needs root`` where the log is closed.
    """
    if gpus.proven_absent(root):
        return []
    until = time.monotonic() + seconds
    last: dict[str, list[object]] = {}
    try:
        for at_s, line in _records(os.path.join(root, LOG), until):
            _keep(last, at_s, line)
    except FileNotFoundError:  # a container has no such file; the tool asks the kernel in another way
        for told_s, line in _of_tool(until):
            _keep(last, told_s, line)
    except PermissionError:
        raise PermissionError("the kernel log needs root") from None
    return list(last.values())[-ROWS_AT_MOST:]


def _keep(last: dict[str, list[object]], at_s: float | None, line: str) -> None:
    if MARK not in line:
        return
    start = line.index(MARK)
    key = line[start:].partition(",")[0]  # Xid (PCI:0000:3b:00): 79
    last.pop(key, None)
    last[key] = [at_s, line[max(0, start - 1) :][:SAID_AT_MOST].strip()]


def _records(path: str, until: float) -> Iterator[tuple[float, str]]:
    """Each record: ``6,1234,98765432,-;the line`` (Documentation/ABI/testing/dev-kmsg), the time in microseconds."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while time.monotonic() < until:
            try:
                record = os.read(fd, RECORD_BYTES)
            except BlockingIOError:  # no more for now
                return
            except BrokenPipeError:  # what came next was overwritten meanwhile; the following read goes on
                continue
            if not record:
                return
            if b"Xid (" in record:
                yield from _parsed(record.decode("utf-8", "replace"))
        raise TimeoutError("the kernel log was not read to its end in time")
    finally:
        os.close(fd)


def _parsed(records: str) -> Iterator[tuple[float, str]]:
    for record in records.splitlines():
        head, semicolon, line = record.partition(";")
        fields = head.split(",")
        if semicolon and len(fields) > TIME and fields[TIME].isdigit():
            yield int(fields[TIME]) / 1e6, line


def _of_tool(until: float) -> Iterator[tuple[float | None, str]]:
    """``[12345.678901] the line`` each."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        done = verbs.run(["dmesg"], environment, TOOL_BYTES_AT_MOST, until)
    except FileNotFoundError:
        raise FileNotFoundError("there is neither /dev/kmsg nor dmesg here") from None
    if done["status"]:
        raise PermissionError(f"the kernel log needs root ({done['stderr'].strip()[:80]})")
    for line in str(done["stdout"]).splitlines():
        head = line.partition("]")[0].lstrip("[ ")
        yield (float(head) if head.replace(".", "", 1).isdigit() else None), line
