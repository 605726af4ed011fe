"""What takes memory of one GPU beside weights and KV cache? Each a term of its own: at least, probably, at most.

``low`` and ``high`` of what was read from logs are about their 10th and 90th percentile, so that a sum of several holds
more often than one. Which terms lie inside the engine's fraction is the rules' ``inside``: the others need room beside.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from diag.facts.plan import Estimate
from diag.planner.memory import steps
from diag.planner.memory.batch import Batch
from diag.planner.memory.graphs import captured
from diag.planner.memory.steps import Ranks
from diag.planner.model.architecture import Architecture
from diag.planner.rules import NOTHING, EngineRules, Spread, TermName


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on one GPU."""

    low: int
    mid: int
    high: int
    source: str

    @classmethod
    def of(cls, spread: Spread, more: int = 0) -> Term:
        """``more``: bytes that are certain."""
        low, mid, high = (int(size) + more for size in (spread.low, spread.mid, spread.high))
        return cls(low=low, mid=mid, high=high, source=spread.source)

    @property
    def estimate(self) -> Estimate:
        return Estimate(low=self.low, mid=self.mid, high=self.high)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """``sampler``, ``forward`` (experts included) and ``vision`` never run together: ``activation`` is the largest."""

    sampler: Term
    forward: Term
    experts: Term
    """The part of ``forward`` that routed experts work in."""
    vision: Term
    kept: Term
    graphs: Term
    non_torch: Term
    fragmentation: Term
    context: Term
    """Of the process, with its communicator where that is there before the engine looks at what is free."""

    @property
    def activation(self) -> Term:
        most = (self.sampler, self.forward, self.vision)
        return Term(
            low=max(term.low for term in most),
            mid=max(term.mid for term in most),
            high=max(term.high for term in most),
            source=max(most, key=lambda term: term.mid).source,
        )

    def named(self, name: TermName) -> Term:
        term: Term = getattr(self, name)
        return term

    def inside(self, rules: EngineRules) -> Estimate:
        """What the engine takes out of its fraction."""
        return total(self.named(name) for name in rules.inside)

    def outside(self, rules: EngineRules) -> Estimate:
        """What still comes later, from memory that the fraction leaves."""
        names: tuple[TermName, ...] = ("activation", "graphs", "non_torch", "fragmentation", "kept")
        return total(self.named(name) for name in names if name not in rules.inside)


def total(terms: Iterable[Term]) -> Estimate:
    listed = list(terms)
    return Estimate(
        low=sum(term.low for term in listed),
        mid=sum(term.mid for term in listed),
        high=sum(term.high for term in listed),
    )


def terms(
    architecture: Architecture,
    rules: EngineRules,
    batch: Batch,
    ranks: Ranks,
    *,
    hopper: bool = False,
) -> Terms:
    """Of the rank that ``ranks`` describes; ``batch`` is what the engine works on at once."""
    second = rules.second_runner if rules.second_runner and rules.second_runner.runs(architecture) else None
    experts = steps.experts(architecture, batch, ranks)
    sampler = steps.sampler(architecture, second.sampler if second else rules.sampler, batch, ranks)
    forward = steps.forward(architecture, batch, ranks, experts)
    images = steps.held_images(architecture, rules.image_tokens)
    compiling = NOTHING if batch.enforce_eager else rules.compiling
    return Terms(
        sampler=Term.of(steps.beside(sampler, images)),
        forward=Term.of(steps.beside(steps.beside(forward, images), compiling)),
        experts=Term.of(experts),
        vision=Term.of(steps.vision(architecture, batch)),
        kept=Term.of(steps.kept(architecture, second.kept if second else 0, batch, ranks)),
        graphs=Term.of(captured(architecture, rules, batch, ranks, hopper=hopper)),
        non_torch=Term.of(rules.non_torch_several if ranks.tp * ranks.dp > 1 else rules.non_torch_alone),
        fragmentation=Term.of(_fragmentation(architecture, rules, (sampler, forward), hopper=hopper)),
        context=Term.of(_context(rules, ranks)),
    )


def runtime_bytes(rules: EngineRules, batch: Batch, vocab: int) -> int:
    """What the engine keeps free by its own formula: exact."""
    words = batch.max_num_batched_tokens * rules.runtime_per_token + batch.max_num_seqs * rules.runtime_per_seq
    return words * vocab


def _fragmentation(
    architecture: Architecture, rules: EngineRules, tried: tuple[Spread, ...], *, hopper: bool
) -> Spread:
    more = rules.reserved_more
    if not more.high:
        of_name = dict(rules.fragmentation_of).get(architecture.name) if hopper else None
        return of_name or rules.fragmentation
    peak = max(tried, key=lambda one: one.mid)
    return Spread(low=more.low * peak.mid, mid=more.mid * peak.mid, high=more.high * peak.mid, source=more.source)


def _context(rules: EngineRules, ranks: Ranks) -> Spread:
    if ranks.world == 1:
        return rules.context
    return Spread(
        low=rules.context.low + rules.communicator.low,
        mid=rules.context.mid + rules.communicator.mid,
        high=rules.context.high + rules.communicator.high,
        source=f"{rules.context.source}; communicator: {rules.communicator.source}",
    )
