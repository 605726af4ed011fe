"""Real agents, and a real library of GPUs that are not there, for the tests in this folder."""

from __future__ import annotations

from tests.node.measuring import programs
from tests.node.nvml_library import ask_gpus, library
from tests.remote.agents import workshop

__all__ = ["ask_gpus", "library", "programs", "workshop"]
