"""What lies under the model path of a node, and how fast can it be read?"""

from __future__ import annotations

from diag.facts.record import UNASKED, Known, Record


class ModelFile(Record, frozen=True, kw_only=True):
    """One file. ``problem`` e.g. ``git-lfs pointer``, ``shorter than its header says``; None: none seen."""

    name: str
    size_bytes: int
    sha256: str | None = None
    """Of small files only (config, index, tokenizer)."""
    problem: str | None = None


class TensorGroup(Record, frozen=True, kw_only=True):
    """Tensors of one dtype, summed over all safetensors headers."""

    dtype: str
    """As safetensors spells it: ``BF16``, ``F8_E4M3``, …"""
    tensors: int
    parameters: int
    size_bytes: int


class ModelFiles(Record, frozen=True, kw_only=True):
    """The model directory as this node sees it."""

    path: str
    exists: bool
    files: tuple[ModelFile, ...] = ()
    config_json: Known[str] = UNASKED
    """The text of ``config.json``."""
    hf_quant_json: Known[str | None] = UNASKED
    """The text of ``hf_quant_config.json``, where some checkpoints say how they are quantized; None: there is none."""
    tensor_groups: Known[tuple[TensorGroup, ...]] = UNASKED
    draft_groups: tuple[TensorGroup, ...] = ()
    """Those of ``tensor_groups`` that are called draft layers (multi-token prediction)."""
    weights_bytes: Known[int] = UNASKED
    """Sum of all tensors of the safetensors headers."""
    missing_shards: Known[tuple[str, ...]] = ()
    """Named by the index, absent in the directory. Missing: there is an index that cannot be read."""
    digest: Known[str] = UNASKED
    """Over names, sizes and the small files' contents: equal on all nodes when the model is."""


class ReadSpeed(Record, frozen=True, kw_only=True):
    """Direct reads of the model's largest files; every repetition kept. ``bytes_per_s`` is the median."""

    path: str
    bytes_per_s: float
    read_bytes: int
    repetitions_bytes_per_s: tuple[float, ...]
    direct: bool
    """False: the file system refuses O_DIRECT; the page cache was asked to forget what was read before and after."""
    readers: int = 1
    """Nodes that read the same shared file system at once."""
