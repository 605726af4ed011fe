"""What of an engine's settings decides how it pages a model's KV cache?"""

from __future__ import annotations

import msgspec

from diag.planner.memory.paging.versions import Checkpoint, PagingRules


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Of vLLM. What is None or ``auto`` it settles by itself."""

    rules: PagingRules
    max_model_len: int
    max_num_batched_tokens: int
    kv_cache_dtype: str = "auto"
    block_size: int | None = None
    prefix_caching: bool | None = None
    hybrid: bool | None = None
    """False: ``--disable-hybrid-kv-cache-manager``."""
    drafted: int = 0
    """Tokens that are guessed ahead of each step: a request keeps a recurrent state for each."""
    compute_capability: tuple[int, int] = (9, 0)
    """It decides which attention kernels run, and they which blocks they read."""

    @property
    def caches_states(self) -> bool:
        return self.rules.caches_states if self.prefix_caching is None else self.prefix_caching

    def checkpoint(self, kind: str) -> Checkpoint | None:
        """How states of a kind are kept in the middle of a prefill; None: they are not."""
        found = (one for one in self.rules.checkpoints if one.kind == kind and self.caches_states)
        return next((one for one in found if not one.majors or self.compute_capability[0] in one.majors), None)
