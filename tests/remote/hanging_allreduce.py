"""The all-reduce, of which the main thread of rank 1 stands still between two collectives; it breathes all the same."""

from __future__ import annotations

import os
import time

import allreduce
import sums

HANGS_FROM = 16384
"""Elements: of the second size."""
right = sums.Payload.is_right


def is_right(self: sums.Payload) -> bool:
    if os.environ["RANK"] == "1" and self.count >= HANGS_FROM:
        time.sleep(1000)
    return right(self)


sums.Payload.is_right = is_right
if __name__ == "__main__":
    allreduce.main()
