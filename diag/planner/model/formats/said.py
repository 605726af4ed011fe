"""What does a checkpoint say of its quantization? Its keys, each read with a check, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from diag.planner.model.formats.ignored import Names, read_names
from diag.planner.model.formats.stored import Format
from diag.planner.unknown import NotKnown


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A weight of a linear layer, by its full name."""

    name: str
    expert: bool = False
    """One of the routed experts, which engines hold as one layer."""
    head: bool = False
    """The language model's head: most methods leave it alone unless they name it."""


Rule = Callable[[Asked], Format | None]
"""How a weight is stored; None: as the model's dtype."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """``keys``: a ``quantization_config``; ``model``: the config around it; ``dtype_bytes``: of what is left alone."""

    keys: Mapping[str, Any]
    model: Mapping[str, Any]
    dtype_bytes: int

    def text(self, key: str, default: str | None = None) -> str:
        value = self.keys.get(key, default)
        if not isinstance(value, str):
            raise self.bad(key, "a word")
        return value

    def count(self, *keys: str, default: int | None = None) -> int:
        """The first of ``keys`` that is there."""
        key = next((key for key in keys if self.keys.get(key) is not None), keys[0])
        value = self.keys.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.bad(key, "a whole number")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        value = self.keys.get(key, default)
        if not isinstance(value, bool):
            raise self.bad(key, "true or false")
        return value

    def names(self, *keys: str) -> Names:
        """The names in the first of ``keys`` that has any."""
        key = next((key for key in keys if self.keys.get(key)), keys[0])
        value = self.keys.get(key) or ()
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
            raise self.bad(key, "a list of names")
        return read_names(value)

    def block(self, key: str) -> tuple[int, int] | None:
        value = self.keys.get(key)
        if value is None:
            return None
        if not isinstance(value, Sequence) or len(value) != len(("rows", "columns")):
            raise self.bad(key, "rows and columns of a block")
        rows, columns = value
        if not all(isinstance(side, int) and side > 0 for side in (rows, columns)):
            raise self.bad(key, "rows and columns of a block")
        return rows, columns

    def bad(self, key: str, expected: str) -> NotKnown:
        return NotKnown(f"quantization_config: {key}: found {str(self.keys.get(key))[:80]!r}, expected {expected}")
