"""Which weights does a list of a checkpoint mean? Names in ignore lists and targets, as the engines read them.

Lists name weights as the checkpoint does, as an engine fuses them (``qkv_proj``), by a parent (``*.self_attn*``), by a
wildcard or a regular expression (``re:.*lm_head``). Wrappers (``model.``, ``language_model.``) differ between a list
and the tensors of one checkpoint, so both are read without. Read in: vLLM 0.32, quant_utils.py (is_layer_skipped),
compressed_tensors/utils.py and modelopt.py (is_layer_excluded).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import translate

import msgspec

FUSED: Mapping[str, tuple[str, ...]] = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "fused_qkv_a_proj": ("q_a_proj", "kv_a_proj_with_mqa"),
    "in_proj_qkvz": ("in_proj_qkv", "in_proj_z"),
    "in_proj_ba": ("in_proj_b", "in_proj_a"),
    "fused_wqa_wkv": ("wq_a", "wkv"),
    "w13": ("w1", "w3"),
}
"""What engines merge, and from which weights: an ignored part ignores the whole, and the other way round."""

WRAPPERS = frozenset({"model", "language_model", "text_model", "transformer", "backbone"})

LAYERS = "layers."
"""What the decoder's layers begin with; layers of a vision tower have its name before it."""

_EXPERTS = re.compile(r"^(.*?\bexperts)\.")
_WILD = re.compile(r"[*?\[]")


def bare(name: str) -> str:
    """A name without what wraps the model: ``layers.0.mlp`` for ``model.language_model.layers.0.mlp``."""
    head, dot, rest = name.partition(".")
    while dot and head in WRAPPERS:
        name = rest
        head, dot, rest = name.partition(".")
    return name


def spellings(name: str) -> tuple[str, ...]:
    """A weight as lists may call it: by itself, by what it is fused into, by the experts it belongs to; all bare."""
    own = bare(name)
    parent, dot, last = own.rpartition(".")
    fused = tuple(parent + dot + whole for whole, parts in FUSED.items() if last in parts)
    experts = _EXPERTS.match(own)
    return (own, *fused, *((experts[1],) if experts else ()))


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """A list, sorted into what can be asked quickly."""

    whole: frozenset[str]
    """Weights of the decoder's layers, or parents of them."""
    parts: tuple[str, ...]
    """What stands anywhere between dots: ``.lm_head.``, ``.mlp.gate.``."""
    starts: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]

    def mean(self, name: str) -> bool:
        """Whether the list means a weight; one that is stored fused also where the list has all of its parts."""
        parent, dot, last = bare(name).rpartition(".")
        parts = FUSED.get(last, ())
        return any(self._means(spelling, name) for spelling in spellings(name)) or (
            bool(parts) and all(self._means(parent + dot + part, name) for part in parts)
        )

    def _means(self, spelling: str, name: str) -> bool:
        dotted = f".{spelling}."
        return (
            not self.whole.isdisjoint(_parents(spelling))
            or spelling.startswith(self.starts)
            or any(part in dotted for part in self.parts)
            or any(pattern.match(full) for pattern in self.patterns for full in (spelling, f"model.{spelling}", name))
        )


def read_names(entries: Iterable[str]) -> Names:
    plain, starts, patterns = list[str](), list[str](), list[str]()
    for entry in entries:
        if entry.startswith("re:"):
            patterns.append(entry.removeprefix("re:"))
        elif entry.endswith("*") and not _WILD.search(entry[:-1]):
            starts.append(bare(entry[:-1]))
        elif _WILD.search(entry):
            patterns.extend((translate(bare(entry)), translate(bare(entry) + ".*")))
        else:
            plain.append(bare(entry))
    return Names(
        whole=frozenset(entry for entry in plain if entry.startswith(LAYERS)),
        parts=tuple(f".{entry}." for entry in plain if not entry.startswith(LAYERS)),
        starts=tuple(starts),
        patterns=tuple(re.compile(pattern) for pattern in patterns),
    )


def _parents(name: str) -> Iterator[str]:
    """The name and all that it lies below."""
    yield name
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
