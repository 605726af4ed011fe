"""Preflight diagnostics for GPU clusters: is it healthy, what can it really do, which launch parameters follow."""

__version__ = "0.1.0"
