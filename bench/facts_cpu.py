"""What does the facts stage cost a node? `python bench/facts_cpu.py` (root, Linux)

CPU of the agent and of all that it started, from its start to its answer to every probe, under the interpreter that has
torch, on lab hosts one after the other, as the kernel counts it for the agent's process. The bar is 100 ms a node.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from diag import probes
from diag.inventory import Host
from diag.probes.verbs import Read, Request
from diag.remote.session import open_session
from diag.remote.ssh import SshOptions, SshTransport
from tests.lab.cluster import Lab

HOSTS, RUNS, BAR_MS, DEADLINE_S = 4, 5, 100.0, 20.0


def agent_cpu_ms(host: Host, transport: SshTransport, names: tuple[str, ...]) -> float:
    session = open_session(host, transport, DEADLINE_S)
    try:
        answers = session.ask(probes.requests_for(model_path=None, names=names), DEADLINE_S)
        silent = [f"{answer.name}: {answer.why}" for answer in answers if answer.why]
        path = f"/proc/{session.hello.pid}/stat"
        (told,) = session.ask((Request(name="cost", verb=Read(globs=(path,))),), DEADLINE_S)
    finally:
        session.abort()
    if any("no answer within" in line for line in silent):
        sys.exit(f"{host.name}: {silent}")
    # man 5 proc: after the name in parentheses, utime stime cutime cstime are the 12th to 15th fields.
    ticks = sum(map(int, told.value[path].rpartition(")")[2].split()[11:15]))
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def main() -> None:
    lab = Lab.up(HOSTS)
    try:
        transport = SshTransport(SshOptions(config_path=str(lab.ssh_config)))
        hosts = [Host(name=name, python=str(lab.python)) for name in lab.names]
        costs = [agent_cpu_ms(host, transport, lab.names) for _ in range(RUNS) for host in hosts]
    finally:
        lab.down()
    value_ms = statistics.median(costs)
    print(json.dumps({
        "name": "facts_agent_cpu", "value": value_ms, "unit": "ms", "ratio": round(value_ms / BAR_MS, 3),
        "against": f"bar {BAR_MS:g} ms a node", "runs": len(costs), "spread": [min(costs), max(costs)],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
