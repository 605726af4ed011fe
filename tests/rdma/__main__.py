"""The two machines by hand, from the project's root: ``python -m tests.rdma up``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab.registry import Owner
from tests.rdma import faults
from tests.rdma.boot import end
from tests.rdma.guests import ROOT, USER, Guest, Guests
from tests.rdma.needs import missing_for_rdma

FOLDER = Path("/run/diag-rdma")
STATE = FOLDER / "state.json"


def main() -> None:
    asked = _parser().parse_args()
    if missing := missing_for_rdma():
        sys.exit(f"tests.rdma: {missing}")
    try:
        asked.act(asked)
    except (RuntimeError, OSError) as error:
        sys.exit(f"tests.rdma: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.rdma", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("up", help="boot both").set_defaults(act=_up)
    commands.add_parser("down", help="end both").set_defaults(act=_down)
    login = _of_guest(commands.add_parser("ssh", help="log in to guest N, or run a command there"), _ssh)
    login.add_argument("command", nargs=argparse.REMAINDER)
    plain = _of_guest(commands.add_parser("user", help=f"as ssh, for the plain user {USER!r}"), _ssh)
    plain.add_argument("command", nargs=argparse.REMAINDER)
    login.set_defaults(user=ROOT)
    plain.set_defaults(user=USER)
    fault = _of_guest(commands.add_parser("fault", help="break or heal guest N"), _fault)
    fault.add_argument("what", choices=(*faults.FAULTS, "heal"))
    return parser


def _of_guest(parser: argparse.ArgumentParser, act: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
    parser.add_argument("number", type=int, choices=(1, 2), metavar="N")
    parser.set_defaults(act=act)
    return parser


def _up(_: argparse.Namespace) -> None:
    if STATE.exists():
        raise RuntimeError("they are up already, or were not ended; python -m tests.rdma down ends them")
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    for file in FOLDER.iterdir():
        file.unlink()
    began = time.monotonic()
    guests = Guests.up(FOLDER, by_hand=True)
    _save(guests.both)
    print(f"2 machines in {time.monotonic() - began:.1f} s", file=sys.stderr)
    print(f"ssh -F {guests.ssh_config} node1")
    print(shlex.join(guests.run_line))


def _save(both: tuple[Guest, ...]) -> None:
    started = [Owner.of(guest.qemu).started for guest in both]
    saved = [
        {"number": one.number, "port": one.port, "qemu": one.qemu, "started": start, "wounds": one.wounds}
        for one, start in zip(both, started, strict=True)
    ]
    STATE.write_text(json.dumps(saved))


def _load() -> tuple[Guest, ...]:
    """Those that live."""
    if not STATE.exists():
        raise RuntimeError("none is up; python -m tests.rdma up boots them")
    saved = json.loads(STATE.read_text())
    living = [one for one in saved if Owner(pid=one["qemu"], started=one.pop("started")).lives()]
    return tuple(Guest(folder=FOLDER, **one) for one in living)


def _down(_: argparse.Namespace) -> None:
    for guest in _load():
        end(guest.qemu)
    STATE.unlink()


def _guest(number: int) -> Guest:
    return next(guest for guest in _load() if guest.number == number)


def _ssh(asked: argparse.Namespace) -> None:
    argv = ("ssh", "-F", str(FOLDER / "ssh_config"), "-l", asked.user, _guest(asked.number).name, *asked.command)
    os.execvp(argv[0], argv)


def _fault(asked: argparse.Namespace) -> None:
    both = _load()
    guest = next(one for one in both if one.number == asked.number)
    if asked.what == "heal":
        guest.heal()
    else:
        faults.plant(guest, asked.what)
    _save(both)


if __name__ == "__main__":
    main()
