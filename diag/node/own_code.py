"""Where does this code lie, for a process that is started to run more of it?"""

from __future__ import annotations

import os


def place() -> str:
    """The zip, or the folder, from which this file was imported: in the agent no module has a ``__file__``."""
    loader = __spec__.loader if __spec__ is not None else None
    archive: str = getattr(loader, "archive", "")
    return os.path.abspath(archive or os.path.dirname(__file__))
