"""What does guessing tokens ahead (speculative decoding) add to the memory of a start?

Symbols: k tokens guessed a step, S sequences, V words, T tokens of a batch, H hidden size. Weights of what guesses lie
on the same ranks; its layers' caches are the last of the model's; a recurrent state is kept for each guessed token.
After the profiled sampling step vLLM's first runner checks logits of two tokens a sequence; while serving there are
k + 1.
Sources: vLLM's v1/spec_decode/llm_base_proposer.py (load_model), v1/worker/gpu_model_runner.py (_dummy_sampler_run),
config/vllm.py (uniform_decode_query_len); SGLang's mem_cache/kv_cache_configurator.py.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from diag.planner.deployment import Deployment
from diag.planner.memory.attempt import Start
from diag.planner.memory.same import Same
from diag.planner.memory.terms import Term, Terms
from diag.planner.memory.weighed import Level, stage_weights_bytes
from diag.planner.model.architecture import Architecture
from diag.planner.model.drafts import Draft
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.shards import padded_vocab, why_not
from diag.planner.rules import EngineRules
from diag.planner.unknown import NotKnown

CHECKED: dict[Level, float] = {"low": 4, "mid": 8, "high": 8}
"""Bytes of two tokens' logits in 16 bits, and of probabilities made of them."""
SERVED = 6
"""Bytes of a word's logit in 16 and in 32 bits, of each guessed token: at most, where the start does not try it."""
HELD: dict[Level, int] = {"low": 1, "mid": 3, "high": 6}
"""Hidden states for the draft, beside each other with embeddings, and of its own layers: an estimate."""


def weights_bytes(start: Start, level: Level) -> int:
    """Of what guesses, on one rank. Raises NotKnown."""
    draft = start.draft
    if draft is None or draft.architecture is None:
        return 0
    if start.deployment.pp > 1:
        raise NotKnown("which stages of a pipeline hold a draft", "one stage, or leave speculative_method out")
    if start.deployment.dcp > 1:
        raise NotKnown("a draft beside ranks that divide tokens", "leave one of the two out")
    held = draft.most if draft.most and level == "high" else draft.architecture
    return stage_weights_bytes(held, start.rules, start.device, start.deployment, 0)


def why_undivided(draft: Draft | None, deployment: Deployment, rules: EngineRules) -> str | None:
    """The ranks divide the draft as they divide the model."""
    if draft is None:
        return None
    if (why := _refused(draft, deployment, rules)) is not None or draft.architecture is None:
        return why
    of = draft.architecture
    ep, expert_tp = deployment.expert_parallel_size, deployment.expert_tp
    why = why_not(of, tp=deployment.tp, ep=ep, expert_tp=expert_tp, refines=True)
    return f"{draft.told}: {why}" if why else None


def _refused(draft: Draft, deployment: Deployment, rules: EngineRules) -> str | None:
    told = f"{rules.engine} {rules.version} guesses no tokens ahead"
    if deployment.pp > 1 and not rules.drafting.pipelines:
        return f"{told} over the stages of a pipeline"
    if deployment.dp > 1 and draft.method.lower() in rules.drafting.alone:
        return f"{told} with {draft.method} where replicas of the attention share experts"
    return None


def joined(architecture: Architecture, draft: Draft | None) -> Architecture:
    """With the layers of what guesses behind its own, for what they keep. The same object for the same two."""
    if draft is None or not draft.layers:
        return architecture
    return _joined(Same(architecture), Same(draft))


@lru_cache(maxsize=16)
def _joined(architecture: Same[Architecture], draft: Same[Draft]) -> Architecture:
    return msgspec.structs.replace(architecture.value, layers=(*architecture.value.layers, *draft.value.layers))


def runner_rules(rules: EngineRules, draft: Draft | None) -> EngineRules:
    """Without the newer runner where this method does not run in it. The same object for the same two."""
    if draft is None or rules.second_runner is None or draft.method.lower() in rules.drafting.second_runner:
        return rules
    return _first_runner(Same(rules))


@lru_cache(maxsize=16)
def _first_runner(rules: Same[EngineRules]) -> EngineRules:
    return msgspec.structs.replace(rules.value, second_runner=None)


def with_guessing(terms: Terms, start: Start) -> Terms:
    """With the steps that check and make guesses."""
    draft = start.draft
    if draft is None:
        return terms
    words = min(start.batch.max_num_seqs, start.batch.max_num_batched_tokens) * padded_vocab(start.architecture.vocab)
    hidden = start.batch.max_num_batched_tokens * start.architecture.hidden * DTYPE_BYTES[start.architecture.dtype]
    tried = start.rules.kind == "vllm" and runner_rules(start.rules, draft).second_runner is None
    logits = {level: int(CHECKED[level] * words) if tried else 0 for level in HELD}
    logits["high"] += SERVED * draft.tokens * words
    forward = {level: HELD[level] * hidden if draft.layers else 0 for level in HELD}
    told = f"and checks {draft.tokens} guesses each"
    return msgspec.structs.replace(
        terms,
        sampler=_more(terms.sampler, logits, told) if terms.sampler.high else terms.sampler,
        forward=_more(terms.forward, forward, "and the hidden states of a draft, an estimate"),
        graphs=_graphs(terms.graphs, start.architecture, draft),
    )


def _graphs(graphs: Term, architecture: Architecture, draft: Draft) -> Term:
    """The draft's are captured too: in proportion to layers and their width."""
    if draft.architecture is None:
        return graphs
    own = len(architecture.layers) * architecture.hidden
    part = len(draft.layers) * draft.architecture.hidden / own
    more: dict[Level, int] = {"low": 0, "mid": int(graphs.mid * part), "high": int(graphs.high * part)}
    return _more(graphs, more, "and those of a draft, by its layers")


def _more(term: Term, added: dict[Level, int], told: str) -> Term:
    return Term(
        low=term.low + added["low"],
        mid=term.mid + added["mid"],
        high=term.high + added["high"],
        source=f"{term.source}; {told}",
    )
