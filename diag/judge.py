"""What do the checks say of a Snapshot, and is the cluster healthy? One sealed call of pytest; pure in the Snapshot."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diag import __version__
from diag.catalogue import Check
from diag.culprits import culprits
from diag.errors import DiagError
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import About, Selection, StageTime, Verdict, Verdicts
from diag.outcomes import Hearing
from diag.plugin import Checks, Subjects

FAIL_ON = ("failed", "missing", "never")
HEALTHY, WRONG, NOTHING_JUDGED, NOT_KNOWN = 0, 1, 2, 3
HERE = Path(__file__).parent
UNWANTED = (
    "cacheprovider", "capture", "debugging", "doctest", "faulthandler", "junitxml", "legacypath", "logging", "pastebin",
    "recwarn", "setuponly", "setupplan", "stepwise", "subtests", "terminalprogress", "threadexception",
    "tmpdir", "unittest", "unraisableexception",
)  # fmt: skip
"""Plugins of pytest that write files or touch the process: an embedded run needs none of them.

The one that prints has to stay, since introspection asks it for its colours; what it prints is dropped.
"""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """``broken``: why a check or a file of them cannot be asked; ``ignored``: what looks like a check and is none."""

    checks: tuple[Check, ...]
    broken: tuple[str, ...]
    ignored: tuple[str, ...]


def judge(
    snapshot: Snapshot,
    *,
    folders: Sequence[Path] = (),
    keyword: str = "",
    exitfirst: bool = False,
    fail_on: str = "failed",
) -> Verdicts:
    """Judge with the checks of diag and of ``folders``. Raises DiagError where it was asked wrongly.

    ``fail_on``: ``failed`` is the rule of the exit status; ``missing``: what is optional counts too when it was not
    measured; ``never``: 0 whatever was found, unless nothing was judged.
    """
    if fail_on not in FAIL_ON:
        raise DiagError("--fail-on", f"{fail_on!r}: expected {', '.join(FAIL_ON)}")
    hearing = Hearing(snapshot)
    checks = _run(hearing, folders, keyword, exitfirst)
    verdicts = tuple(hearing.verdicts + checks.broken)
    known = checks.checks
    selection = Selection(
        keyword=keyword,
        folders=tuple(map(str, folders)),
        exitfirst=exitfirst,
        asked=len({verdict.check for verdict in verdicts}),
        known=checks.known,
        ignored=tuple(checks.ignored),
    )
    return Verdicts(
        **_context(snapshot),
        selection=selection,
        fail_on=fail_on,
        exit_status=exit_status(snapshot, verdicts, known, fail_on),
        checks=_asked(verdicts, checks.abouts()),
        verdicts=verdicts,
        culprits=culprits(snapshot, verdicts, known),
        stages=_stages(snapshot),
    )


def nothing_judged(snapshot: Snapshot) -> Verdicts:
    """What is known without any check: how the nodes were reached, and where ranks ended."""
    return Verdicts(
        **_context(snapshot),
        exit_status=NOTHING_JUDGED,
        checks={},
        verdicts=(),
        culprits=culprits(snapshot, (), {}),
        stages=_stages(snapshot),
    )


def _context(snapshot: Snapshot) -> dict[str, Any]:
    """What says of which run the verdicts are, and who judged it."""
    return {
        "diag": __version__,
        "run_id": snapshot.run_id,
        "taken_at": snapshot.taken_at,
        "level": snapshot.level,
        "hosts": tuple(node.name for node in snapshot.nodes),
        "interrupted": snapshot.interrupted,
    }


def catalogue(folders: Sequence[Path] = (), keyword: str = "") -> tuple[Check, ...]:
    """All checks, in the order in which they are asked; nothing is judged."""
    found = listed(folders, keyword)
    if found.broken:
        raise DiagError("checks", found.broken[0])
    return found.checks


def listed(folders: Sequence[Path] = (), keyword: str = "") -> Listed:
    """The same, with what cannot be asked beside it."""
    checks = _run(None, folders, keyword, exitfirst=False)
    broken = tuple(str(verdict.summary) for verdict in checks.broken)
    return Listed(checks=tuple(checks.checks.values()), broken=broken, ignored=tuple(checks.ignored))


def abouts(folders: Sequence[Path] = ()) -> dict[str, About]:
    return {check.id: check.about for check in catalogue(folders)}


def exit_status(snapshot: Snapshot, verdicts: Iterable[Verdict], checks: Mapping[str, Check], fail_on: str) -> int:
    """The first that applies: 2 nothing judged, 1 wrong, 3 not known, 0."""
    found = {(verdict.check, verdict.outcome, verdict.asked) for verdict in verdicts}
    outcomes = {outcome for _, outcome, asked in found if asked}
    if not snapshot.nodes or not outcomes - {"skipped"}:
        return NOTHING_JUDGED
    if fail_on == "never":
        return HEALTHY
    if "failed" in outcomes:
        return WRONG
    unknown = {(check, asked) for check, outcome, asked in found if outcome == "not_measured"}
    required = [check for check, asked in unknown if fail_on == "missing" or (asked and not checks[check].optional)]
    if required or "broken" in outcomes or any(node.reach.outcome != "answered" for node in snapshot.nodes):
        return NOT_KNOWN
    return HEALTHY


def builtin_folder() -> Path:
    """``checks/`` of the source tree, or what the wheel ships of it; an editable install leaves a stale copy."""
    source = HERE.parent / "checks"
    return source if (HERE.parent / "pyproject.toml").exists() and source.is_dir() else HERE / "checks"


def _run(hearing: Hearing | None, folders: Sequence[Path], keyword: str, exitfirst: bool) -> Checks:
    paths = list(dict.fromkeys(folder.resolve() for folder in (builtin_folder(), *folders)))
    for path in paths:
        if path.is_file():
            raise DiagError("--checks", f"{path}: a file, not a folder", do=f"name its folder: --checks {path.parent}")
        if not path.is_dir():
            raise DiagError("--checks", f"{path}: no such folder", do="name a folder of check files")
    checks = Checks(hearing, paths[1:])
    arguments = [
        f"-c{HERE / 'judge.ini'}", f"--rootdir={paths[0].parent}", "--import-mode=importlib", "--strict-markers",
        "--noconftest", "--continue-on-collection-errors", "-qq", "--no-header", "--no-summary", "--color=no",
        *(word for name in UNWANTED for word in ("-p", f"no:{name}")),
        *(("-k", keyword) if keyword else ()), *(("-x",) if exitfirst else ()), *map(str, paths),
    ]  # fmt: skip
    with _sealed(paths):
        status = pytest.main(arguments, plugins=[checks, Subjects()])
    if checks.interrupted:
        raise KeyboardInterrupt
    if checks.misuse is not None:
        raise checks.misuse
    if status in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR):
        raise RuntimeError(f"pytest ended with {status!r}")
    return checks


@contextlib.contextmanager
def _sealed(folders: Sequence[Path]) -> Generator[None]:
    """Nothing around reaches the checks' pytest, and nothing of it stays: another pytest may be our caller."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PYTEST_")}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    modules = set(sys.modules)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for name in [name for name in list(os.environ) if name.startswith("PYTEST_")]:
            del os.environ[name]
        os.environ.update(kept)
        _forget(set(sys.modules) - modules, folders)


def _forget(names: set[str], folders: Sequence[Path]) -> None:
    """Modules of check files, and the parents that pytest invents for them."""
    ours = {name for name in names if _lies_in(sys.modules[name], folders)}
    for name in ours | {name for name in names if any(own.startswith(f"{name}.") for own in ours)}:
        del sys.modules[name]


def _lies_in(module: object, folders: Sequence[Path]) -> bool:
    file = getattr(module, "__file__", None)
    places = [file] if file else list(getattr(module, "__path__", []))
    return any(Path(place).is_relative_to(folder) for place in places for folder in folders)


def _stages(snapshot: Snapshot) -> tuple[StageTime, ...]:
    return tuple(msgspec.convert(stage, StageTime, from_attributes=True) for stage in snapshot.stages)


def _asked(verdicts: Iterable[Verdict], about: Mapping[str, About]) -> dict[str, About]:
    return {check: about[check] for check in dict.fromkeys(verdict.check for verdict in verdicts)}
