"""How does pytest run checks? One item is one check, called for each subject that it names as an argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from diag.catalogue import MARKS, PREFIX, Applies, Check, conditions, describe, identity
from diag.errors import DiagError
from diag.facts.verdict import About, Verdict
from diag.outcomes import Hearing, Question, where
from diag.subjects import PLACES

TEST = "test_"
SUBJECT = object()
"""What stands in for a subject while pytest fills in a check's other arguments."""


def _stand_in(name: str) -> Any:
    @pytest.fixture(name=name, scope="session")
    def subject(_self: object) -> object:
        return SUBJECT

    return subject


Subjects = type("Subjects", (), {name: _stand_in(name) for name in PLACES})
"""A second plugin: it makes the subjects' names known to pytest as arguments."""


class Checks:
    """The plugin: collects the checks and, given a hearing, judges with them."""

    def __init__(self, hearing: Hearing | None, folders: Sequence[Path] = ()) -> None:
        """``folders``: those of one's own, each of which is to hold a check."""
        self.hearing = hearing
        self.checks: dict[str, Check] = {}
        self.broken: list[Verdict] = []
        self.misuse: DiagError | None = None
        self.interrupted = False
        self.known = 0
        """How many there are, also those that -k leaves out."""
        self.ignored: list[str] = []
        """What its author may take for a check, and pytest does not."""
        self._folders = folders
        self._unread: list[Path] = []
        self._applies: dict[str, tuple[Applies, ...]] = {}

    def pytest_configure(self, config: pytest.Config) -> None:
        for mark in MARKS:
            config.addinivalue_line("markers", mark)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, object, object]:
        everything = {identity(item.name) for item in items}
        self.known = len(items)
        self._require_checks([item.path for item in items])
        try:
            outcome = yield
        except pytest.UsageError as error:  # pytest would print it
            what = str(error).removeprefix("Wrong expression passed to '-k': ")
            self.misuse = DiagError("-k", what, do='expected e.g. -k "memlock or mtu"')
            outcome = None
            items.clear()
        described = [item for item in items if self._describe(item, everything)]
        items[:] = _by_need(described, self.checks)
        return outcome

    def _require_checks(self, files: Sequence[Path]) -> None:
        """A folder of one's own that yields none is a mistake: nothing of it would be judged, without a word."""
        seen = [path.resolve() for path in (*files, *self._unread)]
        for folder in self._folders:
            if not any(path.is_relative_to(folder) for path in seen):
                ignored = f" (ignored: {', '.join(self.ignored)})" if self.ignored else ""
                do = f"a check is a function whose name begins with {PREFIX}, in a .py file"
                self.misuse = DiagError("--checks", f"{folder}: holds no check{ignored}", do=do)

    def pytest_pycollect_makeitem(self, collector: pytest.Collector, name: str, obj: object) -> None:
        if not isinstance(collector, pytest.Module) or getattr(obj, "__module__", "") != collector.obj.__name__:
            return
        held = [each for each in vars(obj) if each.startswith((PREFIX, TEST))] if inspect.isclass(obj) else []
        if held or (inspect.isfunction(obj) and name.startswith(TEST)):
            self.ignored.append(f"{'class ' if held else ''}{name} in {collector.path.name}")

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """A file that ends the process when it is read is broken; it does not end diag."""
        try:
            report = yield
        except SystemExit as error:
            report = pytest.CollectReport(collector.nodeid, "failed", f"E SystemExit: {error} (when it was read)", [])
        self._unread += [collector.path] if report.failed else []
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read is a broken check of its own, named as the file is."""
        if report.failed:
            last = str(report.longrepr).strip().splitlines()[-1].removeprefix("E").strip()
            self._break(Path(report.nodeid).stem, f"{report.nodeid}: {last}")

    def pytest_runtestloop(self, session: pytest.Session) -> object | None:
        """Without a hearing the checks are only listed. A file that is broken does not stop the rest."""
        session.testsfailed = 0
        return True if self.hearing is None else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> object | None:
        if self.hearing is None:
            return None
        check = self.checks[identity(pyfuncitem.name)]
        names = tuple(name for name in _direct(pyfuncitem) if name in PLACES)
        others = {name: pyfuncitem.funcargs[name] for name in _direct(pyfuncitem) if name not in PLACES}
        call = _positional(pyfuncitem.obj, names, others)
        places = tuple(PLACES[name] for name in names)
        sound = self.hearing.ask(Question(check, self._applies[check.id], call, places))
        if not sound and not check.advice and pyfuncitem.config.getoption("maxfail") == 1:
            pyfuncitem.session.shouldstop = f"{check.id} failed"
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A check that its author skips; or whose arguments could not be had, or that ended more than itself."""
        name = identity(report.nodeid.split("::")[-1])
        if report.failed:
            reason = next((line for line in str(report.longrepr).splitlines() if line.startswith("E")), "E")
            self._break(name, f"{report.nodeid}: {reason[1:].strip()}")
        elif report.skipped and self.hearing is not None and isinstance(report.longrepr, tuple):
            never = Applies(lambda: False, (), report.longrepr[2].removeprefix("Skipped: "))
            self.hearing.ask(Question(self.checks[name], (never,), lambda: None, ()))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """An interrupt ends pytest quietly, and its own end after -x comes by the same hook."""
        self.interrupted = excinfo.type is KeyboardInterrupt

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        raise excinfo.value

    def _describe(self, item: pytest.Item, everything: set[str]) -> bool:
        """Take an item in; one whose marks or arguments make no sense is broken and not called."""
        if not isinstance(item, pytest.Function):
            self._break(identity(item.name), f"{item.nodeid}: a check is a function")
            return False
        marks = list(item.iter_markers())
        file = "/".join(item.path.parts[-2:])
        try:
            _subjects_are_direct(item)
            check = describe(item.obj, item.name, marks, file)
            _needs_exist(check, everything)
            applies = conditions(marks)
        except ValueError as error:
            self._break(identity(item.name), f"{file}: {error}")
            return False
        except (KeyError, IndexError, TypeError, AttributeError) as error:  # a mark without what it needs
            self._break(identity(item.name), where(error, file))
            return False
        if check.id in self.checks:
            self.misuse = DiagError(file, f"check_{check.id} is also in {self.checks[check.id].file}", do="rename one")
        self.checks[check.id], self._applies[check.id] = check, applies
        return True

    def _break(self, check: str, why: str) -> None:
        self.broken.append(Verdict(check=check, node=None, subject=None, outcome="broken", summary=why))

    def abouts(self) -> dict[str, About]:
        broken = {verdict.check: About(title=verdict.check, why="", do="") for verdict in self.broken}
        return broken | {check.id: check.about for check in self.checks.values()}


