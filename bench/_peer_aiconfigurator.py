"""What does aiconfigurator 0.12 say of each case? Run by the interpreter that has it: JSON lines in, JSON lines out.

It takes a config folder, the fraction and the capacity of the device, and one of its bundled systems; where it has no
data for a GPU, H200's coefficients with that GPU's capacity are the nearest question it answers.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

SYSTEM, VERSIONS = "h200_sxm", {"vllm": "0.24.0", "sglang": "0.5.14"}


def main() -> None:
    from aiconfigurator_core.sdk import memory  # noqa: PLC0415 - only the peer's own interpreter has it

    with tempfile.TemporaryDirectory() as folder:
        for number, line in enumerate(sys.stdin):
            case = json.loads(line)
            path = Path(folder) / str(number)
            path.mkdir()
            (path / "config.json").write_text(json.dumps(case["config"]))
            try:
                answer = memory.estimate_kv_cache(
                    str(path), SYSTEM, case["engine"], VERSIONS[case["engine"]],
                    max_num_tokens=case["max_num_batched_tokens"], max_batch_size=case["max_num_seqs"],
                    memory_fraction_kind="of_total", memory_fraction_value=case["utilization"],
                    tp_size=case["tp"], pp_size=case["pp"], moe_tp_size=case["moe_tp"], moe_ep_size=case["moe_ep"],
                    kvcache_quant_mode=case["kv_cache_dtype"],
                    gpu_memory_capacity_bytes_override=case["total_bytes"], allow_naive_fallback=True,
                )  # fmt: skip
                split = answer["memory_breakdown"] or {}
                told = {"kv_bytes": answer["total_kv_size_bytes"], "tokens": answer["total_kv_size_tokens"],
                        "weights_bytes": split.get("weights_bytes")}  # fmt: skip
            except Exception as why:  # noqa: BLE001 - any refusal of the peer is its answer
                told = {"why": f"{type(why).__name__}: {why}"[:160]}
            print(json.dumps({"id": case["id"], **told}), flush=True)


if __name__ == "__main__":
    main()
