"""What did the guests say, and the tools that the product ran on them? Written to ``tests/data/rdma/vm``.

    python -m tests.rdma.record facts pairs    # or one of both; boots the guests, 2 minutes

``facts.json``: fault -> guest -> its answers to the facts' requests; ``healthy`` is without one. ``pairs.json``: each
run of perftest in the cases of ``cases``, both ends as the product saw them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from diag.probes.perftest import Trial
from diag.probes.perftest_failures import Ended
from diag.probes.verbs import Answer
from diag.remote import perftest, perftest_run
from tests.rdma import faults
from tests.rdma.cases import CASES, Case, told
from tests.rdma.guests import ROOT, USER, Guests
from tests.rdma.meeting import Meeting

FOLDER = Path(__file__).parents[1] / "data" / "rdma" / "vm"
HEALTHY = "healthy"
SEEN_IN_FACTS = {HEALTHY: ROOT, "link_down": ROOT, "large_mtu": ROOT, "no_tools": ROOT,
                 "plain_memlock": USER, "no_permission": USER}  # fmt: skip
"""Fault -> who asks."""


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    case: str
    trial: Trial
    seconds: float
    client: Ended
    server: Ended


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        guests = Guests.up(Path(folder))
        try:
            if "facts" in sys.argv:
                _write("facts", {fault: _facts(guests, fault, user) for fault, user in SEEN_IN_FACTS.items()})
            if "pairs" in sys.argv:
                _write("pairs", [recorded for case in CASES for recorded in _pairs(guests, case)])
        finally:
            guests.down()


def _write(name: str, content: Any) -> None:
    FOLDER.mkdir(exist_ok=True)
    encoded = msgspec.json.format(msgspec.json.encode(content, order="sorted"), indent=1)
    (FOLDER / f"{name}.json").write_bytes(encoded + b"\n")


def _facts(guests: Guests, fault: str, user: str) -> dict[str, tuple[Answer, ...]]:
    print(fault, file=sys.stderr)
    if fault != HEALTHY:
        faults.plant(guests.both[1], fault)
    meeting = Meeting(guests, user)
    try:
        return meeting.answers()
    finally:
        meeting.end()
        guests.heal()


def _pairs(guests: Guests, case: Case) -> list[Recorded]:
    print(case, file=sys.stderr)
    found: list[Recorded] = []

    def run(test: Trial, client: perftest_run.Party, server: perftest_run.Party, seconds: float) -> tuple[Ended, Ended]:
        ended = perftest_run.run(test, client, server, seconds)
        found.append(Recorded(case=case.name, trial=test, seconds=seconds, client=ended[0], server=ended[1]))
        return ended

    if case.fault and case.user == USER:
        faults.plant(guests.both[1], case.fault)
    meeting = Meeting(guests, case.user)
    try:
        nodes = meeting.nodes()
        if case.fault and case.user == ROOT:
            faults.plant(guests.both[1], case.fault)
        perftest.run = run
        meeting.measure(case.trial, told(case, meeting.nodes() if case.known else nodes), case.deadline_s)
    finally:
        perftest.run = perftest_run.run
        meeting.end()
        guests.heal()
    return found


if __name__ == "__main__":
    main()
