"""Real agents for the tests in this folder."""

from __future__ import annotations

from tests.remote.agents import workshop

__all__ = ["workshop"]
