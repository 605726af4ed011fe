"""Does a plain user's pair test hold where locked memory is unlimited, and name the limit where it is not?"""

from __future__ import annotations

import pytest

from tests.rdma import faults
from tests.rdma.cases import CASES
from tests.rdma.guests import USER
from tests.rdma.meeting import Meeting
from tests.rdma.test_pairs import assert_is_as_expected

pytestmark = pytest.mark.rdma


@pytest.mark.parametrize("case", [case for case in CASES if case.user == USER], ids=str)
def test_memory_that_may_not_be_locked_is_named(guests, leaves_nothing, case):
    with leaves_nothing():
        if case.fault:
            faults.plant(guests.both[1], case.fault)
        meeting = Meeting(guests, USER)
        try:
            flows = meeting.measure(case.trial, meeting.nodes(), case.deadline_s)
        finally:
            left = meeting.end()
        guests.heal()
    assert_is_as_expected(case, flows)
    assert left == ()
