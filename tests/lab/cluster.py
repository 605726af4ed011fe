"""How does a whole lab come and go?

lab = Lab.up(4, faults={1: ("hosts127", "shm64m")}, rate="1gbit")
lab.hosts[2].blackhole()
lab.down()
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.lab import blueprint, keys, network, registry
from tests.lab.blueprint import HostPlan, LabPlan, Share
from tests.lab.faults import FAULTS
from tests.lab.host import Host, Seen

PROJECT = Path(__file__).resolve().parents[2]
# On a host these are not this machine's, so what lies below them here has to be shared to be seen there.
HIDDEN = ("/tmp", "/var/tmp", "/run", "/root", "/dev", "/proc", "/sys")
MANY_HOSTS = 64
SSH_PORT = 22


@dataclass(frozen=True, kw_only=True)
class Lab:
    """``ssh_config`` and ``known_hosts`` are ready for any SSH client; ``python`` has what the project has."""

    number: int
    hosts: tuple[Host, ...]

    @classmethod
    def up(
        cls,
        count: int,
        *,
        names: Sequence[str] = (),
        rate: str | None = None,
        faults: Mapping[int, Sequence[str]] | None = None,
        shares: Mapping[str, Path] | None = None,
        by_hand: bool = False,
        start_timeout_s: float = 60,
    ) -> Lab:
        """Make ``count`` hosts and wait until they can be reached.

        ``shares`` are folders of this machine (values) that every host sees at a path (keys). A lab made ``by_hand``
        outlives this process; any other is removed by the next ``up`` if this process dies without ``down``.
        """
        names = names or tuple(f"n{host:03d}" for host in range(count))
        if not 0 < count <= blueprint.MOST_HOSTS:
            raise ValueError(f"hosts: found {count}, expected 1 to {blueprint.MOST_HOSTS}")
        if len(set(names)) != count:
            raise ValueError(f"names: found {len(set(names))} different ones, expected {count}")
        chosen = _checked_faults(faults or {}, count)
        number = registry.claim(None if by_hand else registry.Owner.this_process())
        try:
            plan = _plan(number, names, chosen, shares or {})
            hosts = _build(number, plan, rate)
            _wait_for_hosts(plan, hosts, start_timeout_s)
        except BaseException:
            registry.remove(number)
            raise
        lab = cls(number=number, hosts=hosts)
        lab._save()
        return lab

    @classmethod
    def load(cls, number: int) -> Lab:
        """A lab that another process made."""
        saved = json.loads((registry.folder(number) / "state.json").read_text())
        hosts = []
        for host in saved["hosts"]:
            fields = host.pop("plan")
            fields["faults"] = tuple(fields["faults"])
            hosts.append(Host(plan=HostPlan(**fields), **host))
        return cls(number=number, hosts=tuple(hosts))

    def _save(self) -> None:
        (self.folder / "state.json").write_text(json.dumps(asdict(self)))

    def heal(self) -> None:
        for host in self.hosts:
            if host.wounds:
                host.heal()

    def down(self) -> None:
        registry.remove(self.number)

    @property
    def folder(self) -> Path:
        return registry.folder(self.number)

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def identity(self) -> Path:
        return self.folder / "id_ed25519"

    @property
    def python(self) -> Path:
        return Path(sys.prefix, "bin", "python")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.hosts)

    @property
    def run_line(self) -> tuple[str, ...]:
        """The command that a user would type."""
        hosts = ("--hosts", ",".join(self.names), "--ssh-config", str(self.ssh_config))
        return ("diag", "run", *hosts, "--python", str(self.python))

    def look(self) -> dict[str, Seen]:
        return {host.name: host.look() for host in self.hosts}

    def left_since(self, before: Mapping[str, Seen], grace_s: float = 5) -> list[str]:
        """What is on the hosts that was not there ``before``, once nothing more goes away or the grace is over."""
        end = time.monotonic() + grace_s
        while True:
            now = self.look()
            left = [f"{name}: {line}" for name, seen in now.items() for line in seen.left_since(before[name])]
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.1)


def _checked_faults(faults: Mapping[int, Sequence[str]], count: int) -> dict[int, tuple[str, ...]]:
    for host, names in faults.items():
        if not 0 <= host < count:
            raise ValueError(f"fault: no host {host}: found {count} hosts, expected 0 to {count - 1}")
        unknown = set(names) - FAULTS.keys()
        if unknown:
            raise ValueError(f"fault: found {', '.join(sorted(unknown))}, expected one of {', '.join(FAULTS)}")
    return {host: tuple(names) for host, names in faults.items()}


def _plan(
    number: int, names: Sequence[str], faults: Mapping[int, tuple[str, ...]], shares: Mapping[str, Path]
) -> LabPlan:
    hosts = tuple(
        HostPlan(
            name=name,
            address=blueprint.host_address(number, host),
            namespace=blueprint.namespace(number, name),
            host_key=keys.new_key(),
            faults=faults.get(host, ()),
        )
        for host, name in enumerate(names)
    )
    private = keys.new_key()
    keys.write_client_files(registry.folder(number), private, hosts)
    asked = tuple(Share(source=str(source), path=path, optional=True) for path, source in shares.items())
    return LabPlan(
        folder=str(registry.folder(number)),
        hosts=hosts,
        shares=(*_needed_shares(), *asked),
        authorized_key=f"{keys.public_part(private)} lab\n",
        venv=sys.prefix,
    )


def _needed_shares() -> tuple[Share, ...]:
    """The project and its interpreter, where the overlay of this machine's root does not show them anyway."""
    needed: list[Path] = []
    for path in (PROJECT, Path(sys.prefix), Path(sys.base_prefix)):
        shown = _mount_point(path) == Path("/") and not any(path.is_relative_to(hidden) for hidden in HIDDEN)
        if not shown and not any(path.is_relative_to(other) for other in needed):
            needed.append(path)
    return tuple(Share(source=str(path), path=str(path)) for path in needed)


