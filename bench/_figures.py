"""What do replayed start-ups say of the planner, in figures, and which bar does each have to meet?"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

import msgspec
from _cases import Prediction
from _replay import Replayed

from diag.units import GIB

FEWEST_FOR_P90 = 20


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of output. ``met`` None: no bar, or too few rows for it. ``of``: rows with their part of the value."""

    name: str
    value: float
    unit: str
    against: str
    met: bool | None
    ratio: float | None
    of: Sequence[tuple[str, float]]


def kv_tokens(replayed: Sequence[Replayed]) -> list[Figure]:
    errors = _signed(replayed, _tokens_informed)
    terms = {one.case.row.id for one in replayed if one.case.logged and one.case.logged.kv is None}
    by_terms = [(name, error) for name, error in errors if name in terms]
    return [
        *_median_and_p90("kv_tokens_logged", errors, 2.0, 8.0),
        *_median_and_p90("kv_tokens_logged_from_terms", by_terms, None, None),
        *_median_and_p90("kv_tokens_before_the_start", _signed(replayed, _tokens_before), None, None),
    ]


def weights(replayed: Sequence[Replayed]) -> list[Figure]:
    return _median_and_p90("weights_logged", _signed(replayed, _weights), 1.0, None)


def requests(replayed: Sequence[Replayed]) -> list[Figure]:
    return _median_and_p90("kv_of_one_request", _signed(replayed, _request), None, None)


def intervals(replayed: Sequence[Replayed]) -> list[Figure]:
    """Rows with defaults and, apart, those whose memory terms were logged, both replayed as before the start."""
    figures = []
    for name, logged in (("defaulted", False), ("logged", True)):
        rows = [one for one in replayed if (one.case.logged is not None) is logged or not logged]
        inside = [(one.case.row.id, 100.0 * held) for one in rows if (held := _inside(one)) is not None]
        widths = [(one.case.row.id, width) for one in rows if _inside(one) is not None and (width := _width(one))]
        if not inside:
            continue
        share = statistics.fmean(value for _, value in inside)
        median = statistics.median(value for _, value in widths)
        bars = not logged
        figures += [
            Figure(name=f"interval_holds_{name}", value=share, unit="%", against="bar 85-97 %" if bars else "no bar",
                   met=85 <= share <= 97 if bars else None, ratio=share / 85, of=inside),
            Figure(name=f"interval_width_{name}", value=median, unit="% of memory",
                   against="bar 12 % of memory" if bars else "no bar", met=median <= 12 if bars else None,
                   ratio=median / 12, of=widths),
        ]  # fmt: skip
    return figures


def verdicts(replayed: Sequence[Replayed]) -> list[Figure]:
    """Of out-of-memory rows with what their log measured where it did, and apart, all as before the start."""
    oom = [one for one in replayed if one.case.row.out_of_memory and one.case.row.gpu]
    early = [(one, _verdict(one, one.before)) for one in oom]
    oom_told = [(one, _verdict(one, one.informed or one.before)) for one in oom]
    started = [(one, _verdict(one, one.before)) for one in replayed if one.case.row.started]
    return [
        _share("oom_called_FITS", oom_told, "FITS", "bar 0 %", lambda share: share == 0),
        _share("oom_called_NO", oom_told, "NO", "bar 80 %", lambda share: share >= 80),
        _share("oom_before_the_start_called_FITS", early, "FITS", "bar 0 %", lambda share: share == 0),
        _share("oom_before_the_start_called_NO", early, "NO", "no bar", None),
        _share("started_called_RISKY", started, "RISKY", "bar 15 %", lambda share: share <= 15),
        _share("started_called_NO", started, "NO", "no bar", None),
    ]


def _verdict(one: Replayed, told: Prediction | None) -> str | None:
    """None: not replayed, since its weights or its memory are not known."""
    return "UNKNOWN" if one.not_known else told.verdict if told else None


def _share(
    name: str,
    rows: Sequence[tuple[Replayed, str | None]],
    verdict: str,
    against: str,
    bar: Callable[[float], bool] | None,
) -> Figure:
    hits = [(one.case.row.id, 100.0 * (told == verdict)) for one, told in rows if told is not None]
    share = statistics.fmean(value for _, value in hits) if hits else 0.0
    met = bar(share) if bar and hits else None
    return Figure(name=name, value=share, unit="%", against=against, met=met, ratio=None, of=hits)


def _median_and_p90(
    name: str, errors: Sequence[tuple[str, float]], median_bar: float | None, p90_bar: float | None
) -> list[Figure]:
    """Of the absolute errors; no p90 of fewer than 20."""
    sizes = sorted(abs(error) for _, error in errors)
    if not sizes:
        return []
    figures = [_figure(f"{name}_median", statistics.median(sizes), median_bar, errors)]
    if len(sizes) >= FEWEST_FOR_P90:
        p90 = statistics.quantiles(sizes, n=10, method="inclusive")[-1]
        figures.append(_figure(f"{name}_p90", p90, p90_bar, errors))
    return figures


def _figure(name: str, value: float, bar: float | None, errors: Sequence[tuple[str, float]]) -> Figure:
    against = "no bar" if bar is None else f"bar {bar:g} %"
    met = None if bar is None else value <= bar
    return Figure(name=name, value=value, unit="%", against=against, met=met, ratio=bar and value / bar, of=errors)


def _signed(
    replayed: Iterable[Replayed], pair: Callable[[Replayed], tuple[float, float] | None]
) -> list[tuple[str, float]]:
    """Signed error in percent of the logged value, by row."""
    found = ((one.case.row.id, pair(one)) for one in replayed)
    return [(name, 100.0 * (both[0] / both[1] - 1)) for name, both in found if both]


def _tokens_informed(one: Replayed) -> tuple[float, float] | None:
    return _tokens(one, one.informed) if one.case.logged else None


def _tokens_before(one: Replayed) -> tuple[float, float] | None:
    return _tokens(one, one.before) if one.case.row.started else None


def _tokens(one: Replayed, prediction: Prediction | None) -> tuple[float, float] | None:
    """Of tokens; where the log has none, of the KV memory."""
    logged, kv = one.case.row.tokens, one.case.measured.kv
    if prediction is None or (one.case.logged == one.case.measured and not logged):
        return None
    if logged:
        return prediction.printed_tokens.mid or 0, logged
    return (prediction.kv_bytes.mid or 0, kv) if kv and kv > 0 else None


def _weights(one: Replayed) -> tuple[float, float] | None:
    logged, prediction = one.case.row.weights_gib_per_gpu, one.informed or one.before
    if not logged or prediction is None or prediction.weights_bytes is None or not one.case.weights_known:
        return None
    return prediction.weights_bytes / GIB, logged


def _request(one: Replayed) -> tuple[float, float] | None:
    logged, prediction = one.case.row.kv_needed_gib, one.informed or one.before
    return (prediction.request_bytes / GIB, logged) if logged and prediction and prediction.request_bytes else None


def _inside(one: Replayed) -> bool | None:
    """Whether the logged KV memory, or else the logged tokens, lie in the interval; None: not to be said."""
    if one.before is None or not one.case.row.started or not one.case.weights_known:
        return None
    span, logged = (one.before.kv_bytes, one.case.measured.kv) if one.case.measured.kv is not None else (
        one.before.printed_tokens, one.case.row.tokens)  # fmt: skip
    return None if logged is None else span.low <= logged <= span.high


def _width(one: Replayed) -> float:
    total = one.case.inputs.total_bytes
    assert one.before is not None
    assert total is not None
    return 100.0 * (one.before.kv_bytes.high - one.before.kv_bytes.low) / total
