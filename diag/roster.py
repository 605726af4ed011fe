"""What is the record of a node that answered, and of one that did not?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from diag import probes
from diag.errors import NodeError
from diag.facts.node import Agent, Node, Reach
from diag.facts.record import unknown
from diag.inventory import Host
from diag.remote.inside import InnerSession
from diag.remote.session import Session


def unreached(host: Host, error: NodeError | None) -> Node:
    """None: nothing came of it yet, and nothing is held against the node."""
    cause, summary, do = (error.cause, error.what, error.do) if error else ("not_tried", "the run ended before", "")
    return Node(
        name=host.name,
        address=host.address or host.name,
        data_interface=host.interface,
        leaf=host.leaf,
        reach=Reach(outcome=cause, summary=summary, do=do),
        **not_known(("agent", *probes.TOPICS), f"not reached: {summary}"),
    )


def not_known(topics: Iterable[str], why: str) -> dict[str, Any]:
    return dict.fromkeys(topics, unknown(why))


def reached(host: Host, session: Session) -> Node:
    if not isinstance(session, InnerSession):
        return _answered(host, session, tuple(host.exec))
    node = _answered(host, session.outer, ())
    return msgspec.structs.replace(
        node,
        agent=_agent(session, session.inside.command),
        inside=session.inside,
        host_side=node,
    )


def _answered(host: Host, session: Session, wrapper: tuple[str, ...]) -> Node:
    return Node(
        name=host.name,
        address=session.channel.address,
        data_interface=host.interface,
        leaf=host.leaf,
        reach=Reach(
            outcome="answered", login_noise_bytes=session.login_noise_bytes, advice=tuple(session.channel.advice)
        ),
        agent=_agent(session, wrapper),
    )


def _agent(session: Session, wrapper: tuple[str, ...]) -> Agent:
    said = session.hello
    return Agent(pid=said.pid, python=said.python, executable=said.executable, user=said.user, wrapper=wrapper)
