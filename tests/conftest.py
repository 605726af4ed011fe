"""Who may skip, and the hosts that tests of the whole product run on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.lab import needs
from tests.lab.cluster import Lab

# A mark that needs something of the machine -> what this one lacks, or ''.
NEEDS: Mapping[str, Callable[[], str]] = {
    "lab": needs.missing_for_lab,
    "docker": needs.missing_for_docker,
    "torch": needs.missing_for_torch,
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, missing in NEEDS.items():
        if item.get_closest_marker(mark) and (lacking := missing()):
            pytest.skip(f"{mark}: {lacking}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Under CI nothing that these marks stand for may be skipped unseen."""
    report = yield
    if os.environ.get("CI") and report.skipped and any(map(item.get_closest_marker, NEEDS)):
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI may not: {report.longrepr[2]}"
    return report


@pytest.fixture(scope="session")
def lab4() -> Iterator[Lab]:
    """Four healthy hosts for all tests; plant in them only what heals (network faults, frozen processes)."""
    lab = Lab.up(4)
    yield lab
    lab.down()


@pytest.fixture(autouse=True)
def _healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "lab4" in request.fixturenames:
        request.getfixturevalue("lab4").heal()


@pytest.fixture
def make_lab() -> Iterator[Callable[..., Lab]]:
    """``make_lab(3, faults={1: ("hosts127",)})``: as ``Lab.up``, removed after the test."""
    labs: list[Lab] = []

    def make(*args: object, **options: object) -> Lab:
        labs.append(Lab.up(*args, **options))  # type: ignore[arg-type]
        return labs[-1]

    yield make
    for lab in labs:
        lab.down()


@pytest.fixture
def leaves_nothing() -> Callable[[Lab], AbstractContextManager[None]]:
    """``with leaves_nothing(lab): …`` fails if a host then has a file, listener or process that it had not before."""

    @contextmanager
    def watch(lab: Lab, grace_s: float = 5) -> Iterator[None]:
        before = lab.look()
        yield
        left = lab.left_since(before, grace_s)
        assert not left, "left behind:\n" + "\n".join(left)

    return watch
