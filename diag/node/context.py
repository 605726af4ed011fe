"""What does a process hold of a GPU's memory before its first tensor? Told by a process beside it, on the same GPU.

The second process starts its context while the first one watches the free memory, so nothing needs NVML. Each has its
own ends of two pipes alone: whichever ends is noticed by the other.
"""

from __future__ import annotations

import contextlib
import os

import markers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from measure import Stand

GEMM_N = 256
READY = b"."
WORDS_BYTES = 4096


def measure(at: Stand) -> None:
    torch, device = at.torch, at.devices[0]
    (here, there), (go, went) = os.pipe(), os.pipe()
    pid = os.fork()  # before this process has a context of its own: one cannot be inherited
    if pid == 0:
        os.close(here)
        os.close(went)
        _be_the_second(torch, device, go, there)
    os.close(there)
    os.close(go)
    torch.zeros(1, device=device)
    at.meet()
    free_bytes = [_free(torch, device)]
    for _ in range(2):
        _let_go_on(went)
        said = os.read(here, WORDS_BYTES)
        if said != READY:
            words = said.decode("utf-8", "replace") or "it ended without a word"
            raise RuntimeError(f"the second process on the GPU: {words}")
        free_bytes.append(_free(torch, device))
    _let_go_on(went)
    os.waitpid(pid, 0)
    at.say(context_bytes=free_bytes[0] - free_bytes[1], with_gemm_bytes=free_bytes[0] - free_bytes[2])


def _let_go_on(went: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended, and said why
        os.write(went, READY)


def _be_the_second(torch: Any, device: str, go: int, there: int) -> None:
    """In the second process, to its end."""
    try:
        _be_measured(torch, device, go, there)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(there, markers.one_line(error).encode())
    finally:
        os._exit(0)


def _be_measured(torch: Any, device: str, go: int, there: int) -> None:
    """A context; then a matrix product, which brings its library and workspace along."""
    if not os.read(go, 1):
        return
    torch.zeros(1, device=device)
    _free(torch, device)
    os.write(there, READY)
    if not os.read(go, 1):
        return
    matrix = torch.ones(GEMM_N, GEMM_N, device=device)
    torch.mm(matrix, matrix)
    _free(torch, device)
    os.write(there, READY)
    os.read(go, 1)


def _free(torch: Any, device: str) -> int:
    torch.cuda.synchronize(device)
    return int(torch.cuda.mem_get_info(device)[0])
