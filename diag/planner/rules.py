"""What must the planner know of an engine's version? Data, filled in by ``diag/engines/`` and passed to the planner."""

from __future__ import annotations

from typing import Literal

import msgspec

from diag.planner.captures import Captures
from diag.planner.memory.buffers import Buffers
from diag.planner.memory.paging.turbomind import TurbomindPaging
from diag.planner.memory.paging.versions import PagingRules
from diag.planner.memory.reserve import Reserve
from diag.planner.model.architecture import Architecture, StateCache
from diag.units import GIB

Base = Literal["total", "free before load", "free after load", "free"]
"""What an engine's memory fraction is a fraction of; ``free``: as others left it, before the engine started."""
TermName = Literal["activation", "graphs", "non_torch", "fragmentation", "kept", "context"]
TokenKind = Literal["full", "window", "latent", "sparse", "state", "compressed"]
"""What a layer keeps: all keys and values, those of a window or a chunk, entries of MLA (``sparse``: of which an
indexer chooses), a recurrent state, summaries."""


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine takes by itself on a device of at least ``total_bytes``, or of one of these ``names``.

    ``max_num_batched_tokens`` as a server, ``offline_batched_tokens`` inside a program where that differs (0: not).
    ``graph_batch``: largest decode batch captured as a CUDA graph, with fewer than 4 ranks and with more; 0: see
    ``Captures``.
    """

    total_bytes: int
    max_num_batched_tokens: int
    max_num_seqs: int
    offline_batched_tokens: int = 0
    graph_batch: tuple[int, int] = (0, 0)
    names: tuple[str, ...] = ()


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A coefficient or a size as seen: at least, probably, at most; ``source`` says by whom and where."""

    low: float
    mid: float
    high: float
    source: str


def gib(low: float, mid: float, high: float, source: str) -> Spread:
    """Of sizes in GiB."""
    return Spread(low=low * GIB, mid=mid * GIB, high=high * GIB, source=source)


NOTHING = Spread(low=0, mid=0, high=0, source="none")
HIP_GRAPHS = Spread(
    low=1, mid=4.6, high=3.5, source="graphs of HIP, times those of CUDA: not logged; as vLLM's, or no more than CUDA's"
)
_NO_BATCH = BatchRow(total_bytes=0, max_num_batched_tokens=0, max_num_seqs=0)


