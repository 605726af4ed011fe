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

import residency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

BLOCK = 4 << 20
REPETITIONS = 4
FILES_AT_MOST = 4
DIRECT_REFUSED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def measure(path: str, limit_bytes: int, seconds: float) -> dict[str, Any]:
    """``{"path", "direct", "repetitions": [[bytes, seconds], …]}``; each repetition reads another region.

    Raises OSError where nothing can be read, LookupError where there is nothing to read.
    """
    files = largest(os.path.expanduser(path))
    until = time.monotonic() + seconds
    each = max(BLOCK, limit_bytes // REPETITIONS // BLOCK * BLOCK)
    try:
        return {"path": path, "direct": True, "repetitions": _direct(files, each, until, seconds)}
    except OSError as error:
        if error.errno not in DIRECT_REFUSED:
            raise
    return {"path": path, "direct": False, "repetitions": _buffered(files, each, until, seconds)}


def largest(path: str) -> list[tuple[str, int]]:
    """The largest files (path, size) of a directory, or the file itself; at least a block long."""
    folder = os.path.isdir(path)
    names = [os.path.join(path, name) for name in os.listdir(path)] if folder else [path]
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


def regions(files: list[tuple[str, int]], each: int) -> Iterator[tuple[str, int, int]]:
    """(path, start, length) of each repetition: spread over the files, none twice, all in whole blocks."""
    turns = -(-REPETITIONS // len(files))
    for repetition in range(REPETITIONS):
        path, size = files[repetition % len(files)]
        share = size // turns // BLOCK * BLOCK
        if share:
            start = repetition // len(files) * share
            yield path, start, min(each, share)


def _direct(files: list[tuple[str, int]], each: int, until: float, seconds: float) -> list[list[float]]:
    done = []
    with mmap.mmap(-1, BLOCK) as page_aligned:
        for path, start, length in regions(files, each):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
            try:
                blocks = range(start, start + length, BLOCK)
                done.append(_timed(fd, page_aligned, blocks, min(until, time.monotonic() + seconds / REPETITIONS)))
            finally:
                os.close(fd)
    return [row for row in done if row[0]]


def _buffered(files: list[tuple[str, int]], each: int, until: float, seconds: float) -> list[list[float]]:
    done = []
    with mmap.mmap(-1, BLOCK) as memory:
        for path, start, length in regions(files, each):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead into what is not measured
                cold = residency.cold_blocks(fd, start, length, BLOCK)
                done.append(_timed(fd, memory, cold, min(until, time.monotonic() + seconds / REPETITIONS)))
                for block in cold:
                    os.posix_fadvise(fd, block, BLOCK, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
    done = [row for row in done if row[0]]
    if not done:
        raise LookupError("direct reads are refused there, and every page is in the page cache or its state is hidden")
    return done


def _timed(fd: int, memory: mmap.mmap, blocks: Any, until: float) -> list[float]:
    """[bytes, seconds] read until ``until``."""
    count = 0
    began = time.perf_counter()
    for block in blocks:
        count += os.preadv(fd, [memory], block)
        if time.monotonic() >= until:
            break
    return [count, time.perf_counter() - began]
