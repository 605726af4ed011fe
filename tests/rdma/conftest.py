"""The two machines of a test session, healed after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.rdma.guests import Guests


@pytest.fixture(scope="session")
def session_guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    guests = Guests.up(tmp_path_factory.mktemp("rdma"))
    try:
        yield guests
    finally:
        guests.down()


@pytest.fixture
def guests(session_guests: Guests) -> Iterator[Guests]:
    """Both, healthy; plant in them only what ``Guest.wound`` can take back."""
    yield session_guests
    session_guests.heal()


@pytest.fixture
def leaves_nothing(guests: Guests) -> Callable[[], AbstractContextManager[None]]:
    """``with leaves_nothing(): …`` fails if a guest then has a file, listener or process that it had not before."""

    @contextmanager
    def watch() -> Iterator[None]:
        before = guests.look()
        yield
        left = guests.left_since(before)
        assert not left, "left behind:\n" + "\n".join(left)

    return watch
