"""Which blocks of a file are in the page cache? mincore(2), which since Linux 5.2 tells only those who may write."""

from __future__ import annotations

import ctypes
import mmap
import os

PROT_READ, MAP_SHARED = 1, 1
FAILED = ctypes.c_void_p(-1).value


def cold(fd: int, blocks: range) -> list[int]:
    """Those of ``blocks`` of which no page is cached. To a user whom the kernel does not tell, all look cached."""
    pages = resident(fd, blocks.start, len(blocks) * blocks.step)
    per_block = blocks.step // mmap.PAGESIZE
    return [block for n, block in enumerate(blocks) if not any(pages[n * per_block : (n + 1) * per_block])]


def resident(fd: int, start: int, length: int) -> list[int]:
    """One number a page: 1, it is cached. Mapping a file reads nothing of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    address = libc.mmap(None, length, PROT_READ, MAP_SHARED, fd, start)
    if address == FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    pages = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
    try:
        if libc.mincore(address, length, pages):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        libc.munmap(address, length)
    return [byte & 1 for byte in pages.raw]
