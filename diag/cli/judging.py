"""How does the command line judge a Snapshot and tell the verdicts?"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import msgspec

from diag.catalogue import Check
from diag.cli import ASKED_WRONGLY, discard_stdout
from diag.errors import DiagError
from diag.facts import baseline as baselines
from diag.facts import snapshot as snapshots
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import Verdicts
from diag.judge import judge, listed
from diag.report.ink import Ink
from diag.report.junit import junit_xml
from diag.report.listing import listing_lines
from diag.report.machine import verdicts_json
from diag.report.page import page
from diag.report.shown import Shown
from diag.rundir import last_run

UNWRITTEN = "not every file could be written"


class Judging(msgspec.Struct, frozen=True, kw_only=True):
    """What -k, -x, --checks, --baseline and --fail-on said."""

    folders: tuple[Path, ...] = ()
    keyword: str = ""
    exitfirst: bool = False
    fail_on: str = "failed"
    baseline: Path | None = None

    def compared(self, snapshot: Snapshot) -> Snapshot:
        """With the figures of the earlier run; as it is where none was named. Raises DiagError for a wrong one."""
        if self.baseline is None:
            return snapshot
        return msgspec.structs.replace(snapshot, baseline=baselines.of(snapshots.load(self.baseline)))

    def require_baseline(self) -> None:
        """Before anything is measured."""
        if self.baseline is not None:
            snapshots.load(self.baseline)

    def judge(self, snapshot: Snapshot) -> Verdicts:
        return judge(
            snapshot,
            folders=self.folders,
            keyword=self.keyword,
            exitfirst=self.exitfirst,
            fail_on=self.fail_on,
        )

    def checks(self) -> Mapping[str, Check]:
        """What each selected check says of itself. Raises DiagError for a wrong -k or --checks."""
        found = listed(self.folders, self.keyword)
        if not found.checks and not found.broken:  # what is broken gets a verdict that says so
            raise DiagError("-k", f"{self.keyword!r} matches no check", do="see them with: diag list")
        return {check.id: check for check in found.checks}


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """What -v, -q, --json and --junit said."""

    verbose: bool = False
    quiet: bool = False
    as_json: bool = False
    junit: Path | None = None

    @property
    def verbosity(self) -> int:
        return int(self.verbose) - int(self.quiet)

    def require_writable(self) -> None:
        """Before anything is measured: a result that cannot be written is no result."""
        if self.junit is None:
            return
        folder = self.junit.absolute().parent
        if self.junit.is_dir():
            raise DiagError("--junit", f"{self.junit}: a directory", do="expected a file, e.g. report.xml")
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise DiagError("--junit", f"{folder}: no directory that can be written to")

    def write_junit(self, xml: bytes) -> None:
        if self.junit is None:
            return
        try:
            self.junit.write_bytes(xml)
        except OSError as error:
            raise DiagError("--junit", f"{self.junit}: {(error.strerror or str(error)).lower()}") from error

    def tell(self, shown: Shown) -> None:
        try:
            if self.as_json:
                click.echo(verdicts_json(shown.verdicts), nl=False)
            else:
                ink = Ink(sys.stdout)
                ink.write(page(shown, ink))
        except OSError as error:
            discard_stdout()
            if not isinstance(error, BrokenPipeError):  # whoever read our output has seen enough: no error
                raise DiagError("standard output", (error.strerror or str(error)).lower()) from error


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Records refer to each other in no circle, and of 1,000 nodes there are millions to look through in vain."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@uncollected()
def check(path: Path | None, judging: Judging, telling: Telling) -> int:
    """Judge the Snapshot at ``path`` (None: of the last run), tell, and the exit status."""
    telling.require_writable()
    place = path or last_run()
    snapshot = judging.compared(snapshots.load(place))
    checks = judging.checks()
    verdicts = judging.judge(snapshot)
    unwritten = None
    if telling.junit is not None:
        try:
            telling.write_junit(junit_xml(verdicts, checks, snapshot))
        except DiagError as error:
            unwritten, verdicts = error, with_status(verdicts, ASKED_WRONGLY)
    telling.tell(
        Shown(
            verdicts=verdicts,
            snapshot=snapshot,
            checks=checks,
            place=str(place),
            verbosity=telling.verbosity,
            exit_status=verdicts.exit_status,
            ends_because=UNWRITTEN if unwritten else "",
        )
    )
    if unwritten is not None:
        raise unwritten
    return verdicts.exit_status


def with_status(verdicts: Verdicts, status: int) -> Verdicts:
    return msgspec.structs.replace(verdicts, exit_status=status)


def list_checks(keyword: str, folders: tuple[Path, ...]) -> int:
    """Say what each check means; 2 where none matches or one cannot be asked."""
    found = listed(folders, keyword)
    ink = Ink(sys.stdout)
    ink.write(listing_lines(found.checks, ink, broken=found.broken, ignored=found.ignored))
    return 0 if found.checks and not found.broken else 2
