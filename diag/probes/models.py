"""What lies under the model path of a node?"""

from __future__ import annotations

from typing import Any

import msgspec

from diag.facts.model import ModelFile, ModelFiles, TensorGroup
from diag.facts.record import NotMeasured
from diag.probes.probe import Answers, Probe, Wishes, gap, told
from diag.probes.verbs import Ask, Request
from diag.units import size

REQUEST = "model"
DEADLINE_S = 10.0
LONGEST = 1 << 20
"""Characters that a node reads of a config: one of so many is cut."""


class _Model(msgspec.Struct, frozen=True):
    exists: bool
    files: tuple[tuple[str, int, str | None, str | None], ...] = ()
    """Name, size, sha256, problem."""
    config: str | None = None
    hf_quant: str | None = None
    digest: str = ""
    weights: tuple[tuple[str, str | None], ...] = ()
    """Files whose headers were read, and what is wrong with them."""
    groups: tuple[tuple[str, int, int, int], ...] = ()
    """Dtype, tensors, parameters, bytes."""
    drafts: tuple[tuple[str, int, int, int], ...] = ()
    """Of draft layers among them."""
    missing: tuple[str, ...] | None = ()
    """None: the index that names them cannot be read."""


def requests(wishes: Wishes) -> tuple[Request, ...]:
    if wishes.model_path is None:
        return ()
    asked = Ask("modelfiles:model", {"path": wishes.model_path})
    return (Request(name=f"{REQUEST} {wishes.model_path}", verb=asked, deadline_s=DEADLINE_S),)


def read(answers: Answers) -> ModelFiles:
    asked = next((name for name in answers if name.startswith(f"{REQUEST} ")), None)
    if asked is None:
        raise NotMeasured("no --model was named")
    path = asked.partition(" ")[2]
    model = told(answers, asked, _Model)
    if not model.exists:
        none = gap(f"{path} does not exist there")
        return ModelFiles(
            path=path, exists=False, config_json=none, hf_quant_json=none, tensor_groups=none, weights_bytes=none,
            digest=none,
        )  # fmt: skip
    return _present(path, model)


def _present(path: str, model: _Model) -> ModelFiles:
    groups = _groups(model.groups)
    why = _why_not_summed(path, model)
    return ModelFiles(
        path=path,
        exists=True,
        files=tuple(
            ModelFile(name=name, size_bytes=length, sha256=sha256, problem=problem)
            for name, length, sha256, problem in model.files
        ),
        config_json=gap(f"{path} holds no config.json") if model.config is None else _uncut(path, model.config),
        hf_quant_json=None if model.hf_quant is None else _uncut(path, model.hf_quant),
        tensor_groups=gap(why) if why else groups,
        draft_groups=_groups(model.drafts),
        weights_bytes=gap(why) if why else sum(group.size_bytes for group in groups),
        missing_shards=gap(why or f"{path}: its index cannot be read") if model.missing is None else model.missing,
        digest=model.digest,
    )


def _groups(rows: tuple[tuple[str, int, int, int], ...]) -> tuple[TensorGroup, ...]:
    return tuple(
        TensorGroup(dtype=dtype, tensors=tensors, parameters=parameters, size_bytes=length)
        for dtype, tensors, parameters, length in rows
    )


def _uncut(path: str, text: str) -> Any:
    """Lists of quantized layers can take megabytes."""
    return text if len(text) < LONGEST else gap(f"{path}: a config of more than {size(LONGEST)} is not read whole")


def _why_not_summed(path: str, model: _Model) -> str | None:
    """Why the tensors' sum is not that of the whole model."""
    if model.missing:
        return f"{path}: {len(model.missing)} shards are missing, e.g. {model.missing[0]}"
    if not model.weights:
        return f"{path} holds no safetensors files"
    bad = next(((name, problem) for name, problem in model.weights if problem), None)
    return f"{path}/{bad[0]}: {bad[1]}" if bad else None


PROBE = Probe(topic="model", requests=requests, read=read)
