"""An agent on each guest, over SSH: their facts, and the pair tests between them, as the product runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from diag import probes
from diag.facts.links import Flow
from diag.facts.node import Node, Reach
from diag.inventory import Host
from diag.probes.perftest import Trial
from diag.probes.probe import Wishes
from diag.probes.verbs import Answer
from diag.remote.perftest import Pairs, measure
from diag.remote.session import Session, open_session
from diag.remote.ssh import SshOptions, SshTransport
from tests.rdma.guests import ROOT, Guest, Guests

TOPICS = ("limits", "hcas", "rdma_system", "interfaces")
START_S = 60.0
FACTS_S = 30.0


class Meeting:
    """Two sessions, for as long as the tests of one user need them. ``ask`` takes in what has changed on the guests."""

    def __init__(self, guests: Guests, user: str = ROOT) -> None:
        self._guests = guests.both
        transport = SshTransport(SshOptions(config_path=str(guests.ssh_config), user=user))

        def open_one(guest: Guest) -> Session:
            return open_session(Host(name=guest.name, python="/usr/bin/python3"), transport, START_S)

        self.sessions = dict(zip(guests.names, self._each(open_one), strict=True))

    def _each(self, act: Callable[[Guest], object]) -> Sequence:
        with ThreadPoolExecutor() as at_once:
            return tuple(at_once.map(act, self._guests))

    def answers(self) -> dict[str, tuple[Answer, ...]]:
        """What both say of the topics that RDMA needs, as they say it."""
        wanted = [
            request
            for probe in probes.PROBES
            if probe.topic in TOPICS
            for request in probe.requests(Wishes(model_path=None))
        ]
        requests = tuple({request.name: request for request in wanted}.values())
        told = self._each(lambda guest: self.sessions[guest.name].ask(requests, FACTS_S))
        return dict(zip(self.sessions, told, strict=True))

    def nodes(self) -> dict[str, Node]:
        found = {}
        for guest, told in zip(self._guests, self.answers().values(), strict=True):
            blank = Node(name=guest.name, address=guest.address, reach=Reach(outcome="answered"))
            facts = {topic: fact for topic, fact in probes.facts_from(told).items() if topic in TOPICS}
            found[guest.name] = msgspec.structs.replace(blank, **facts)
        return found

    def measure(self, test: Trial, nodes: dict[str, Node], deadline_s: float = 60) -> tuple[Flow, ...]:
        addresses = {guest.name: guest.address for guest in self._guests}
        pair = (self._guests[0].name, self._guests[1].name)
        return measure(Pairs(pairs=(pair,), number=1, addresses=addresses), test, self.sessions, nodes, deadline_s)

    def end(self) -> tuple[str, ...]:
        """What the agents could not end."""
        return tuple(left for session in self.sessions.values() for left in session.end(8))
