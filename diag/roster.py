"""What is the record of a node that answered, and of one that did not?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from diag import probes
from diag.errors import NodeError
from diag.facts.node import Agent, Node, Reach
from diag.facts.record import unknown
from diag.facts.system import Clock
from diag.inventory import Host
from diag.remote.session import Session


def unreached(host: Host, error: NodeError | None) -> Node:
    """None: nothing came of it yet, and nothing is held against the node."""
    cause, summary, do = (error.cause, error.what, error.do) if error else ("not_tried", "the run ended before", "")
    return Node(
        name=host.name,
        address=host.address or host.name,
        data_interface=host.interface,
        reach=Reach(outcome=cause, summary=summary, do=do),
        **not_known(("agent", *probes.TOPICS), f"not reached: {summary}"),
    )


def not_known(topics: Iterable[str], why: str) -> dict[str, Any]:
    return dict.fromkeys(topics, unknown(why))


def reached(host: Host, session: Session) -> Node:
    hello = session.hello
    return Node(
        name=host.name,
        address=session.channel.address,
        data_interface=host.interface,
        reach=Reach(
            outcome="answered", login_noise_bytes=session.login_noise_bytes, advice=tuple(session.channel.advice)
        ),
        agent=Agent(
            pid=hello.pid, python=hello.python, executable=hello.executable, user=hello.user, wrapper=tuple(host.exec)
        ),
    )


def clock(session: Session) -> Clock:
    offset_s, uncertainty_s = session.clock()
    return Clock(offset_s=offset_s, uncertainty_s=uncertainty_s)
