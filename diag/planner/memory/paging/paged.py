"""What is a KV cache worth, once an engine has divided its bytes into pages?"""

from __future__ import annotations

import msgspec


class Paged(msgspec.Struct, frozen=True, kw_only=True):
    """On one rank. Tokens are those of requests, not of one rank's share."""

    blocks: int
    """With the engine's own; of an engine without blocks: pages or slots."""
    block_size: int
    """Tokens that a block of attention holds for a request."""
    bytes_per_block: int
    bytes_per_token: float
    """That one more token of a long request takes."""
    request_blocks: int
    """Of one request of the longest context."""
    request_bytes: int
    capacity_tokens: int
    """That requests can hold at once, all of the longest context."""
    printed_tokens: int
    """As the engine's log names it."""
    max_concurrency: float
    """Requests of the longest context, as the log names it."""
    starts: bool
    """The engine's own check passes: one request of the longest context fits, as this version counts it."""
    max_requests: int | None = None
    """At once, whatever their length; None: as many as the engine's settings say."""
