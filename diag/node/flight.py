"""Which collective is this rank in, says torch's flight recorder? It counts what was begun and what came to its end.

torch has two: NCCL's collectives are in the one of its process group (``_dump_nccl_trace_json``, since 2.5), GLOO's in
the general one (``_dump_fr_trace_json``, since 2.8). Reading takes no lock that a hanging collective holds; it is done
in a thread of its own all the same.
"""

from __future__ import annotations

import json
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DUMPS = {"nccl": "_dump_nccl_trace_json", "gloo": "_dump_fr_trace_json"}
WITHIN_S = 1.0


def ask(backend: str) -> dict[str, Any]:
    """{"enqueued", "completed", "active", "elements"} of the group of all ranks; or {"why"}."""
    found: dict[str, Any] = {"why": f"it did not answer within {WITHIN_S:g} s"}

    def work() -> None:
        told = _read(backend)
        found.clear()
        found.update(told)

    thread = threading.Thread(target=work, daemon=True, name="diag flight recorder")
    thread.start()
    thread.join(WITHIN_S)
    return dict(found)


def _read(backend: str) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "distributed"):
        return {"why": "torch is not imported yet"}
    c10d = sys.modules.get("torch._C._distributed_c10d")
    name = DUMPS.get(backend, "")
    dump = getattr(c10d, name, None)
    if dump is None:
        return {"why": f"torch {torch.__version__} has no {name}"}
    try:
        return read(json.loads(dump(includeCollectives=True, onlyActive=True)))
    except Exception as error:
        return {"why": f"{type(error).__name__}: {error}"[:200]}


def read(told: dict[str, Any]) -> dict[str, Any]:
    """The group of all ranks is the first that was made: ``0``."""
    status = told.get("pg_status", {}).get("0")
    if status is None:
        return {"why": "it has recorded nothing"}
    active = [entry for entry in told.get("entries", []) if not entry.get("retired")]
    found = {
        "enqueued": int(status["last_enqueued_collective"]),
        "completed": int(status["last_completed_collective"]),
    }
    if active:
        sizes = (active[0].get("input_sizes") or [[0]])[0]
        elements = 1
        for length in sizes:
            elements *= length
        found.update(active=active[0].get("profiling_name", ""), elements=elements)
    return found
