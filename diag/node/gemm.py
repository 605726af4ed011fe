"""How many operations a second does a device do in matrix products of one dtype, and is what it computes right?

Data is random: zeros would draw less power, and run at clocks that no model sees. C is checked against A·(B·x) in
double precision for a random x of ±1 (Freivalds), all rows, once; later products must have the very same bits.
It does not see an error in one element of C below about 1.4 times a typical element (bf16).
"""

from __future__ import annotations

import time

import stopwatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from measure import Stand

ALLOWED = {"bf16": 2.0**-6, "fp16": 2.0**-8, "fp8": 2.0**-5, "tf32": 2.0**-12, "fp32": 2.0**-14}
"""Of a row's length (its Euclidean norm): ten times what rounding C and adding in fp32 (fp8: in 14 bits) come to."""
ROWS = 1024
STRETCH_S, LONGEST_STRETCH_S, STRETCHES = 0.1, 1.0, 50
"""A stretch cannot be cut short: what lasts for minutes has many of a second."""
TELL_S = 10.0
"""What lasts longer says what it has every so often: it may be stopped at any time."""


def measure(at: Stand, *, dtype: str, n: int, seconds: float) -> None:
    """Say ``flops_per_s`` of each stretch of time until ``seconds`` are over.

    A later row has all that an earlier one had; the first one after a wrong product comes at once.
    """
    torch, device = at.torch, at.devices[0]
    a, b, multiply = operands(torch, device, dtype, n)
    c = multiply()
    wrong = check(torch, a, b, c, dtype)
    stretch_s = min(LONGEST_STRETCH_S, max(STRETCH_S, seconds / STRETCHES))
    once_s = stopwatch.timed(torch, device, multiply, 3) / 3
    times = max(1, int(stretch_s / max(once_s, 1e-7)))
    at.meet()
    rates: list[float] = []
    changed, told_wrong, told = 0, False, time.monotonic()
    for took_s in stopwatch.each(lambda: stopwatch.timed(torch, device, multiply, times), seconds):
        rates.append(2.0 * n**3 * times / took_s)
        changed += not torch.equal(multiply(), c)
        newly_wrong = bool(wrong or changed) and not told_wrong
        if newly_wrong or time.monotonic() - told > TELL_S:
            at.say(**_row(dtype, n, rates, wrong, changed))
            told_wrong, told = told_wrong or newly_wrong, time.monotonic()
    at.say(**_row(dtype, n, rates, wrong, changed))


def _row(dtype: str, n: int, rates: list[float], wrong: str, changed: int) -> dict[str, Any]:
    wrong = wrong or (f"{changed} of {len(rates)} later products had other bits than the first" if changed else "")
    return {
        "dtype": dtype, "n": n, "flops_per_s": stopwatch.thinned(rates), "verified": not wrong, "wrong": wrong,
    }  # fmt: skip


def operands(torch: Any, device: str, dtype: str, n: int) -> tuple[Any, Any, Callable[[], Any]]:
    """A, B and a function that returns a new A·B."""
    generator = torch.Generator(device=device).manual_seed(n)
    a, b = (torch.randn(n, n, device=device, generator=generator) for _ in range(2))
    if dtype == "fp8":
        a, b = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn)
        one = torch.ones((), device=device)
        multiply = torch._scaled_mm  # noqa: SLF001 - torch has no public name for it, and engines call this one
        return a, b.t(), lambda: multiply(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    if dtype in ("fp32", "tf32"):
        torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
        a, b = a.bfloat16().float(), b.bfloat16().float()  # what TF32 leaves of a number is all there is of these
    else:
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
        a, b = a.to(kind), b.to(kind)
    return a, b, lambda: torch.mm(a, b)


def check(torch: Any, a: Any, b: Any, c: Any, dtype: str) -> str:
    """Which rows of C are further from A·B than rounding explains; empty: none."""
    n = c.shape[0]
    x = torch.randint(0, 2, (n,), device=c.device, generator=torch.Generator(device=c.device).manual_seed(1)) * 2.0 - 1
    x = x.double()
    y = torch.cat([_double(rows) @ x for rows in b.split(ROWS)])
    bad, worst = 0, 0.0
    for rows_a, rows_c in zip(a.split(ROWS), c.split(ROWS)):
        found = _double(rows_c)
        off = (found @ x - _double(rows_a) @ y).abs() / (found.norm(dim=1) + 1e-30)
        bad += int((~(off <= ALLOWED[dtype])).sum())  # not a number is not right either
        worst = max(worst, float(off.nan_to_num(nan=float("inf")).max()))
    return f"{bad} of {n} rows are wrong, off by up to {worst:.2g} of their length" if bad else ""


def _double(rows: Any) -> Any:
    return rows.float().double()