def _direct(item: pytest.Function) -> Sequence[str]:
    """The arguments that the check itself names."""
    return item._fixtureinfo.argnames  # noqa: SLF001 - pytest has no public way to ask


def _positional(
    function: Callable[..., object], names: Sequence[str], others: Mapping[str, Any]
) -> Callable[..., object]:
    """``function`` as one that takes the subjects by position; its other arguments are filled in."""
    code = function.__code__
    if not others and code.co_varnames[: code.co_argcount] == tuple(names):
        return function
    filled = partial(function, **others)
    return lambda *subjects: filled(**dict(zip(names, subjects, strict=True)))


def _subjects_are_direct(item: pytest.Function) -> None:
    for name, fixtures in item._fixtureinfo.name2fixturedefs.items():  # noqa: SLF001 - as above
        asked = [argument for fixture in fixtures for argument in fixture.argnames if argument in PLACES]
        if asked and name not in PLACES:
            raise ValueError(f"fixture {name!r} asks for {asked[0]!r}: subjects are arguments of the check itself")


def _needs_exist(check: Check, everything: set[str]) -> None:
    for need in check.needs:
        if need not in everything:
            raise ValueError(f"needs check_{need}, which is nowhere")


def _by_need(items: list[pytest.Item], checks: Mapping[str, Check]) -> list[pytest.Item]:
    """In the files' order, but what a check needs comes before it. A circle keeps the files' order."""
    waiting = {identity(item.name): item for item in items}
    ordered: list[pytest.Item] = []

    def take(name: str) -> None:
        item = waiting.pop(name, None)
        if item is not None:
            for need in checks[name].needs:
                take(need)
            ordered.append(item)

    for item in items:
        take(identity(item.name))
    return ordered
