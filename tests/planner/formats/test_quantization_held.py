"""What engines hold is not always what the file has: scales for Marlin, padded experts, copies for latent attention."""

from __future__ import annotations

import msgspec
import pytest

from diag.planner.model import families
from diag.planner.model.architecture import Layer, Weight
from diag.planner.model.formats import stored
from diag.planner.model.formats.held import Loader, held
from diag.planner.model.formats.quantization import Quantization
from diag.planner.model.formats.stored import Format, matrix_bytes
from diag.planner.model.shards import rank_weight_bytes
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
        (msgspec.structs.replace(H100, version="0.10.2"), (128, 256), (256, 128)),
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


FUSED = msgspec.structs.replace(UP, name="mlp.experts.gate_up_proj", rows=5760, bias=True)


@pytest.mark.parametrize(
    ("version", "logged_gib"), [("0.11.0", 64.38), ("0.14.1", 64.38), ("0.25.1", 61.29), ("0.10.1", 65.97)]
)
def test_gpt_oss_120b_takes_what_each_version_logs_on_an_h100(version, logged_gib):
    """60.77 GiB of files: the scales stay beside those of the kernel until 0.25; 0.10 runs Marlin."""
    assert oss(layers=36, experts=128, version=version) == pytest.approx(logged_gib * 2**30, rel=0.005)


@pytest.mark.parametrize(("tp", "logged_gib"), [(1, 13.64), (2, 7.01)])
def test_gpt_oss_20b_takes_what_0_19_logs_on_an_h100(tp, logged_gib):
    assert oss(layers=24, experts=32, version="0.19.0", tp=tp) == pytest.approx(logged_gib * 2**30, rel=0.01)


def test_biases_of_experts_are_twice_as_wide_in_tritons_kernel():
    more = [weight for weight in one(FUSED, H100, "mxfp4") if "bias" in weight.name]
    assert [(weight.rows, weight.columns, weight.dtype_bytes, weight.stored) for weight in more] == [
        (5760, 1, 2, False)
    ]


def oss(*, layers: int, experts: int, version: str, tp: int = 1) -> int:
    config = {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "torch_dtype": "bfloat16",
        "hidden_size": 2880, "num_hidden_layers": layers, "num_attention_heads": 64, "num_key_value_heads": 8,
        "head_dim": 64, "intermediate_size": 2880, "num_local_experts": experts, "num_experts_per_tok": 4,
        "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
        "attention_bias": True, "vocab_size": 201088, "max_position_embeddings": 131072, "tie_word_embeddings": False,
        "quantization_config": {
            "quant_method": "mxfp4",
            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                                       "lm_head"],
        },
    }  # fmt: skip
    loaded = held(families.read(config), msgspec.structs.replace(H100, version=version))
    return rank_weight_bytes(loaded, tp=tp)
