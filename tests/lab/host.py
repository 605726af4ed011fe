"""What can a test do to a host, and see of it?"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import boot, network, processes
from tests.lab.blueprint import HostPlan
from tests.lab.processes import Process

# Mounts of the host's own; all else that it writes lands in the layers behind boot.WRITTEN_FD.
OWN_MOUNTS = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/root")
# Logs, the books of a Docker engine, and what the library that skews a clock keeps for each process.
NEVER_COMPARED = (
    "/run/sshd.log",
    "/run/dockerd.log",
    "/var/log/",
    "/run/docker/",
    "/run/containerd/",
    "/dev/shm/faketime_",
    "/dev/shm/sem.faketime_",
)
LISTENING, UNCONNECTED = "0A", "07"  # states in /proc/net/tcp and /proc/net/udp
ENVIRONMENT = {"PATH": boot.PATH, "HOME": "/root", "USER": "root", "LOGNAME": "root", "LANG": "C.UTF-8"}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a run may not change: files (path -> size, time of change), listeners, processes (pid inside, start)."""

    files: dict[str, tuple[int, int]]
    listeners: frozenset[str]
    processes: dict[tuple[int, int], str]

    def left_since(self, before: Seen) -> list[str]:
        """What is here now and was not, or was other, before: one line each."""
        changed = [f"file {path}" for path, mark in self.files.items() if before.files.get(path) != mark]
        gone = [f"file {path} is gone" for path in before.files.keys() - self.files.keys()]
        listening = [f"listener {one}" for one in self.listeners - before.listeners]
        running = [f"process {self.processes[key]}" for key in self.processes.keys() - before.processes.keys()]
        return sorted(changed + gone + listening + running)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A living host; ``pid`` is this machine's number of the host's PID 1."""

    lab: int
    number: int
    plan: HostPlan
    pid: int
    rate: str | None
    wounds: list[str] = field(default_factory=list, compare=False)  # planted at run time, not healed yet

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def address(self) -> str:
        return self.plan.address

    def inside(self, argv: Sequence[str]) -> tuple[str, ...]:
        """The command line that runs ``argv`` in the host from this machine (with this machine's ulimits)."""
        return ("nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "--", *argv)

    def popen(self, argv: Sequence[str], **options: object) -> subprocess.Popen[str]:
        """Start ``argv`` in the host; end it with ``os.killpg``, since nsenter waits between it and us."""
        settings = {"env": ENVIRONMENT, "text": True, "start_new_session": True, "cwd": "/", **options}
        return subprocess.Popen(self.inside(argv), **settings)  # type: ignore[call-overload, no-any-return]

    def run(self, argv: Sequence[str], *, timeout_s: float = 30, check: bool = True) -> str:
        """Run ``argv`` in the host; return what it printed on both streams."""
        process = self.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            printed, _ = process.communicate(timeout=timeout_s)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        if check and process.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(argv)}: status {process.returncode}: {printed[-500:]}")
        return printed

    def path(self, path: str) -> Path:
        """Where this machine finds the host's ``path``; do not follow absolute links through it."""
        return Path(f"/proc/{self.pid}/root{path}")

    # What is there

    def processes(self) -> tuple[Process, ...]:
        return processes.below(self.pid)

    def listeners(self) -> frozenset[str]:
        """``tcp 0A000102:0016``: protocol and local address as /proc/net spells them."""
        found = set()
        for table, state in (("tcp", LISTENING), ("tcp6", LISTENING), ("udp", UNCONNECTED), ("udp6", UNCONNECTED)):
            for line in Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                _, local, _, now, *_ = line.split()
                if now == state:
                    found.add(f"{table} {local}")
        return frozenset(found)

    def listens(self, port: int) -> bool:
        return any(one.startswith("tcp") and int(one.rpartition(":")[2], 16) == port for one in self.listeners())

    def files(self) -> dict[str, tuple[int, int]]:
        """All that was ever written on this host and is still there: path -> (size, time of change in ns)."""
        found: dict[str, tuple[int, int]] = {}
        roots = [(self.path(mount), mount) for mount in OWN_MOUNTS]
        layers = Path(f"/proc/{self.pid}/fd/{boot.WRITTEN_FD}")
        roots += [(path, f"[{path.name}]") for path in layers.iterdir() if path.suffix not in (".work", ".merged")]
        for root, prefix in roots:
            for path, mark in _walk(root, prefix):
                found[path.removeprefix("[root]")] = mark
        return {path: mark for path, mark in found.items() if not path.startswith(NEVER_COMPARED)}

    def look(self) -> Seen:
        running = {(one.pid_inside, one.started): str(one) for one in self.processes()}
        return Seen(files=self.files(), listeners=self.listeners(), processes=running)

    # What can go wrong: processes

    def freeze(self, pattern: str) -> int:
        """Stop every process whose command line contains ``pattern``; return how many there were."""
        return self._signal(pattern, signal.SIGSTOP)

    def thaw(self, pattern: str) -> int:
        return self._signal(pattern, signal.SIGCONT)

    def kill(self, pattern: str) -> int:
        return self._signal(pattern, signal.SIGKILL)

    def _signal(self, pattern: str, number: signal.Signals) -> int:
        hit = [one for one in self.processes() if one.pid != self.pid and pattern in " ".join(one.argv)]
        if number == signal.SIGSTOP:
            self.wounds.append(f"freeze {pattern}")
        for one in hit:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, number)
        return len(hit)

    def die(self) -> None:
        """End all its processes at once, as a loss of power does; its network stack stays and says so to its peers."""
        os.kill(self.pid, signal.SIGKILL)

    def freeze_sshd(self) -> None:
        """From now on a connection is accepted by the kernel and nobody says a word."""
        if self.freeze("sshd: /usr/sbin/sshd") == 0:
            raise RuntimeError(f"{self.name}: no sshd to freeze")

    def thaw_sshd(self) -> None:
        self.thaw("sshd: /usr/sbin/sshd")

    # What can go wrong: the network

    def blackhole(self) -> None:
        self.wounds.append("blackhole")
        network.add_filter(self.plan, 'in iifname "eth0" drop', 'out oifname "eth0" drop')

    def drop_port(self, port: int) -> None:
        self.wounds.append("drop_port")
        network.add_filter(self.plan, f"in tcp dport {port} drop")

    def reject_port(self, port: int) -> None:
        self.wounds.append("reject_port")
        network.add_filter(self.plan, f"in tcp dport {port} reject with tcp reset")

    def drop_ports(self, first: int, last: int) -> None:
        self.wounds.append("drop_ports")
        network.add_filter(self.plan, f"in tcp dport {first}-{last} drop")

    def refuse_from(self, other: Host) -> None:
        """The other one cannot open a connection to this one; this one still can."""
        self.wounds.append("refuse_from")
        network.add_filter(self.plan, f"in ip saddr {other.address} tcp flags & (syn | ack) == syn drop")

    def lose(self, percent: float) -> None:
        self.wounds.append("lose")
        network.add_filter(self.plan, f'in iifname "eth0" numgen random mod 1000 < {round(percent * 10)} drop')

    def drop_bigger_than(self, size_bytes: int) -> None:
        """What a path does that has a smaller MTU than it says."""
        self.wounds.append("drop_bigger_than")
        network.add_filter(self.plan, f'in iifname "eth0" meta length > {size_bytes} drop')

    def set_mtu(self, mtu: int) -> None:
        self.wounds.append("set_mtu")
        network.set_mtu(self.plan, mtu)

    def set_rate(self, rate: str) -> None:
        self.wounds.append("set_rate")
        network.set_rate(self.lab, self.number, self.plan, rate)

    def slow_towards(self, other: Host, rate: str) -> None:
        """One direction of one link; the host's other links keep the lab's rate."""
        self.wounds.append("slow_towards")
        network.slow_towards(self.plan, other.address, rate, self.rate or "10gbit")

    def add_address(self, address: str) -> None:
        self.wounds.append("add_address")
        network.command("ip", "-n", self.plan.namespace, "address", "add", f"{address}/32", "dev", "eth0")

    def add_bridge(self, name: str, address: str) -> None:
        """As container engines make on every node."""
        self.wounds.append("add_bridge")
        network.add_bridge(self.plan, name, address)

    def name_itself(self, address: str) -> None:
        """What its own name resolves to there."""
        self.wounds.append("name_itself")
        hosts = self.path("/etc/hosts")
        hosts.write_text(f"{address} {self.name}\n{hosts.read_text()}")

    def set_for_nccl(self, name: str, value: str) -> None:
        """In NCCL's own file, which it reads whatever starts it."""
        self.wounds.append("set_for_nccl")
        self.path("/etc/nccl.conf").write_text(f"{name}={value}\n")

    def heal(self) -> None:
        """Take back every fault of the network and thaw what is frozen; the rate becomes that of the lab."""
        self.thaw("")
        network.clear_filter(self.plan)
        network.set_mtu(self.plan, 1500)
        if {"add_address", "add_bridge"} & set(self.wounds):
            network.clear_additions(self.plan, self.address)
        if "name_itself" in self.wounds:
            hosts = self.path("/etc/hosts")
            hosts.write_text(hosts.read_text().partition("\n")[2])
        if "set_for_nccl" in self.wounds:
            self.path("/etc/nccl.conf").unlink()
        if self.rate:
            network.set_rate(self.lab, self.number, self.plan, self.rate)
        else:
            network.clear_rate(self.lab, self.number, self.plan)
        self.wounds.clear()


def _walk(root: Path, prefix: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Everything below ``root`` on its own file system; folders and links have no mark."""
    own = root.stat().st_dev
    for folder, folders, files in os.walk(root):
        inside = prefix + folder.removeprefix(str(root))
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):  # it went meanwhile
                about = Path(folder, name).lstat()
                if about.st_dev == own:
                    regular = stat.S_ISREG(about.st_mode)
                    yield f"{inside}/{name}", (about.st_size, about.st_mtime_ns) if regular else (0, 0)
                elif name in folders:
                    folders.remove(name)
