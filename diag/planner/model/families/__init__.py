"""Which reader understands a config? By ``model_type``; what no table names is ``NotKnown``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diag.planner.model.architecture import Architecture
from diag.planner.model.families import (
    classic,
    compressed,
    decoder,
    eagle,
    encoder,
    gemma4,
    hybrid,
    kimi_linear,
    latent,
    minimax_m3,
    modal,
    nas,
    nemotron_h,
    nextn,
    step,
    windows,
)
from diag.planner.model.families.config import Config
from diag.planner.model.formats.quantization import quantize
from diag.planner.unknown import NotKnown, others

READERS: Mapping[str, Callable[[Config], Architecture]] = {
    **decoder.READERS,
    **windows.READERS,
    **gemma4.READERS,
    **step.READERS,
    **minimax_m3.READERS,
    **nas.READERS,
    **classic.READERS,
    **modal.READERS,
    **latent.READERS,
    **hybrid.READERS,
    **nemotron_h.READERS,
    **kimi_linear.READERS,
    **compressed.READERS,
    **encoder.READERS,
}


def read(config: Mapping[str, Any], hf_quant: Mapping[str, Any] | None = None) -> Architecture:
    """The model that a ``config.json`` describes; ``hf_quant``: the ``hf_quant_config.json`` beside it."""
    whole = Config(config)
    model_type = whole.text("model_type", "")
    if model_type not in READERS:
        raise NotKnown(f"model_type {model_type!r}: {others(model_type, READERS)}")
    return quantize(READERS[model_type](whole), config, hf_quant)


def read_draft(config: Mapping[str, Any], hf_quant: Mapping[str, Any] | None = None) -> Architecture | None:
    """The layers with which the same model guesses tokens ahead; None: it has none."""
    whole = Config(config)
    if not nextn.layers_said(whole):
        return None
    return quantize(nextn.nextn(whole, READERS[whole.text("model_type")](whole)), config, hf_quant)


def read_eagle3(config: Mapping[str, Any], hidden: int) -> Architecture:
    """A head that guesses tokens for a model of so wide hidden states."""
    return quantize(eagle.read_eagle3(Config(config), hidden), config)
