"""Which weights has an encoder: BERT, RoBERTa, ModernBERT? For embeddings, scores and classes, not for text.

It keeps nothing between requests, so it has no KV cache. What predicts masked words and what BERT pools with are in
checkpoints, engines load neither. Checked against vLLM's bert.py, roberta.py and modernbert.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import msgspec

from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config
from diag.planner.model.families.sparse import FLOAT32

BERT = ("BertModel", "BertForMaskedLM", "BertForSequenceClassification")
ROBERTA = tuple(
    f"{name}{task}"
    for name in ("Roberta", "XLMRoberta")
    for task in ("Model", "ForMaskedLM", "ForSequenceClassification")
)
MODERN = ("ModernBertModel", "ModernBertForMaskedLM", "ModernBertForSequenceClassification")
SCORES = "ForSequenceClassification"
RESERVED_POSITIONS = 2
"""RoBERTa's positions begin behind that of the padding."""
MODERN_MEANS = {"norm_bias": False, "attention_bias": False, "mlp_bias": False}


def read_bert(known: tuple[str, ...], reserved: int, config: Config) -> Architecture:
    hidden, inner = config.count("hidden_size"), config.count("intermediate_size")
    block = (
        *parts.attention(_shape(config, "attention", ("self.query", "self.key", "self.value", "output.dense"))),
        parts.norm("attention.output.LayerNorm", hidden, bias=True),
        parts.linear("intermediate.dense", inner, hidden, shard="rows", bias=True),
        parts.linear("output.dense", hidden, inner, shard="columns", bias=True),
        parts.norm("output.LayerNorm", hidden, bias=True),
    )
    layers = (
        Layer(prefix=f"encoder.layer.{layer}", weights=block) for layer in range(config.count("num_hidden_layers"))
    )
    positions = config.count("max_position_embeddings")
    first = (
        parts.embedding("embeddings.word_embeddings", config.count("vocab_size"), hidden),
        parts.embedding("embeddings.position_embeddings", positions, hidden),
        parts.embedding("embeddings.token_type_embeddings", config.count("type_vocab_size", 2), hidden),
        parts.norm("embeddings.LayerNorm", hidden, bias=True),
    )
    dense = "pooler.dense" if known == BERT else "classifier.dense"
    whole = _whole(config, known, layers, first, _scores(config, known, dense))
    return msgspec.structs.replace(whole, max_len=positions - reserved)


def read_modern(config: Config) -> Architecture:
    config = config.meaning(MODERN_MEANS)
    hidden, bias = config.count("hidden_size"), config.flag("norm_bias")
    shape = _shape(config, "attn", ("Wqkv", "Wqkv", "Wqkv", "Wo"), bias=config.flag("attention_bias"))
    inner = parts.mlp(
        "mlp",
        hidden,
        config.count("intermediate_size"),
        bias=config.flag("mlp_bias"),
        names=("Wi", "Wi", "Wo"),
    )
    later = (
        *parts.attention(shape),
        *inner,
        *(parts.norm(name, hidden, bias=bias) for name in ("mlp_norm", "attn_norm")),
    )
    layers = (
        Layer(prefix=f"layers.{layer}", weights=later if layer else later[:-1])
        for layer in range(config.count("num_hidden_layers"))
    )
    first = (
        parts.embedding("embeddings.tok_embeddings", config.count("vocab_size"), hidden),
        parts.norm("embeddings.norm", hidden, bias=bias),
    )
    last = (parts.norm("final_norm", hidden, bias=bias), *_scores(config, MODERN, "head.dense"))
    return _whole(config, MODERN, layers, first, last)


def _shape(config: Config, name: str, projections: tuple[str, str, str, str], *, bias: bool = True) -> parts.Attention:
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    if hidden % heads:
        raise config.bad("hidden_size", f"a multiple of {heads} heads")
    return parts.of_as_many_heads(name, hidden, heads, projections, bias=bias)


def _scores(config: Config, known: tuple[str, ...], dense: str) -> tuple[Weight, ...]:
    """What makes scores or classes of one token, in float32; ``id2label`` names them."""
    if not config.architecture(known[0]).endswith(SCORES):
        return ()
    head = _head(config, dense, len(config.get("id2label", {0: "", 1: ""})), modern=known == MODERN)
    return tuple(msgspec.structs.replace(weight, dtype_bytes=FLOAT32) for weight in head)


def _head(config: Config, dense: str, labels: int, *, modern: bool) -> Iterator[Weight]:
    hidden, last = config.count("hidden_size"), "classifier.out_proj" if dense == "classifier.dense" else "classifier"
    yield parts.linear(dense, hidden, hidden, bias=not modern or config.flag("classifier_bias"))
    if modern:
        yield parts.norm("head.norm", hidden, bias=config.flag("norm_bias"))
    yield parts.linear(last, labels, hidden, bias=True)


def _whole(
    config: Config, known: tuple[str, ...], layers: Iterable[Layer], first: tuple[Weight, ...], last: tuple[Weight, ...]
) -> Architecture:
    name = config.architecture(known[0])
    if name not in known:
        raise config.bad("architectures", " or ".join(known))
    heads = config.count("num_attention_heads")
    return Architecture(
        name=name,
        model_type=config.text("model_type"),
        layers=tuple(layers),
        first=first,
        last=last,
        hidden=config.count("hidden_size"),
        heads=heads,
        kv_heads=heads,
        inner=config.count("intermediate_size"),
        vocab=config.count("vocab_size"),
        max_len=config.count("max_position_embeddings"),
        dtype=config.dtype(),
        stored_dtype=config.stored_dtype(),
        encoder=True,
        left_out=() if name.endswith(SCORES) else ("what pools or predicts masked words, where the checkpoint has it",),
    )


READERS: Mapping[str, Callable[[Config], Architecture]] = {
    "bert": partial(read_bert, BERT, 0),
    "roberta": partial(read_bert, ROBERTA, RESERVED_POSITIONS),
    "xlm-roberta": partial(read_bert, ROBERTA, RESERVED_POSITIONS),
    "modernbert": read_modern,
}
