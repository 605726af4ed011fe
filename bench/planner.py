"""Do the planner's figures come true? `python bench/planner.py [--peers]`

Replays start-ups that other people logged: the folder named by DIAG_PLANNER_CASES, else ../shared/planner-cases beside
the project, else bench/startups. Figures are JSON lines on stdout, rows and outliers are on stderr; exit status 1 where
a bar is not met. ``--peers`` prints what others answer on the same rows.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _cases
import _figures
import _logged
import _peers
import _predict
import _replay
from _figures import Figure
from _outliers import OUTLIERS
from _replay import Replayed

FAR = 8.0
"""Percent: a row further off is told on its own."""


def main(arguments: Sequence[str]) -> int:
    folder = _logged.folder()
    if not (folder / "cases.jsonl").exists():
        print(f"no logged start-ups in {folder}: nothing replayed (DIAG_PLANNER_CASES names another folder)")
        return 0
    rows = _logged.rows(folder)
    counted, left_out = _cases.cases(rows, folder.parent / "models", _predict.device_bytes)
    replayed = [_replay.replay(case, _predict.predict) for case in counted]
    _say_rows(len(rows), left_out, replayed)
    if "--peers" in arguments:
        print("\n".join(_peers.table(replayed)))
        return 0
    figures = _all_figures(replayed)
    for figure in figures:
        _say(figure)
    _say_verdicts(replayed)
    missed = [figure.name for figure in figures if figure.met is False]
    if missed:
        print(f"bars not met: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


def _all_figures(replayed: Sequence[Replayed]) -> list[Figure]:
    known = [one for one in replayed if one.not_known is None]
    return [
        *_figures.kv_tokens(known),
        *_figures.weights(known),
        *_figures.requests(known),
        *_figures.intervals(known),
        *_figures.verdicts(replayed),
    ]


def _say_verdicts(replayed: Sequence[Replayed]) -> None:
    """Of each row that did not get the verdict it should have: what decided."""
    for one in replayed:
        told = one.informed or one.before if one.case.row.out_of_memory else one.before
        if told is None or not (one.case.row.started or one.case.row.out_of_memory):
            continue
        if told.verdict != ("FITS" if one.case.row.started else "NO"):
            reason = OUTLIERS.get(one.case.row.id, "no reason is known")
            outcome = "started" if one.case.row.started else "out of memory"
            print(f"  {one.case.row.id} {outcome}, called {told.verdict}: {told.why}: {reason}", file=sys.stderr)


def _say(figure: Figure) -> None:
    values = [value for _, value in figure.of]
    print(json.dumps({
        "name": f"planner_{figure.name}", "value": round(figure.value, 3), "unit": figure.unit,
        "ratio": None if figure.ratio is None else round(figure.ratio, 3),
        "against": figure.against + ("" if figure.met is None else ", met" if figure.met else ", NOT met"),
        "runs": len(values), "spread": [round(min(values), 2), round(max(values), 2)] if values else [],
    }))  # fmt: skip
    far = {"%": [(row, value) for row, value in figure.of if abs(value) > FAR]}.get(figure.unit, [])
    if figure.name.endswith("_median") and far:
        print(f"  {figure.name}: off by more than {FAR:g} %:", file=sys.stderr)
        for row, value in sorted(far, key=lambda pair: -abs(pair[1])):
            print(f"    {row} {value:+.1f}: {OUTLIERS.get(row, 'no reason is known')}", file=sys.stderr)


def _say_rows(total: int, left_out: Mapping[str, str], replayed: Sequence[Replayed]) -> None:
    told, counted = sys.stderr, [one.case for one in replayed]
    logged = sum(case.logged is not None for case in counted)
    print(f"{total} rows; {len(counted)} count, {logged} of them logged-input", file=told)
    for why, count in Counter(left_out.values()).most_common():
        who = ", ".join(row for row, said in left_out.items() if said == why)
        print(f"  {count:3} do not: {why} ({who})", file=told)
    for row, flags in _cases.SAID.items():
        print(f"  {row} tells in its text: {', '.join(f'{name} {value}' for name, value in flags.items())}", file=told)
    for one in replayed:
        why_not = f"not known: {one.not_known[:100]}" if one.not_known else one.refuted
        if why_not:
            print(f"  {one.case.row.id} {why_not}", file=told)
    for why, count in Counter(why for case in counted for why in case.assumed).most_common():
        print(f"  {count:3} assume {why}", file=told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
