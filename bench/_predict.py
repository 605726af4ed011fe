"""What does the planner say of the inputs of a logged start-up? The only place where the replay knows its parts."""

from __future__ import annotations

import re

from _cases import Inputs, Prediction
from msgspec.structs import replace

from diag.engines import lmdeploy, ollama, sglang, vllm
from diag.facts.plan import Estimate, Parameters
from diag.hardware import DeviceRow, row_of
from diag.planner.backends import backed
from diag.planner.deployment import Deployment
from diag.planner.memory import startup
from diag.planner.memory.batch import Batch
from diag.planner.memory.startup import Device, Measured, Start
from diag.planner.model import families
from diag.planner.model.architecture import Architecture
from diag.planner.model.drafts import Draft
from diag.planner.model.shards import rank_weight_bytes
from diag.planner.rules import BatchRow, EngineRules
from diag.planner.unknown import NotKnown
from diag.units import GIB

ENGINES = {"vllm": vllm.rules, "sglang": sglang.rules, "lmdeploy": lmdeploy.rules, "ollama": ollama.rules}
UNKNOWN_BYTES = 80 << 30
"""Of a device of which only the KV memory is known: what is printed of that does not depend on it."""


def device_bytes(name: str) -> int | None:
    """What programs see as the total memory of a GPU that a log names; None: ``hardware.py`` has no row."""
    row = row_of(name)
    return row.visible_bytes if row else None


def predict(given: Inputs) -> Prediction:
    if given.total_bytes is None and given.measured.kv is None:
        raise NotKnown("neither memory nor the KV cache is known")
    asked = _start(given)
    outcome = startup.start(asked)
    low, mid, high = outcome.kv
    kv = given.measured.kv
    tokens = Estimate(low=low.printed_tokens, mid=mid.printed_tokens, high=high.printed_tokens)
    if kv is not None and given.engine != "vllm":
        tokens = _exactly(int(kv / mid.bytes_per_token))
    return Prediction(
        weights_bytes=outcome.weights_bytes,
        kv_bytes=outcome.memory.kv_cache_bytes if kv is None else _exactly(kv),
        printed_tokens=tokens,
        request_bytes=mid.request_bytes,
        verdict=outcome.verdict,
        why=outcome.why,
        outcome=outcome,
        length=asked.max_model_len,
    )


def _exactly(amount: int) -> Estimate:
    """Of SGLang, what the log calls KV memory is that of tokens alone, without recurrent states."""
    return Estimate(low=amount, mid=amount, high=amount)


def _start(given: Inputs) -> Start:
    architecture, device = families.read(given.config), _device(given)
    rules = backed(_rules(given), architecture, device, Parameters())
    if given.dtype and architecture.quantization is None:
        architecture = replace(architecture, dtype=_dtype(given.dtype, architecture))
    length = given.max_model_len or architecture.max_len
    row = rules.batch(device.name, device.total_bytes, max_model_len=length)
    deployment = _deployment(given)
    return Start(
        architecture=architecture,
        rules=rules,
        deployment=deployment,
        loading_bytes=_unquantized_bytes(given, deployment) if given.quantized_while_loading else 0,
        batch=_batch(given, row),
        max_model_len=length,
        kv_cache_dtype=given.kv_cache_dtype,
        block_size=given.block_size if given.v0 else None,
        utilization=given.utilization,
        device=device,
        offloaded_bytes=int(given.cpu_offload_gib * GIB),
        draft=_draft(given),
        measured=Measured(
            activation=given.measured.activation,
            non_torch=given.measured.non_torch,
            graphs=given.measured.graphs,
            kv=given.measured.kv,
        ),
    )


def _deployment(given: Inputs) -> Deployment:
    """SGLang's tp is that of the experts: data-parallel attention divides it."""
    attention = given.tp // given.dp if given.engine == "sglang" and given.tp % given.dp == 0 else given.tp
    return Deployment(tp=attention, pp=given.pp, dp=given.dp, ep=given.expert_parallel, dcp=given.dcp)


def _draft(given: Inputs) -> Draft | None:
    if given.draft not in {None, "mtp"}:
        raise NotKnown(f"speculative decoding with {given.draft}")
    own = families.read_draft(given.config) if given.draft else None
    return own and Draft(method="mtp", kind="own layers", tokens=given.drafted, architecture=own)


def _unquantized_bytes(given: Inputs, deployment: Deployment) -> int:
    whole = families.read({key: value for key, value in given.config.items() if key != "quantization_config"})
    return max(rank_weight_bytes(whole, tp=deployment.tp, pp=deployment.pp, stage=n) for n in range(deployment.pp))


def _dtype(said: str, architecture: Architecture) -> str:
    found = {"bf16": "bfloat16", "fp16": "float16", "half": "float16"}.get(said, said)
    return found if found in {"bfloat16", "float16", "float32"} else architecture.dtype


def _rules(given: Inputs) -> EngineRules:
    """An engine of V0 in a version that has both has the rules of the last that had only that."""
    version = given.version
    if given.v0 and version and tuple(map(int, version.split(".")[:2])) > (0, 7):
        version = "0.7.3"
    return ENGINES[given.engine](version)


def _batch(given: Inputs, row: BatchRow) -> Batch:
    default = (row.offline_batched_tokens if given.offline else None) or row.max_num_batched_tokens
    tokens = given.max_num_batched_tokens or default
    return Batch(
        max_num_seqs=given.max_num_seqs or row.max_num_seqs,
        max_num_batched_tokens=tokens,
        enforce_eager=given.enforce_eager,
    )


def _device(given: Inputs) -> Device:
    """Nothing else runs on it. ``total_bytes`` is what a program saw."""
    row, total = row_of(given.device), given.total_bytes or UNKNOWN_BYTES
    return Device(
        name=given.device,
        total_bytes=total + (row.total_bytes - row.visible_bytes if row else 0),
        free_bytes=total + (row.free_bytes - row.visible_bytes if row else 0),
        usable_bytes=total,
        capability=_capability(row),
        vendor=row.vendor if row else _vendor(given.device),
    )


VENDORS = ("ascend", "intel", "amd", "apple")


def _vendor(name: str) -> str:
    return next((vendor for vendor in VENDORS if vendor in name.lower()), "nvidia")


def _capability(row: DeviceRow | None) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d+)\.(\d+)", (row.compute_capability if row else None) or "")
    return (int(found[1]), int(found[2])) if found else None