class SecondRunner(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's newer model runner: for which models it is taken, and its other memory."""

    names: tuple[str, ...] = ()
    """Of ``architectures`` in the config, always."""
    dense: bool = False
    """All without experts and without recurrent states."""
    every: bool = False
    sampler: Spread
    kept: float
    """Bytes per (sequence × word) that it keeps for penalties."""

    def runs(self, architecture: Architecture) -> bool:
        if self.every or architecture.name in self.names:
            return True
        recurrent = any(isinstance(cache, StateCache) for layer in architecture.layers for cache in layer.caches)
        return self.dense and not architecture.experts and not recurrent


class Drafting(msgspec.Struct, frozen=True, kw_only=True):
    """How a version guesses tokens ahead (speculative decoding): ``methods`` as it spells them, in small letters."""

    methods: tuple[str, ...] = ()
    own_layers_of: tuple[str, ...] = ()
    """``model_type`` of models whose draft layers it loads."""
    lists_all: bool = True
    """Of others it is certain that it does not."""
    weights_inside: bool = True
    """Weights of what guesses count before the KV cache gets its memory; if not, they come from what is left."""
    second_runner: tuple[str, ...] = ()
    """Methods with which the newer model runner is still taken."""
    pipelines: bool = True
    """Also where layers are divided over a pipeline."""
    alone: tuple[str, ...] = ()
    """Methods that it refuses where replicas of the attention share experts."""


class EngineRules(msgspec.Struct, frozen=True, kw_only=True):
    """Memory rules of one version. Spreads without another unit are bytes on one GPU."""

    engine: str
    fork_of: str = ""
    """Whose formats, models and paging it shares: of what it is a fork, or which backend; empty: its own."""
    backend: str = ""
    """Of an engine that has several: which of them these rules are of."""
    backend_why: str = ""
    """Why it is planned."""
    other: EngineRules | None = None
    """Of its other backend, which it starts by itself for the models that one serves."""
    version: str
    """Whose rules these are."""
    note: str | None = None
    """Why these rules stand in for another version; None: it is the version that was asked for."""
    newer: bool = False
    """Than all that were read: whether its commands still start is not known."""

    fraction_of: Base = "total"
    utilization: float
    """Fraction it takes by itself; 0: see ``reserve``."""
    reserve: Reserve | None = None
    """How it sets its fraction by itself."""
    inside: tuple[TermName, ...] = ("activation", "graphs", "non_torch")
    """Terms that it takes out of its fraction before the KV cache; the others need room outside."""
    checks_free: bool = True
    """It refuses to start where its fraction of total memory is not free."""

    block_size: int
    """Of the KV cache, in tokens, before an attention kernel wants another."""
    batches: tuple[BatchRow, ...]
    """Largest device first; rows with names before those without."""
    small_batch_names: tuple[str, ...] = ()
    """Devices (part of the name, lower case) that take the last row whatever their memory."""
    batch_of_length: int = 0
    """Prompts are not divided: a batch has as many tokens as the longest request, unless that is longer than this."""
    paging: PagingRules | None = None
    turbomind: TurbomindPaging | None = None
    buffers: Buffers | None = None
    """Of fixed size, by formula; they count as ``kept``."""

    context: Spread
    """A process's own device context: gone before the engine looks at what is free."""
    communicator: Spread = NOTHING
    """What communication between GPUs takes before the engine looks; 0: afterwards, see ``non_torch_several``."""
    sampler: Spread
    """Bytes per (sequence × word of the vocabulary) of the largest sampling step."""
    second_runner: SecondRunner | None = None
    runtime_per_token: int = 0
    """Bytes per word of the vocabulary that it keeps free for each batched token, by formula."""
    runtime_per_seq: int = 0
    """The same for each sequence."""
    graphs: Spread
    """Of as many captures as it makes by itself."""
    graphs_alone: Spread = NOTHING
    """The same of one GPU, where that is known apart."""
    few_graphs: Spread = NOTHING
    """Of at most ``FEW`` captures; where layers count, what is probable, and the most, are never less than its."""
    graph_pool: Spread = NOTHING
    """Bytes that all captures share, where layers count."""
    graph_per_layer: Spread = NOTHING
    """Bytes of each capture and layer of the rank; nothing: see ``graphs``."""
    graph_per_expert_layer: Spread = NOTHING
    """The same of a model with experts, without a pool; nothing: as of any layer."""
    graph_per_expert_capture: Spread = NOTHING
    """More of each capture of a model with experts."""
    hip_graphs: Spread = HIP_GRAPHS
    """How many times as much all of them take on AMD."""
    split_kinds: tuple[TokenKind, ...] = ()
    """Attention of these kinds keeps its parts beside each other in graphs of whole decode batches (``graphs.py``)."""
    captures: Captures = Captures()
    captures_of: tuple[tuple[str, Captures], ...] = ()
    """Of ``architectures`` for which it sets the sizes itself."""
    captures_each_stage: bool = False
    """All graphs are captured once for each stage of a pipeline, on every rank."""
    graphs_inside_budget: bool
    """Whether the KV cache already leaves room for CUDA graphs; if not, they are taken from what lies outside."""
    video_images: int = 0
    """Of the largest size, as which a video is profiled at most, for models of ``VIDEOS``; 0: it profiles an image."""
    compiling: Spread = NOTHING
    """What the profiled pass takes more the first time, while it is compiled; nothing of it is left the next time."""
    image_tokens: int = 0
    """Of the largest image or video, whose embeddings stay while the language model is profiled; 0: none do."""
    non_torch_alone: Spread
    """What the libraries take beside torch, on one GPU."""
    non_torch_several: Spread
    """The same with communication between GPUs; of those that a row of ``non_torch_joined`` does not fit."""
    non_torch_joined: tuple[tuple[str, Spread], ...] = ()
    """By what joins the GPUs: ``nvlink``, ``pcie``."""
    fragmentation: Spread = NOTHING
    """Held by the allocator, used by nobody."""
    fragmentation_of: tuple[tuple[str, Spread], ...] = ()
    """The same of these ``architectures`` on Hopper."""
    reserved_more: Spread = NOTHING
    """The same as a part of the activations, where the engine counts what the allocator reserved at its peak."""
    state_each_sequence: bool = False
    """It refuses more sequences than there are blocks where each needs one for its recurrent state."""
    samples_graphs: bool = False
    """It never samples more sequences at its start than the largest decode graph has."""

    spans_nodes: bool
    """Whether one launch command can place a replica over several nodes without Ray."""
    one_node: bool = False
    """A model never leaves a node."""
    pipelines: bool = True
    """Layers can be divided over stages."""
    shares_experts: bool = True
    """Replicas of the attention can share one set of experts, and ranks can get whole ones."""
    attention_replicas: bool = True
    """Of the two the first; ranks may get whole experts all the same."""
    attention_replicas_of: tuple[str, ...] = ()
    """Only of these ``architectures``; empty: of all but ``attention_replicas_not_of``."""
    attention_replicas_not_of: tuple[str, ...] = ()
    whole_experts_of: tuple[str, ...] = ()
    """Ranks get whole experts only of these ``architectures``; empty: of all."""
    starts_copies: bool = True
    """One command starts several whole copies of a model; False: each is a server of its own."""
    divides_tokens_of: tuple[TokenKind, ...] = ()
    """Ranks that divide a layer can divide the tokens of a request, too, where its layers keep only these."""
    tokens_divided_since: str = ""
    """Version from which on that is known."""
    repeats_queries_of: tuple[str, ...] = ()
    """Each of those ranks keeps what makes the queries of all of them, of these ``architectures``."""
    keeps_streams: bool = False
    """Residual streams of a whole batch wait for a draft even where there is none (DeepSeek-V4)."""
    drafting: Drafting = Drafting()
    rotary: Literal["", "dtype", "float32"] = ""
    """Of what elements its tables of positions are, made when it loads a model; empty: it has none."""
    offloads: bool = False
    """A part of the weights can stay in the host's memory."""
    copies_offloaded: bool = False
    """A layer that stayed there is copied before it runs; if not, kernels read it where it is."""
    refines_blocks: bool = False
    """Blocks of FP8 experts are made finer where ranks do not hold whole ones."""
    cpu_block_size: int = 0
    """0: not planned on a CPU, nor what follows."""
    cpu_batch: BatchRow = _NO_BATCH
    cpu_process: Spread = NOTHING
    """Resident bytes of the engine's processes on a CPU, without weights and KV cache."""
    cpu_swap_bytes: int = 0
    """RAM that it takes for each GPU to swap requests out."""

    @property
    def kind(self) -> str:
        """``vllm`` for what is forked from it."""
        return self.fork_of or self.engine

    @property
    def by_layers(self) -> bool:
        """It gives whole layers to GPUs, and counts the memory of all of them together."""
        return self.fraction_of == "free"

    def replicates_attention(self, name: str) -> bool:
        """Of a model with experts of this architecture."""
        listed = not self.attention_replicas_of or name in self.attention_replicas_of
        return self.shares_experts and self.attention_replicas and listed and name not in self.attention_replicas_not_of

    def gives_whole_experts(self, name: str) -> bool:
        return self.shares_experts and (not self.whole_experts_of or name in self.whole_experts_of)

    def captured_of(self, name: str) -> Captures:
        return dict(self.captures_of).get(name, self.captures)

    def batch(self, device_name: str, total_bytes: int, *, max_model_len: int = 0, offline: bool = False) -> BatchRow:
        """``max_model_len``: of the longest request, where ``batch_of_length`` asks for it."""
        row = self._row(device_name.lower(), total_bytes)
        tokens = row.offline_batched_tokens if offline and row.offline_batched_tokens else row.max_num_batched_tokens
        if self.batch_of_length and max_model_len <= self.batch_of_length:
            tokens = max(tokens, max_model_len)
        seqs = min(row.max_num_seqs, tokens)
        return msgspec.structs.replace(row, max_num_batched_tokens=tokens, max_num_seqs=seqs)

    def _row(self, name: str, total_bytes: int) -> BatchRow:
        if any(small in name for small in self.small_batch_names):
            return self.batches[-1]
        named = (row for row in self.batches if any(part in name for part in row.names))
        sized = (row for row in self.batches if not row.names and total_bytes >= row.total_bytes)
        return next(named, None) or next(sized, self.batches[-1])


FEW = 16
"""Captures of CUDA graphs of which logs show less memory than of the usual 67 to 102."""
