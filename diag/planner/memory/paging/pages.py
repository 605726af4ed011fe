"""What does one layer keep in one block of vLLM's KV cache, and how many blocks does a request take of it?

Source: the specs of v1/kv_cache_interface.py, and what each kind of layer declares there (attention.py,
mla_attention.py, mamba/abstract.py, deepseek_v4).
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["full", "latent", "window", "latent_window", "chunk", "state"]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Pages that are equal can share a table of blocks, and any layer's memory of that size."""

    kind: Kind
    block_size: int
    """In tokens."""
    entry_bytes: int
    """Of ``tokens_per_entry`` tokens, or of a whole state."""
    shape: tuple[int | str, ...] = ()
    """What must be equal beside the bytes: heads, dims, dtype."""
    tokens_per_entry: int = 1
    reach: int = 0
    """Of a window or a chunk, in tokens."""
    states: int = 0
    """A request holds."""
    multiple: int = 1
    """Bytes are rounded up to it."""
    padded_bytes: int = 0

    @property
    def natural_bytes(self) -> int:
        if self.kind == "state":
            return self.entry_bytes
        entries = self.entry_bytes * (self.block_size // self.tokens_per_entry)
        return -(-entries // self.multiple) * self.multiple

    @property
    def bytes(self) -> int:
        return self.padded_bytes or self.natural_bytes

    @property
    def table(self) -> tuple[str | int, ...]:
        """Layers whose tables always have the same length: the kind, and what its length depends on."""
        if self.kind in ("full", "latent"):
            return ("full", self.block_size)
        return (self.kind, self.block_size, self.reach, self.states, self.bytes if self.kind == "state" else 0)

    @property
    def grows(self) -> bool:
        """With every token of a request."""
        return self.kind in ("full", "latent")

    def blocks(self, length: int, *, in_flight: int, dcp: int = 1) -> int:
        """Of a request of ``length`` tokens, ``in_flight`` of which may be scheduled and not yet settled.

        A window need not start at the start of a block, so it takes one more.
        """
        if self.kind == "state":
            return self.states
        if self.grows:
            return _ceil(_ceil(length, dcp), self.block_size)
        if self.kind == "chunk":
            return _ceil(min(self.reach + in_flight, length), self.block_size)
        return _ceil(min(self.reach - 1 + in_flight, length), self.block_size) + 1


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a layer; a layer may have several."""

    layer: int
    page: Page


def _ceil(amount: int, size: int) -> int:
    return -(-amount // size)