def _mount_point(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if os.path.ismount(folder))


def _build(number: int, plan: LabPlan, rate: str | None) -> tuple[Host, ...]:
    if len(plan.hosts) >= MANY_HOSTS:
        registry.make_room(number)
    network.build(number, plan.hosts)
    argv = (sys.executable, "-S", "-m", "tests.lab.boot")
    booted = subprocess.run(
        argv, input=json.dumps(asdict(plan)), capture_output=True, text=True, cwd=PROJECT, check=False
    )
    if booted.returncode != 0:
        raise RuntimeError(f"no host was made: {booted.stderr.strip()[-1000:]}")
    pids = json.loads(booted.stdout)
    hosts = tuple(
        Host(lab=number, number=place, plan=host, pid=pids[host.name], rate=rate)
        for place, host in enumerate(plan.hosts)
    )
    if rate:
        for host in hosts:
            network.set_rate(number, host.number, host.plan, rate)
    return hosts


def _wait_for_hosts(plan: LabPlan, hosts: Sequence[Host], timeout_s: float) -> None:
    waiting = list(hosts)
    end = time.monotonic() + timeout_s
    while waiting := [host for host in waiting if not _ready(host, plan)]:
        if time.monotonic() > end:
            raise TimeoutError(f"{len(waiting)} hosts did not start in {timeout_s} s, {waiting[0].name} among them")
        time.sleep(0.01)


def _ready(host: Host, plan: LabPlan) -> bool:
    try:
        is_init = Path(f"/proc/{host.pid}/comm").read_text() == "tini\n"
        return is_init and ("sshd_down" in host.plan.faults or host.listens(SSH_PORT))
    except OSError:
        log = Path(plan.folder, "log", host.name).read_text(errors="replace")
        raise RuntimeError(f"{host.name} died at its start: {log[-1500:]}") from None
