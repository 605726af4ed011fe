"""The lab by hand, from the project's root: ``python -m tests.lab up 4``.

exec, net, freeze, thaw and kill act on the newest lab made by hand; down without a number removes all of those.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ClusterShell.NodeSet import NodeSet

from tests.lab import registry
from tests.lab.cluster import Lab
from tests.lab.faults import FAULTS
from tests.lab.host import ENVIRONMENT, Host
from tests.lab.needs import missing_for_lab

NONE_STANDS = "no lab made by hand stands; python -m tests.lab up 4 makes one"
NETWORK: dict[str, Callable[[Host, str], object]] = {
    "blackhole": lambda host, _: host.blackhole(),
    "heal": lambda host, _: host.heal(),
    "drop": lambda host, value: host.drop_port(int(value)),
    "reject": lambda host, value: host.reject_port(int(value)),
    "loss": lambda host, value: host.lose(float(value)),
    "bigdrop": lambda host, value: host.drop_bigger_than(int(value)),
    "mtu": lambda host, value: host.set_mtu(int(value)),
    "rate": lambda host, value: host.set_rate(value),
}
PROCESSES: dict[str, Callable[[Host, str], int]] = {"freeze": Host.freeze, "thaw": Host.thaw, "kill": Host.kill}


def main() -> None:
    asked = _parser().parse_args()
    if missing := missing_for_lab():
        sys.exit(f"tests.lab: {missing}")
    try:
        asked.act(asked)
    except (RuntimeError, ValueError) as error:
        sys.exit(f"tests.lab: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(required=True)
    up = commands.add_parser("up", help="make hosts", epilog="faults: " + ", ".join(FAULTS))
    up.add_argument("count", type=int)
    up.add_argument("--names", help="a node set, gpu[01-04]")
    up.add_argument("--rate", help="of every host, both directions: 1gbit")
    up.add_argument("--fault", action="append", default=[], metavar="I=NAME,NAME")
    up.add_argument("--share", action="append", default=[], metavar="PATH=FOLDER", help="hosts see FOLDER at PATH")
    up.set_defaults(act=_up)
    down = commands.add_parser("down", help="remove all labs made by hand, and what crashed runs left")
    down.add_argument("number", type=int, nargs="?", help="only this one: the number in its ssh_config's path")
    down.add_argument("--all", action="store_true", help="also those of tests that run now")
    down.set_defaults(act=_down)
    run = _host_command(commands.add_parser("exec", help="run a command in host I"), _exec)
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")
    net = _host_command(commands.add_parser("net", help="a fault of host I's network"), _net)
    net.add_argument("what", help=", ".join(NETWORK) + "; a value follows a colon: rate:100mbit")
    for name in PROCESSES:
        one = _host_command(commands.add_parser(name, help=f"{name} processes of host I"), _process)
        one.add_argument("pattern")
        one.set_defaults(verb=name)
    return parser


def _host_command(
    parser: argparse.ArgumentParser, act: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    parser.add_argument("host", type=int, metavar="I")
    parser.set_defaults(act=act)
    return parser


def _up(asked: argparse.Namespace) -> None:
    began = time.monotonic()
    names: Sequence[str] = tuple(map(str, NodeSet(asked.names))) if asked.names else ()
    faults = {int(host): tuple(what.split(",")) for host, what in (text.split("=", 1) for text in asked.fault)}
    shares = {path: Path(source).resolve() for path, source in (text.split("=", 1) for text in asked.share)}
    lab = Lab.up(asked.count, names=names, rate=asked.rate, faults=faults, shares=shares, by_hand=True)
    print(f"{asked.count} hosts in {time.monotonic() - began:.2f} s", file=sys.stderr)
    print(f"ssh -F {lab.ssh_config} {lab.names[0]}")
    print(shlex.join(lab.run_line))


def _down(asked: argparse.Namespace) -> None:
    removable = registry.everything() if asked.all else sorted({*registry.standing(), *registry.abandoned()})
    if asked.number is not None and asked.number not in removable:
        stand = ", ".join(map(str, removable)) or "none stands"
        raise RuntimeError(f"down: found {asked.number}, expected a lab made by hand ({stand})")
    chosen = removable if asked.number is None else [asked.number]
    for number in chosen:
        registry.remove(number)
    print(f"removed: {', '.join(map(str, chosen))}" if chosen else NONE_STANDS)


def _host(asked: argparse.Namespace) -> Host:
    labs = registry.standing()
    if not labs:
        raise RuntimeError(NONE_STANDS)
    hosts = Lab.load(labs[-1]).hosts
    if not 0 <= asked.host < len(hosts):
        raise RuntimeError(f"host: found {asked.host}, expected 0 to {len(hosts) - 1}")
    number: int = asked.host
    return hosts[number]


def _exec(asked: argparse.Namespace) -> None:
    argv = _host(asked).inside(asked.argv or ("bash",))
    os.execvpe(argv[0], argv, ENVIRONMENT | {"TERM": os.environ.get("TERM", "dumb")})


def _net(asked: argparse.Namespace) -> None:
    what, _, value = asked.what.partition(":")
    if what not in NETWORK:
        raise RuntimeError(f"net: found {what}, expected one of {', '.join(NETWORK)}")
    NETWORK[what](_host(asked), value)


def _process(asked: argparse.Namespace) -> None:
    print(f"{PROCESSES[asked.verb](_host(asked), asked.pattern)} processes")


if __name__ == "__main__":
    main()
