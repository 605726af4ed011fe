"""Does a device compute the same bits as every other one? Digests of matrix products made from one seed.

``exact``: small whole numbers, whose sums every order of adding makes alike, so any right device finds what whole
numbers on the CPU come to. ``rounded``: ordinary numbers; the same bits from devices of one model with one software.
"""

from __future__ import annotations

import ctypes
import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from measure import Stand

SMALL = 5
ROWS = 64
"""Rows of the exact product that the CPU computes too: spread over the matrix, so that every column counts."""


def measure(at: Stand, *, n: int = 4096, rounds: int = 3) -> None:
    torch, device = at.torch, at.devices[0]
    a, b = whole(torch, n, 1), whole(torch, n, 2)
    rows = torch.arange(0, n, max(1, n // ROWS))
    expected = _digest(a[rows].double() @ b.double())
    torch.tanh(torch.zeros(1, device=device))  # MKL before 2025 rounds coarsely where threads race to call it first
    at.meet()
    exact, rounded = set(), set()
    for _ in range(rounds):
        exact.add(_exact(torch, device, a, b, rows))
        rounded.add(_rounded(torch, device, a, b))
    at.say(
        kind=_kind(torch, device),
        exact="/".join(sorted(exact)),
        expected=expected,
        rounded="/".join(sorted(rounded)),
        repeated=len(exact) == len(rounded) == 1,
    )


def whole(torch: Any, n: int, seed: int) -> Any:
    """A matrix of n × n whole numbers from -SMALL to SMALL, computed on the CPU without a random generator."""
    mixed = torch.arange(n * n, dtype=torch.int64).add_(seed * 7919).mul_(2654435761).bitwise_right_shift_(13)
    return mixed.remainder_(2 * SMALL + 1).sub_(SMALL).view(n, n)


def _exact(torch: Any, device: str, a: Any, b: Any, rows: Any) -> str:
    """A digest of some rows of C in fp32; that all of C is alike in the other dtypes, once rounded to them."""
    for kind in ("bf16", "fp16"):  # parts of a sum must not be rounded before they are added
        setattr(torch.backends.cuda.matmul, f"allow_{kind}_reduced_precision_reduction", False)
    torch.set_float32_matmul_precision("highest")
    c = torch.mm(a.to(device, torch.float32), b.to(device, torch.float32))
    digest = _digest(c[rows.to(device)].double())
    for kind in (torch.bfloat16, torch.float16):
        if not torch.equal(torch.mm(a.to(device, kind), b.to(device, kind)), c.to(kind)):
            digest += f"-not-in-{str(kind)[6:]}"
    return digest


def _rounded(torch: Any, device: str, a: Any, b: Any) -> str:
    found = ""
    for kind in (torch.bfloat16, torch.float16, torch.float32):
        x, y = ((m.to(device, torch.float32) * 0.7310585786300049).to(kind) for m in (a, b))
        found += _digest(torch.tanh(torch.mm(x, y).float() * 0.01))
    return hashlib.sha256(found.encode()).hexdigest()


def _digest(numbers: Any) -> str:
    """Read from memory: torch may be there without numpy."""
    plain = numbers.cpu().contiguous()
    return hashlib.sha256(ctypes.string_at(plain.data_ptr(), plain.numel() * plain.element_size())).hexdigest()


def _kind(torch: Any, device: str) -> str:
    if not device.startswith("cuda"):
        return f"cpu, torch {torch.__version__}"
    return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
