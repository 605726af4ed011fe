"""What engines hold is not always what the file has: scales for Marlin, padded experts, copies for latent attention."""

from __future__ import annotations

import msgspec
import pytest

from diag.planner.model.architecture import Layer, Weight
from diag.planner.model.formats import stored
from diag.planner.model.formats.held import Loader, held
from diag.planner.model.formats.quantization import Quantization
from diag.planner.model.formats.stored import Format, matrix_bytes
from tests.planner.formats.test_quantization import model

BLOCKS = stored.fp8_block(128, 128)
A100 = Loader(engine="vllm", version="0.33.0", capability=80)
H100 = Loader(engine="vllm", version="0.33.0", capability=90)
B200 = Loader(engine="vllm", version="0.33.0", capability=100)


def one(weight: Weight, loader: Loader, method: str = "fp8") -> tuple[Weight, ...]:
    """What a model of this one weight holds."""
    layers = (Layer(prefix="model.layers.0", weights=(weight,)),)
    return held(model(layers=layers, quantization=Quantization(method=method)), loader).layers[0].weights


def linear(form: Format | None, name: str = "mlp.up_proj") -> Weight:
    return Weight(name=name, rows=4096, columns=4096, format=form)


def test_native_fp8_is_held_as_it_is_stored():
    assert one(linear(BLOCKS), H100) == (linear(BLOCKS),)


def test_marlin_has_a_scale_of_16_bit_for_each_row_of_a_block():
    (weight,) = one(linear(BLOCKS), A100)
    assert weight.format is not None
    assert matrix_bytes(weight.format, 2, 4096, 4096) == 4096 * 4096 + 4096 * 32 * 2
    (tensor,) = one(linear(stored.FP8), A100)
    assert tensor.format is not None
    assert matrix_bytes(tensor.format, 2, 4096, 4096) == 4096 * 4096 + 4096 * 2


def test_what_is_not_quantized_stays():
    assert one(linear(None), A100) == (linear(None),)


def test_quantized_latent_attention_is_copied_in_16_bit():
    weight, copy = one(linear(BLOCKS, "self_attn.kv_b_proj"), H100)
    assert weight.format == BLOCKS
    assert (copy.format, copy.stored, copy.rows) == (None, False, 4096)
    assert len(one(linear(None, "self_attn.kv_b_proj"), H100)) == 1


EXPERT = {"rows": 2880, "columns": 2880, "count": 128, "expert": True, "format": stored.MXFP4}
UP = Weight(name="mlp.experts.0.up_proj", shard="rows", **EXPERT)
DOWN = Weight(name="mlp.experts.0.down_proj", shard="columns", **EXPERT)


@pytest.mark.parametrize(
    ("loader", "up", "down"),
    [
        (A100, (128, 256), (256, 128)),
        (H100, (1, 256), (1, 256)),
        (B200, (128, 256), (256, 128)),
        (msgspec.structs.replace(B200, version="0.11.0"), (256, 256), (256, 256)),
    ],
)
def test_experts_of_gpt_oss_are_padded_for_their_kernel(loader, up, down):
    padded = [weight.format.multiple for expert in (UP, DOWN) for weight in one(expert, loader, "mxfp4")]
    assert padded == [up, down]


def test_both_halves_of_a_fused_expert_are_padded():
    fused = msgspec.structs.replace(UP, name="mlp.experts.0.gate_up_proj", rows=5760)
    (weight,) = one(fused, A100, "mxfp4")
    assert weight.format is not None
    assert weight.format.multiple == (256, 256)


def test_of_another_engine_or_vendor_no_padding_is_known():
    for loader in (Loader(engine="sglang", version=None, capability=90), msgspec.structs.replace(A100, vendor="metax")):
        assert one(UP, loader, "mxfp4") == (UP,)
