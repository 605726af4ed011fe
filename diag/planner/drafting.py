"""Which draft is asked for, and does this version of an engine guess tokens with it?"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from diag.facts.plan import Parameters
from diag.facts.snapshot import Snapshot
from diag.planner.model import drafts
from diag.planner.model.architecture import Architecture
from diag.planner.model.checkpoint import Checkpoint, with_drafts
from diag.planner.model.drafts import Draft, Kind
from diag.planner.model.families.nextn import LAYERS
from diag.planner.model.families.nextn import UNREAD as UNREAD_LAYERS
from diag.planner.model.filed import filed
from diag.planner.model.models import Model, find_model
from diag.planner.rules import EngineRules
from diag.planner.unknown import NotKnown
from diag.units import size

COUNT = "--set num_speculative_tokens=N"
MODEL = "--set speculative_model=DIR"

LEAST_HELD = 0.2
"""Of the bytes of draft layers as the model's own are stored: they may be quantized to 4 bit where those are not."""
UNREAD: Mapping[str, str] = {"lmdeploy": "how it divides its cache between a model and a draft was not read"}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """``refused``: why it cannot be, ``lever``: what would change that."""

    draft: Draft | None = None
    refused: str | None = None
    lever: str | None = None


def asked(model: Model, target: Architecture, rules: EngineRules, pinned: Parameters, snapshot: Snapshot) -> Asked:
    """Raises NotKnown, and DiagError where the draft's name names nothing."""
    method, tokens, name = pinned.speculative_method, pinned.num_speculative_tokens, pinned.speculative_model
    if method is None:
        return _without_method() if tokens or name else Asked()
    kind = drafts.kind_of(method)
    refused = _refused(method, kind, rules, pinned) or _misnamed(method, kind, target, name)
    if refused is not None or kind is None or tokens is None:
        return refused or Asked()
    if kind == "own layers" and target.model_type.startswith(UNREAD_LAYERS):
        raise NotKnown(f"the draft layers of {target.name}: they were not read", "leave speculative_method out")
    if kind == "own layers":
        return _own_layers(model, target, rules, tokens, method)
    if name is None:
        return Asked(draft=Draft(method=method, kind=kind, tokens=tokens, told="words seen before"))
    return Asked(draft=_made_for_it(find_model(name, snapshot), target, tokens, method, kind))


def _without_method() -> Asked:
    return Asked(refused="a draft without a method: how are its tokens guessed?", lever="--set speculative_method=mtp")


def _refused(method: str, kind: Kind | None, rules: EngineRules, pinned: Parameters) -> Asked | None:
    of = f"{rules.engine} {rules.version}"
    if rules.kind in UNREAD:
        raise NotKnown(f"speculative decoding in {of}: {UNREAD[rules.kind]}", "leave speculative_method out")
    if not rules.drafting.methods:
        return Asked(refused=f"{of} guesses no tokens ahead", lever="leave speculative_method out")
    if kind is None or method.lower() not in rules.drafting.methods:
        return Asked(refused=f"speculative_method={method} in {of}: planned are {', '.join(rules.drafting.methods)}")
    if pinned.num_speculative_tokens is None:
        return Asked(refused=f"speculative_method={method}: how many tokens ahead is not said", lever=COUNT)
    return None


def _misnamed(method: str, kind: Kind | None, target: Architecture, name: str | None) -> Asked | None:
    """A checkpoint of its own where none is needed, or none where one is."""
    if kind in {"head", "model"}:
        return None if name else Asked(refused=f"speculative_method={method} needs a draft", lever=MODEL)
    if name is None or (kind == "own layers" and target.model_type.startswith(UNREAD_LAYERS)):
        return None
    return Asked(refused=f"speculative_method={method} takes no other model as its draft", lever="leave it out")


def _own_layers(model: Model, target: Architecture, rules: EngineRules, tokens: int, method: str) -> Asked:
    found = drafts.own_layers(model, tokens, method)
    if found is None:
        why = f"{target.name} has no draft layers (multi-token prediction) in its config"
        return Asked(refused=why, lever="another speculative_method")
    if target.model_type in rules.drafting.own_layers_of:
        return Asked(draft=found)
    why = f"{rules.engine} {rules.version} loads no draft layers of {target.name}"
    if not rules.drafting.lists_all and target.model_type in LAYERS:
        raise NotKnown(f"whether {rules.engine} {rules.version} loads the draft layers of {target.name}")
    return Asked(refused=why, lever=f"a newer {rules.engine}")


def _made_for_it(model: Model, target: Architecture, tokens: int, method: str, kind: Kind) -> Draft:
    if kind == "head":
        return drafts.head(model, target, tokens, method)
    return drafts.other_model(model, target, tokens, method)


def lacking(draft: Draft | None, files: Checkpoint) -> Asked | None:
    """A config names draft layers that its files do not hold: copies of them are made without. None: not so."""
    if draft is None or draft.kind != "own layers" or draft.architecture is None or files.draft_bytes is None:
        return None
    if files.draft_bytes >= LEAST_HELD * filed(draft.architecture).total_bytes:
        return None
    why = f"the files lack {draft.told}: {size(files.draft_bytes)} lie there beside its other layers"
    return Asked(refused=why, lever="a checkpoint with its draft layers, or leave speculative_method out")


def loaded(draft: Draft | None, files: Checkpoint) -> Checkpoint:
    """As told where the files' draft layers are loaded."""
    return with_drafts(files) if draft is not None and draft.kind == "own layers" else files


def as_run(draft: Draft | None, target: Architecture) -> Draft | None:
    """In the dtype that the engine gives to both."""
    if draft is None or draft.architecture is None:
        return draft
    cast = {"dtype": target.dtype, "stored_dtype": target.stored_dtype}
    return msgspec.structs.replace(
        draft,
        architecture=msgspec.structs.replace(draft.architecture, **cast),
        most=draft.most and msgspec.structs.replace(draft.most, **cast),
    )
