"""How fast do the largest files under a path come off their storage? The page cache is left as it was found.

Direct reads pass the cache by. Where a file system refuses them, only blocks that were not cached are read, and the
kernel is asked to forget them afterwards. One stream, in order: what one loading process gets, not what many could.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import time

import manners
import modelfiles
import residency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Sequence

BLOCK = 4 << 20
REPETITIONS = 4
FILES_AT_MOST = 4
DIRECT_REFUSED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def measure(path: str, limit_bytes: int, seconds: float, direct: bool = True) -> dict[str, Any]:
    """``{"path", "direct", "repetitions": [[bytes, seconds], …]}``; each repetition reads another region.

    Raises OSError where nothing can be read, LookupError where there is nothing to read.
    """
    manners.idle_on_disks()
    each = max(BLOCK, limit_bytes // REPETITIONS // BLOCK * BLOCK)
    try:
        done = _repeat(regions(largest(os.path.expanduser(path)), each), seconds / REPETITIONS, direct)
    except OSError as error:
        if direct and error.errno in DIRECT_REFUSED:
            return measure(path, limit_bytes, seconds, direct=False)
        raise
    if not done:
        raise LookupError("direct reads are refused there, and every page is cached or the kernel does not say")
    return {"path": path, "direct": direct, "repetitions": done}


def _repeat(parts: list[tuple[str, int, int]], seconds: float, direct: bool) -> list[list[float]]:
    done = []
    with mmap.mmap(-1, BLOCK) as page_aligned:
        for path, start, length in parts:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_DIRECT if direct else 0))
            try:
                read = _direct if direct else _buffered
                done.append(read(fd, page_aligned, range(start, start + length, BLOCK), seconds))
            finally:
                os.close(fd)
    return [row for row in done if row[0]]


def largest(path: str) -> list[tuple[str, int]]:
    """The largest files (path, size) of a directory, or the file itself; at least a block long."""
    names = [path]
    if os.path.isdir(path):
        folder = modelfiles.snapshot(path)
        names = [os.path.join(folder, name) for name in os.listdir(folder)]
    found = []
    for name in names:
        try:
            status = os.stat(name)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and status.st_size >= BLOCK:
            found.append((name, status.st_size))
    if not found:
        raise LookupError(f"{path} holds no file of at least {BLOCK >> 20} MiB")
    return sorted(found, key=lambda row: -row[1])[:FILES_AT_MOST]


def regions(files: list[tuple[str, int]], each: int) -> list[tuple[str, int, int]]:
    """(path, start, length) of each repetition: spread over the files, none twice, all in whole blocks."""
    found = []
    turns = -(-REPETITIONS // len(files))
    for repetition in range(REPETITIONS):
        turn, which = divmod(repetition, len(files))
        path, size = files[which]
        share = max(BLOCK, size // turns // BLOCK * BLOCK)
        if (turn + 1) * share <= size:
            found.append((path, turn * share, min(each, share)))
    return found


def _buffered(fd: int, memory: mmap.mmap, blocks: range, seconds: float) -> list[float]:
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead into what is not measured
    cold = residency.cold(fd, blocks)
    try:
        return _direct(fd, memory, cold, seconds)
    finally:
        for block in cold:
            os.posix_fadvise(fd, block, BLOCK, os.POSIX_FADV_DONTNEED)


def _direct(fd: int, memory: mmap.mmap, blocks: Sequence[int], seconds: float) -> list[float]:
    """[bytes, seconds] of reading the blocks, or as many as go into ``seconds``."""
    count = 0
    began = time.perf_counter()
    for block in blocks:
        count += os.preadv(fd, [memory], block)
        if time.perf_counter() - began >= seconds:
            break
    return [count, time.perf_counter() - began]
