"""How does a planned host come to life? Read a LabPlan on standard input, print ``{name: pid of its PID 1}``.

Runs as a process of its own (``python -S -m tests.lab.boot``), because it forks and changes namespaces.
Standard library only. Each host's PID 1 writes what goes wrong into ``<folder>/log/<name>`` and ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import traceback
from pathlib import Path

from tests.lab import faults, kernel
from tests.lab.blueprint import NETMASK, HostPlan, LabPlan, Share

WRITTEN_FD = 9  # PID 1 keeps the layer that takes the host's writes open here, for who compares before and after
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SSHD_CONFIG = """\
Port 22
ListenAddress 0.0.0.0
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys
PermitRootLogin yes
UsePAM {pam}
UseDNS no
KbdInteractiveAuthentication {pam}
PasswordAuthentication {passwords}
MaxStartups 1000
MaxSessions 100
PrintMotd no
PrintLastLog no
PidFile /run/sshd.pid
Subsystem sftp internal-sftp
"""
PAM_CONFIG = "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n"


def main() -> None:
    plan = _read_plan(json.load(sys.stdin))
    networks = [os.open(f"/run/netns/{host.namespace}", os.O_RDONLY) for host in plan.hosts]
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
    kernel.unshare(kernel.NEW_MOUNTS)
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.detach("/run/netns")  # hosts copy this table of mounts; hundreds of namespaces need not be in it
    pids = {}
    for host, network in zip(plan.hosts, networks, strict=True):
        kernel.enter(own_pids, kernel.NEW_PIDS)
        kernel.unshare(kernel.NEW_PIDS)
        pids[host.name] = os.fork()
        if pids[host.name] == 0:
            _be_pid_1(plan, host, network)
    print(json.dumps(pids))


def _read_plan(plan: dict[str, object]) -> LabPlan:
    hosts, shares = plan.pop("hosts"), plan.pop("shares")
    return LabPlan(
        hosts=tuple(HostPlan(**host) for host in hosts),  # type: ignore[attr-defined]
        shares=tuple(Share(**share) for share in shares),  # type: ignore[attr-defined]
        **plan,  # type: ignore[arg-type]
    )


def _be_pid_1(plan: LabPlan, host: HostPlan, network: int) -> None:
    try:
        _take_streams(plan, host)
        kernel.enter(network, kernel.NEW_NETWORK)
        kernel.unshare(kernel.NEW_MOUNTS | kernel.NEW_HOSTNAME | kernel.NEW_IPC)
        socket.sethostname(host.name)
        kernel.bring_up("lo")
        _without_link_local("eth0")
        kernel.bring_up("eth0", host.address, NETMASK)
        _build_root(plan, host)
        _write_files(plan, host)
        faults.plant(host.faults, plan.venv)
        _set_limits(host)
        _start_sshd(host)
        os.execve("/usr/bin/tini", ["tini", "--", "sleep", "infinity"], {"PATH": PATH})
    except BaseException:  # noqa: BLE001 - a fork must never return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(1)


def _take_streams(plan: LabPlan, host: HostPlan) -> None:
    os.setsid()
    log = os.open(f"{plan.folder}/log/{host.name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for fd, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(fd, target)


def _without_link_local(interface: str) -> None:
    """Hundreds of hosts that announce a link-local address keep each other busy."""
    with contextlib.suppress(OSError):  # this machine may have no IPv6
        Path(f"/proc/sys/net/ipv6/conf/{interface}/addr_gen_mode").write_text("1")


def _build_root(plan: LabPlan, host: HostPlan) -> None:
    kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    full_root, full_tmp = ({"fulldisk", fault} & set(host.faults) for fault in ("fullroot", "fulltmp"))
    layers = f"{plan.folder}/layers"
    _mount_tmpfs(layers, faults.SMALL_DISK_BYTES if full_root else faults.DISK_BYTES, "755")
    os.dup2(os.open(layers, os.O_RDONLY | os.O_DIRECTORY), WRITTEN_FD)
    os.set_inheritable(WRITTEN_FD, True)  # dup2 leaves it as it is where open() already gave that number
    root = _mount_overlay("/", layers, "root")
    Path(f"{root}/.dockerenv").unlink(missing_ok=True)  # this machine may be a container; a host of the lab is none
    kernel.mount("proc", f"{root}/proc", "proc")
    kernel.mount("sysfs", f"{root}/sys", "sysfs")
    with contextlib.suppress(OSError):  # without cgroups the host has none either
        kernel.mount("/sys/fs/cgroup", f"{root}/sys/fs/cgroup", flags=kernel.MS_BIND | kernel.MS_REC)
    kernel.mount("/dev", f"{root}/dev", flags=kernel.MS_BIND)
    kernel.mount("devpts", f"{root}/dev/pts", "devpts", options="newinstance,ptmxmode=0666,mode=600")
    _mount_tmpfs(f"{root}/dev/shm", faults.SMALL_SHM_BYTES if "shm64m" in host.faults else faults.SHM_BYTES, "1777")
    _mount_tmpfs(f"{root}/tmp", faults.SMALL_TMP_BYTES if full_tmp else faults.TMP_BYTES, "1777")
    _mount_tmpfs(f"{root}/var/tmp", faults.TMP_BYTES, "1777")
    _mount_tmpfs(f"{root}/run", faults.TMP_BYTES, "755")
    _mount_tmpfs(f"{root}/root", faults.TMP_BYTES, "700")
    for number, share in enumerate(plan.shares):
        if not (share.optional and "noshare" in host.faults):
            _mount_share(share, layers, root, f"share{number}")
    kernel.new_root(root)


def _mount_tmpfs(path: str, size_bytes: int, mode: str) -> None:
    kernel.mount("tmpfs", path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, f"size={size_bytes},mode={mode}")


def _mount_overlay(lower: str, layers: str, name: str) -> str:
    upper, work, merged = (f"{layers}/{name}{part}" for part in ("", ".work", ".merged"))
    for folder in (upper, work, merged):
        Path(folder).mkdir()
    kernel.mount("overlay", merged, "overlay", options=f"lowerdir={lower},upperdir={upper},workdir={work}")
    return merged


def _mount_share(share: Share, layers: str, root: str, name: str) -> None:
    merged = _mount_overlay(share.source, layers, name)
    Path(f"{root}{share.path}").mkdir(parents=True, exist_ok=True)
    kernel.mount(merged, f"{root}{share.path}", flags=kernel.MS_BIND)


def _write_files(plan: LabPlan, host: HostPlan) -> None:
    for folder in ("/run/sshd", "/run/lock", "/root/.ssh"):
        Path(folder).mkdir(0o755)
    _write("/etc/hostname", f"{host.name}\n")
    _write("/etc/machine-id", hashlib.md5(host.name.encode(), usedforsecurity=False).hexdigest() + "\n")
    _write("/etc/resolv.conf", "")
    _write("/etc/hosts", _hosts_file(plan, host))
    _write("/etc/ssh/ssh_host_ed25519_key", host.host_key)
    passwords, pam = ("yes" if fault in host.faults else "no" for fault in ("password", "keyboard"))
    _write("/etc/ssh/sshd_config", SSHD_CONFIG.format(passwords=passwords, pam=pam))
    _write("/etc/pam.d/sshd", PAM_CONFIG)
    if not {"noauth", "password", "keyboard"} & set(host.faults):
        _write("/root/.ssh/authorized_keys", plan.authorized_key)


def _write(path: str, text: str) -> None:
    file = Path(path)
    file.unlink(missing_ok=True)  # it may be a link, or readable for all
    file.touch(0o600 if "key" in path else 0o644)
    file.write_text(text)


def _hosts_file(plan: LabPlan, host: HostPlan) -> str:
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    for other in plan.hosts:
        loops = other is host and "hosts127" in host.faults
        lines.append(f"{'127.0.1.1' if loops else other.address} {other.name}")
    return "\n".join(lines) + "\n"


def _set_limits(host: HostPlan) -> None:
    _limit(resource.RLIMIT_NOFILE, faults.LOW_NOFILE if "lownofile" in host.faults else faults.NOFILE)
    memlock = faults.LOW_MEMLOCK_BYTES if "lowmemlock" in host.faults else resource.RLIM_INFINITY
    _limit(resource.RLIMIT_MEMLOCK, memlock)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(which: int, wanted: int) -> None:
    """Set soft and hard limit; where this machine may not raise its own hard limit, that one stays."""
    _, hard = resource.getrlimit(which)
    try:
        resource.setrlimit(which, (wanted, wanted))
    except (ValueError, PermissionError):
        resource.setrlimit(which, (hard, hard))


def _start_sshd(host: HostPlan) -> None:
    if "sshd_down" not in host.faults:
        sshd = shutil.which("sshd", path=PATH) or "sshd"
        subprocess.run([sshd, "-E", "/run/sshd.log"], env={"PATH": PATH}, check=True, close_fds=True)


if __name__ == "__main__":
    main()
