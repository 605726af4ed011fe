"""How does the agent read the small text files of /proc and /sys? Without buffering layers: there are hundreds."""

from __future__ import annotations

import os


def text(path: str, limit: int = 65536) -> str:
    """The first ``limit`` bytes of a file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while limit > 0:
            part = os.read(fd, limit)
            if not part:
                break
            parts.append(part)
            limit -= len(part)
        return b"".join(parts).decode("utf-8", "replace")
    finally:
        os.close(fd)


def line(path: str, limit: int = 4096) -> str | None:
    """A one-line file without its end; None: there is none that can be read."""
    try:
        return text(path, limit).strip()
    except OSError:
        return None


def names(path: str) -> list[str]:
    """What a directory holds; nothing where it is absent or closed."""
    try:
        return os.listdir(path)
    except OSError:
        return []


def link(path: str) -> str | None:
    """The last part of where a symbolic link points; None: no such link."""
    try:
        return os.path.basename(os.readlink(path))
    except OSError:
        return None
