"""How did versions of vLLM page their KV cache? Read in the wheels named below, each against its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from diag.planner.unknown import NotKnown

Printed = Literal["blocks", "groups", "requests"]
"""Meaning of "GPU KV cache size": blocks × block size; blocks ÷ groups × block size; or the tokens of as many requests
of ``max_model_len`` as the blocks hold."""
Checked = Literal["layers", "first group", "groups"]
"""Whose need of one request is compared with the memory at the start: of the layers, as if nothing were padded; of the
first group alone; of all groups."""

Overlay = Literal["", "padded", "dense"]
"""Groups of compressed layers in one block: pages padded to those of the first group, or each group as it is; empty:
not at all. See ``tuples.py``."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """``kind`` of a state; ``majors``: compute capabilities whose prefill kernels can write it, empty: all."""

    kind: str
    majors: tuple[int, ...] = ()
    multiple: int = 1
    """Of tokens that blocks then have."""


class PagingRules(msgspec.Struct, frozen=True, kw_only=True):
    """Of the versions from ``since`` on; V0 engines count as 0.7. Keys of the mappings: major compute capability."""

    since: tuple[int, ...]
    printed: Printed
    checked: Checked = "layers"
    hybrid: bool
    """Layers that see only a window get blocks of their own; if not, they hold every token."""
    hybrid_chunks: bool = False
    """And so do those that see only a chunk."""
    heeds_checkpoint: bool = False
    """``auto`` is the dtype that the checkpoint asks for."""
    balance: float = 1.0
    """Kinds of layers share groups of the larger kind's size where it is less than this × the smaller's, else of the
    smaller's."""
    resizes: bool = False
    """Layers of different page sizes are given different block sizes."""
    pads: bool = False
    """And pages are padded where that does not divide."""
    overlay: Overlay = ""
    """How pages of compressed layers lay in a block before it ``packs``."""
    packs: bool = False
    """Pages of different sizes lie side by side in one block where the attention kernels allow it."""
    overlaps: bool = False
    """A window keeps the tokens of every batch under way (one more than there are stages), not of one."""
    may_cache_states: bool = False
    """Prefix caching of recurrent layers is there, whether or not it is on by itself."""
    caches_states: bool = False
    """Prefix caching is on for models with recurrent states, and keeps a second state a sequence."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """States that then keep a third, written in the middle of a prefill."""
    keeps_null_block: bool = False
    """The engine's own null block counts where it checks that one request fits."""
    latent_blocks: Mapping[int, tuple[int, int]]
    """Block size of MLA, with 16 bits and with 8 bits an element; 16 elsewhere."""
    wide_8bit_block: int = 16
    """Block size of keys and values in 8 bits on Hopper where heads are 512 wide."""
    latent_unit: int = 64
    """Tokens that the blocks of MLA beside recurrent states are at least a multiple of."""
    gives_up_windows: bool = False
    """Windows beside MLA keep every token where their pages cannot have one size."""
    packed_sparse: tuple[int, ...] = (9, 10, 12)
    """Where an 8-bit cache of sparse MLA has the packed layout of 656 bytes."""
    packed_always: tuple[int, ...] = ()
    """Where ``auto`` is 8 bits there."""


_FLASHMLA = {9: (64, 64), 10: (128, 128)}
"""CUTLASS_MLA on Blackwell."""
_MAMBA2 = Checkpoint(kind="mamba2")
_KDA = Checkpoint(kind="bounded_kda", majors=(9, 10, 12))
"""Of FlashKDA's kernels (models/kimi_k3/nvidia/kda.py); Triton's write none."""
_GDN = Checkpoint(kind="gdn", majors=(9, 10, 12), multiple=64)
"""Of FlashInfer's kernels; elsewhere Triton's write none (layers/mamba/gdn/qwen_gdn_linear_attn.py)."""
_V0_7 = PagingRules(since=(0, 7), printed="blocks", hybrid=False, latent_blocks=_FLASHMLA)
_V0_9 = msgspec.structs.replace(_V0_7, since=(0, 9), printed="groups", hybrid=True)
_V0_11 = msgspec.structs.replace(_V0_9, since=(0, 11), packed_always=(9, 10))
_V0_12 = msgspec.structs.replace(
    _V0_9, since=(0, 12), balance=1.25, resizes=True, latent_blocks={9: (64, 64), 10: (64, 64)}
)
_V0_16 = msgspec.structs.replace(_V0_12, since=(0, 16), checked="first group", heeds_checkpoint=True)
_V0_18 = msgspec.structs.replace(
    _V0_16, since=(0, 18), balance=1.5, latent_blocks={9: (16, 64), 10: (32, 32)}, packed_sparse=(9, 12)
)
_V0_19 = msgspec.structs.replace(_V0_18, since=(0, 19), checked="groups", hybrid_chunks=True)
_V0_20_1 = msgspec.structs.replace(_V0_19, since=(0, 20, 1), printed="requests")
_V0_21 = msgspec.structs.replace(_V0_20_1, since=(0, 21), overlay="padded", latent_unit=16)
_V0_24 = msgspec.structs.replace(_V0_21, since=(0, 24), pads=True, packed_always=(12,))
_V0_26 = msgspec.structs.replace(_V0_24, since=(0, 26), overlaps=True, may_cache_states=True)
_V0_27 = msgspec.structs.replace(_V0_26, since=(0, 27), overlay="dense")
_V0_28 = msgspec.structs.replace(_V0_27, since=(0, 28), latent_unit=128, gives_up_windows=True, caches_states=True)
_V0_29 = msgspec.structs.replace(_V0_28, since=(0, 29), packs=True, keeps_null_block=True, checkpoints=(_MAMBA2, _KDA))
_V0_33 = msgspec.structs.replace(_V0_29, since=(0, 33), checkpoints=(_MAMBA2, _KDA, _GDN), wide_8bit_block=64)

VLLM_PAGING = (
    _V0_33,
    _V0_29,
    _V0_28,
    _V0_27,
    _V0_26,
    _V0_24,
    _V0_21,
    _V0_20_1,
    _V0_19,
    _V0_18,
    _V0_16,
    _V0_12,
    _V0_11,
    _V0_9,
    _V0_7,
)
"""Newest first. Wheels read: 0.8.5, 0.9.2, 0.10.2, 0.11 to 0.13, 0.16 to 0.21, 0.24 to 0.30, 0.32, 0.33;
a change between two of them is dated to the later one."""


def vllm_paging(version: tuple[int, ...]) -> PagingRules:
    for rules in VLLM_PAGING:
        if version >= rules.since:
            return rules
    raise NotKnown(f"how vllm {version[0]}.{version[1]} pages its KV cache", "plan for 0.7 or later")
