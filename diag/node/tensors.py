"""What does the header of a safetensors file say, and is the file as long as it says? Eight bytes, then JSON."""

from __future__ import annotations

import json
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADER_AT_MOST = 100_000_000
"""The format's own limit (safetensors, format description)."""


DRAFT = "mtp"
"""What layers for multi-token prediction are called, where they are not numbered as the model's own."""


def add(path: str, size: int, groups: dict[str, list[int]], drafts: dict[str, list[int]]) -> str | None:
    """Add the tensors to ``groups``: dtype -> [tensors, parameters, bytes], those of draft layers to ``drafts`` too.

    Returns what is wrong with the file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return f"not readable: {error.strerror}"
    try:
        length = struct.unpack("<Q", os.read(fd, 8).ljust(8, b"\0"))[0]
        if length > HEADER_AT_MOST or length < 2:  # noqa: PLR2004 - the shortest JSON object
            return "not a safetensors file"
        if length + 8 > size:
            return "shorter than its header says"
        header = json.loads(_exactly(fd, length))
        return _judge(_sum(header, groups, drafts), size - 8 - length)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"header not readable: {type(error).__name__}"
    finally:
        os.close(fd)


def _exactly(fd: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.read(fd, length)
        if not part:
            raise ValueError("cut")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _sum(header: dict[str, Any], groups: dict[str, list[int]], drafts: dict[str, list[int]]) -> int:
    """Where the last tensor ends, counted from the end of the header."""
    end = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        low, high = tensor["data_offsets"]
        parameters = 1
        for extent in tensor["shape"]:
            parameters *= extent
        for sums in [groups, drafts] if DRAFT in name.split(".") else [groups]:
            of_dtype = sums.setdefault(tensor["dtype"], [0, 0, 0])
            of_dtype[0] += 1
            of_dtype[1] += parameters
            of_dtype[2] += high - low
        end = max(end, high)
    return end


def _judge(end: int, held: int) -> str | None:
    if end == held:
        return None
    return "shorter than its header says" if end > held else "longer than its header says"
