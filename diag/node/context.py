"""What does a process hold of a GPU's memory before its first tensor? Told by a process beside it, on the same GPU.

The second process starts its context while the first one watches the free memory, so nothing needs NVML.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from measure import Stand

GEMM_N = 256


def measure(at: Stand) -> None:
    torch, device = at.torch, at.devices[0]
    (here, there), (go, went) = os.pipe(), os.pipe()
    pid = os.fork()  # before this process has a context of its own: one cannot be inherited
    if pid == 0:
        try:
            _be_measured(torch, device, go, there)
        finally:
            os._exit(0)
    torch.zeros(1, device=device)
    at.meet()
    free_bytes = [_free(torch, device)]
    for _ in range(2):
        os.write(went, b".")
        if os.read(here, 1) != b".":
            raise RuntimeError("the second process on the GPU ended early")
        free_bytes.append(_free(torch, device))
    os.write(went, b".")
    os.waitpid(pid, 0)
    at.say(context_bytes=free_bytes[0] - free_bytes[1], with_gemm_bytes=free_bytes[0] - free_bytes[2])


def _be_measured(torch: Any, device: str, go: int, there: int) -> None:
    """A context; then a matrix product, which brings its library and workspace along."""
    os.read(go, 1)
    torch.zeros(1, device=device)
    _free(torch, device)
    os.write(there, b".")
    os.read(go, 1)
    matrix = torch.ones(GEMM_N, GEMM_N, device=device)
    torch.mm(matrix, matrix)
    _free(torch, device)
    os.write(there, b".")
    os.read(go, 1)


def _free(torch: Any, device: str) -> int:
    torch.cuda.synchronize(device)
    return int(torch.cuda.mem_get_info(device)[0])
