"""Which resource limits does the agent's own process have?"""

from __future__ import annotations

import msgspec

from diag.facts.record import unknown
from diag.facts.system import Limits
from diag.probes.probe import Answers, Probe, always, told
from diag.probes.verbs import Ask, Request


class _Limits(msgspec.Struct, frozen=True):
    """[soft, hard] each; None: unlimited."""

    memlock: tuple[int | None, int | None]
    nofile: tuple[int | None, int | None]
    nproc: tuple[int | None, int | None]
    stack: tuple[int | None, int | None]
    ipc_lock: bool | None = None


def read(answers: Answers) -> Limits:
    limits = told(answers, "limits", _Limits)
    return Limits(
        memlock_soft_bytes=limits.memlock[0],
        memlock_hard_bytes=limits.memlock[1],
        nofile_soft=limits.nofile[0],
        nofile_hard=limits.nofile[1],
        nproc_soft=limits.nproc[0],
        stack_soft_bytes=limits.stack[0],
        ipc_lock=unknown("its capabilities cannot be read") if limits.ipc_lock is None else limits.ipc_lock,
    )


PROBE = Probe(topic="limits", requests=always(Request(name="limits", verb=Ask("limits:limits"))), read=read)
