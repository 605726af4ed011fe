"""The program whose time ``bench/reach.py`` takes: reach every host, hear its agent's first answer, let it go."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from diag.errors import NodeError
from diag.inventory import Host
from diag.remote import fanout
from diag.remote.session import Session, open_session
from diag.remote.ssh import SshOptions, SshTransport

AT_ONCE = 256  # as diag.gather, whose import is not part of reaching a host
DEADLINE_S = 60.0


def main() -> None:
    config, hosts_file = sys.argv[1:]
    names = Path(hosts_file).read_text().split()
    transport = SshTransport(SshOptions(config_path=config))

    def reach(name: str) -> Callable[[], Session]:
        return lambda: open_session(Host(name=name), transport, DEADLINE_S)

    opened = fanout.each({name: reach(name) for name in names}, width=AT_ONCE, deadline_s=DEADLINE_S)
    for session in opened.values():
        if isinstance(session, NodeError):
            sys.exit(str(session))
        session.abort()


if __name__ == "__main__":
    main()
