"""How much does an engine work on at once? The terms of ``terms.py`` follow from it."""

from __future__ import annotations

import msgspec


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """``captures`` None: as many CUDA graphs as the engine makes by itself.

    ``decoded``: tokens of a sequence in a step of decoding, those guessed ahead included.
    """

    max_num_seqs: int
    max_num_batched_tokens: int
    enforce_eager: bool = False
    captures: int | None = None
    decoded: int = 1
