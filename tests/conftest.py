"""Who may skip, and the hosts that tests of the whole product run on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.lab import needs
from tests.lab.cluster import Lab
from tests.lab.docker import Container, container_on
from tests.rdma.needs import cannot_be_had, missing_for_rdma

# A mark that needs something of the machine -> what this one lacks, or ''.
NEEDS: Mapping[str, Callable[[], str]] = {
    "lab": needs.missing_for_lab,
    "docker": needs.missing_for_docker,
    "torch": needs.missing_for_torch,
    "gpu": needs.missing_for_gpu,
    "rdma": missing_for_rdma,
}

MAY_SKIP = ("shared", "may_skip")


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of tests are not the last run of whoever works here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _interrupts_arrive() -> None:
    """A shell starts what it puts into the background with SIGINT ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What mostly waits comes first, so that it does not keep a worker when all else is done."""
    items.sort(key=lambda item: item.get_closest_marker("beside") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark, missing in NEEDS.items():
        if item.get_closest_marker(mark) and (lacking := missing()):
            pytest.skip(f"{mark}: {lacking}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI nothing may be skipped unseen but what no machine must have."""
    report = yield
    if os.environ.get("CI") and report.skipped and not _may_skip(item):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"under CI this test must not be skipped: {why}"
    return report


def _may_skip(item: pytest.Item) -> bool:
    if any(map(item.get_closest_marker, MAY_SKIP)):
        return True
    return item.get_closest_marker("rdma") is not None and bool(cannot_be_had())


@pytest.fixture(scope="session")
def lab4() -> Iterator[Lab]:
    """Four healthy hosts for all tests; plant in them only what heals (network faults, frozen processes)."""
    lab = Lab.up(4)
    try:
        yield lab
    finally:
        lab.down()


@pytest.fixture(autouse=True)
def _healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "lab4" in request.fixturenames:
        request.getfixturevalue("lab4").heal()


@pytest.fixture(scope="session")
def docker_container() -> Iterator[Container]:
    """A container on the first of two hosts (``.lab``) with a Docker engine of its own, reached by ``.wrapper``."""
    lab = Lab.up(2)
    try:
        with container_on(lab, lab.hosts[0]) as container:
            yield container
    finally:
        lab.down()


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
