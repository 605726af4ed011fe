"""How do the two machines come and go, and what can a test do to one and see of it?

guests = Guests.up(folder)
guests.both[0].run("ibv_devinfo")
guests.down()
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.host import LISTENING, UNCONNECTED, Seen
from tests.rdma import boot
from tests.rdma.image import image

ROOT, USER = "root", "user"
"""Who can log in; the second one is nobody special."""
# What is neither of a run nor of a fault: who logs in writes these.
NEVER_COMPARED = ("/var/log/", "/var/run/utmp", "/run/sshd")
SET_CLOCK = 'echo ready; read now; date -s "@$now" > /dev/null; touch /run/booted'
LOOK = (
    "ps -eo pid=,ppid=,args= ; echo --; tail -qn +2 /proc/net/{tcp,tcp6,udp,udp6}; echo --; "
    "find /tmp /var /run /root /home /etc /dev/shm -xdev -newer /run/booted ! -type d -printf '%p\\t%s\\t%T@\\n'"
)


@dataclass(frozen=True, kw_only=True)
class Guest:
    """One machine; ``eth0`` is the way in from here, ``eth1`` the link to the other, with ``rxe0`` on it."""

    number: int
    port: int
    folder: Path
    qemu: int
    """Pid of its QEMU."""
    wounds: dict[str, str] = field(default_factory=dict, compare=False)
    """What was planted and is not healed yet -> the commands that heal it."""

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        """Of the link between the two."""
        return f"192.168.77.{self.number}"

    def ssh(self, command: str, *, timeout_s: float = 60, user: str = ROOT) -> subprocess.CompletedProcess[str]:
        """Ask a shell there."""
        argv, quiet = self._login(command, user), subprocess.DEVNULL
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout_s, stdin=quiet)

    def _login(self, command: str, user: str) -> tuple[str, ...]:
        """Root's connection is kept for the next one; limits are those of when it was made."""
        kept = ("ControlMaster=auto", f"ControlPath={self.folder}/way-{self.number}", "ControlPersist=yes")
        options = ("BatchMode=yes", *(kept if user == ROOT else ()))
        config = ("-F", str(self.folder / "ssh_config"), *(word for option in options for word in ("-o", option)))
        return ("ssh", *config, "-l", user, self.name, command)

    def set_clock(self) -> None:
        """To this machine's: an emulated one is off by up to a second. What is written from now on is new."""
        with subprocess.Popen(
            self._login(SET_CLOCK, ROOT), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as login:
            if login.stdout is None or login.stdout.readline() != "ready\n":
                raise RuntimeError(f"{self.name}: its clock cannot be set")
            login.communicate(f"{time.time():.3f}\n", timeout=30)

    def run(self, command: str, *, timeout_s: float = 60, user: str = ROOT) -> str:
        """What it printed; RuntimeError if it failed."""
        ended = self.ssh(command, timeout_s=timeout_s, user=user)
        if ended.returncode != 0:
            raise RuntimeError(f"{self.name}: {command}: status {ended.returncode}: {ended.stderr[-500:]}")
        return ended.stdout

    def look(self) -> Seen:
        """Its processes, its listeners and the files written since it booted."""
        processes, listeners, files = self.run(LOOK).split("--\n")
        return Seen(processes=_processes(processes), listeners=_listeners(listeners), files=_files(files))

    def wound(self, name: str, plant: str, heal: str) -> None:
        """Plant a fault now; ``heal`` takes it back after the test."""
        self.wounds[name] = heal
        self.run(plant)

    def heal(self) -> None:
        for name, command in reversed(list(self.wounds.items())):
            self.run(command)
            del self.wounds[name]


def _processes(text: str) -> dict[tuple[int, int], str]:
    """All but the kernel's own and those who look."""
    rows = [line.split(None, 2) for line in text.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}
    looking = [next(int(pid) for pid, _, args in rows if args.startswith("ps -eo"))]
    while (parent := parents.get(looking[-1], 0)) > 0:
        looking.append(parent)
    return {
        (int(pid), 0): f"{pid} {args[:200]}"
        for pid, parent, args in rows
        if int(pid) not in looking and 2 not in (int(pid), int(parent))
    }


def _listeners(text: str) -> frozenset[str]:
    """Local addresses as /proc/net spells them."""
    rows = [line.split() for line in text.splitlines()]
    return frozenset(row[1] for row in rows if row[3] in {LISTENING, UNCONNECTED})


def _files(text: str) -> dict[str, tuple[int, int]]:
    rows = [line.rsplit("\t", 2) for line in text.splitlines()]
    kept = (row for row in rows if not row[0].startswith(NEVER_COMPARED))
    return {path: (int(size), int(float(changed) * 1e9)) for path, size, changed in kept}


@dataclass(frozen=True, kw_only=True)
class Guests:
    """Both, and the files with which this machine reaches them."""

    folder: Path
    both: tuple[Guest, Guest]

    @classmethod
    def up(cls, folder: Path, *, by_hand: bool = False) -> Guests:
        """Boot both at once. Unless made ``by_hand`` they die with this process, however it ends."""
        booting = boot.boot_both(image(), folder, by_hand=by_hand)
        first, second = (Guest(number=one.number, port=one.port, folder=folder, qemu=one.qemu) for one in booting)
        guests = cls(folder=folder, both=(first, second))
        try:
            for one, guest in zip(booting, guests.both, strict=True):
                boot.wait_for_greeting(one)
                guest.set_clock()
        except BaseException:
            guests.down()
            raise
        return guests

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(guest.name for guest in self.both)

    @property
    def run_line(self) -> tuple[str, ...]:
        """The command that a user would type."""
        hosts = ("--hosts", ",".join(self.names), "--ssh-config", str(self.ssh_config))
        return ("diag", "run", *hosts, "--python", "/usr/bin/python3")

    def heal(self) -> None:
        for guest in self.both:
            guest.heal()

    def look(self) -> dict[str, Seen]:
        with ThreadPoolExecutor() as at_once:
            return dict(zip(self.names, at_once.map(Guest.look, self.both), strict=True))

    def left_since(self, before: Mapping[str, Seen], grace_s: float = 10) -> list[str]:
        """What is there that was not ``before``, once nothing more goes away or the grace is over."""
        until = time.monotonic() + grace_s
        while True:
            left = [f"{name}: {line}" for name, seen in self.look().items() for line in seen.left_since(before[name])]
            if not left or time.monotonic() > until:
                return left
            time.sleep(0.5)

    def down(self) -> None:
        for guest in self.both:
            boot.end(guest.qemu)
