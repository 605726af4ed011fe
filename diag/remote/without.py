"""How is a module imported without one that it only tries to import?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast


@contextmanager
def without(name: str) -> Iterator[None]:
    """Inside, importing ``name`` raises ImportError, unless it was imported before."""
    modules = cast("dict[str, Any]", sys.modules)
    modules.setdefault(name, None)
    try:
        yield
    finally:
        if modules[name] is None:
            del modules[name]
