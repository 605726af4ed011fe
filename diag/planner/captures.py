"""Which batch sizes does an engine capture as CUDA graphs?"""

from __future__ import annotations

import msgspec


class Captures(msgspec.Struct, frozen=True, kw_only=True):
    """1, 2, 4, every 8th, above ``fine`` every 16th; never more than the tokens of a batch."""

    most: int = 0
    """0: nothing is captured."""
    per_seq: int = 2
    """Tokens of the largest graph for each of ``max_num_seqs``; 0: up to ``most``, however few these are."""
    fine: int = 256
    full: bool = False
    """Decode batches of up to ``max_num_seqs`` are captured a second time, as one graph."""

    def count(self, max_num_seqs: int, tokens: int = 0, *, whole: bool = True) -> int:
        """``tokens`` of a batch, 0: more than any graph; ``whole`` False: the second time never comes."""
        largest = self._bounded(self.most, tokens)
        pieces = self._sizes(min(self.per_seq * max_num_seqs, largest) if self.per_seq else largest)
        return pieces + (self._sizes(self.rows(max_num_seqs, tokens)) if whole else 0)

    def rows(self, max_num_seqs: int, tokens: int = 0) -> int:
        """Of the largest decode batch that is captured as one graph."""
        return min(max_num_seqs, self._bounded(self.most, tokens)) if self.full else 0

    def _bounded(self, largest: int, tokens: int) -> int:
        return min(largest, tokens) if tokens else largest

    def _sizes(self, largest: int) -> int:
        small = sum(size <= largest for size in (1, 2, 4))
        return small + min(largest, self.fine) // 8 + max(0, largest - self.fine) // 16
