"""How is a guest's QEMU started, known to be up, and ended?"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab import keys
from tests.rdma.image import Image

COUNT = 2
MEMORY_MIB = 512
TIMEOUT_S = 180.0
"""A boot takes 10 s on two idle cores."""
KERNEL = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr net.ifnames=0 random.trust_cpu=on tsc=reliable"
_STARTED: dict[int, subprocess.Popen[bytes]] = {}
"""By pid: those of this process, which have to be awaited."""


@dataclass(frozen=True, kw_only=True)
class Booting:
    """``folder`` has what it was told, the socket of the link and its logs; ``qemu`` is a pid."""

    number: int
    port: int
    folder: Path
    qemu: int


def boot_both(image: Image, folder: Path, *, by_hand: bool) -> tuple[Booting, Booting]:
    """Start both with keys of their own. Unless started ``by_hand`` they die with this process, however it ends."""
    private, host_keys = keys.new_key(), [keys.new_key() for _ in range(COUNT)]
    ports = _free_ports()
    _write_client_files(folder, private, dict(zip(ports, host_keys, strict=True)))
    authorized = keys.public_part(private) + "\n"
    told = [{"number": str(n), "host_key": key, "authorized_key": authorized} for n, key in enumerate(host_keys, 1)]
    first = _start(image, folder, 1, ports[0], told[0], by_hand=by_hand)
    try:
        _until((folder / "link").exists, first)
        return first, _start(image, folder, 2, ports[1], told[1], by_hand=by_hand)
    except BaseException:
        end(first.qemu)
        raise


def _start(image: Image, folder: Path, number: int, port: int, told: Mapping[str, str], *, by_hand: bool) -> Booting:
    """The link is a UNIX socket: over TCP each packet waits for 22 ms, datagrams are dropped."""
    for name, text in told.items():
        file = folder / f"{name}-{number}"
        file.touch(0o600)
        file.write_text(text)
    forward = f"hostfwd=tcp:127.0.0.1:{port}-10.0.{number}.15:22"
    way_in = f"user,id=way-in,net=10.0.{number}.0/24,ipv6=off,restrict=on,{forward}"
    link = f"stream,id=link,addr.type=unix,addr.path=link,server={'on' if number == 1 else 'off'}"
    argv = (
        *(() if by_hand else ("setpriv", "--pdeathsig", "KILL")),
        "qemu-system-x86_64", "-name", f"node{number}", "-accel", "tcg", "-cpu", "max", "-m", str(MEMORY_MIB),
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:console-{number}",
        "-kernel", str(image.kernel), "-initrd", str(image.files), "-append", KERNEL,
        "-netdev", way_in, "-device", f"virtio-net-pci,romfile=,netdev=way-in,mac=52:54:00:00:00:0{number}",
        "-netdev", link, "-device", f"virtio-net-pci,romfile=,netdev=link,mac=52:54:00:00:01:0{number}",
        "-device", "virtio-rng-pci",
        *(word for name in told for word in ("-fw_cfg", f"name=opt/diag/{name},file={name}-{number}")),
    )  # fmt: skip
    with (folder / f"qemu-{number}").open("wb") as log:
        process = subprocess.Popen(
            argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    _STARTED[process.pid] = process
    return Booting(number=number, port=port, folder=folder, qemu=process.pid)


def wait_for_greeting(guest: Booting) -> None:
    """Until its sshd greets: QEMU takes connections long before."""

    def greets() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", guest.port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    _until(greets, guest)


def _until(true: Callable[[], bool], guest: Booting) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not true():
        if _STARTED[guest.qemu].poll() is not None or time.monotonic() > until:
            logs = (guest.folder / f"{log}-{guest.number}" for log in ("qemu", "console"))
            said = "".join(log.read_text(errors="replace")[-1000:] for log in logs if log.exists())
            raise RuntimeError(f"guest {guest.number} did not start: {said}")
        time.sleep(0.1)


def end(qemu: int) -> None:
    """Its memory is all that it had."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(qemu, signal.SIGKILL)
    if qemu in _STARTED:
        _STARTED.pop(qemu).wait()


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(COUNT)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _write_client_files(folder: Path, private: str, host_keys: Mapping[int, str]) -> None:
    identity = folder / "id_ed25519"
    identity.touch(0o600)
    identity.write_text(private)
    known = (f"[127.0.0.1]:{port} {keys.public_part(key)}\n" for port, key in host_keys.items())
    (folder / "known_hosts").write_text("".join(known))
    aliases = (f"Host node{n}\n  HostName 127.0.0.1\n  Port {port}\n" for n, port in enumerate(host_keys, start=1))
    head = keys.SSH_CONFIG_HEAD.format(names="node1 node2", folder=folder)
    (folder / "ssh_config").write_text(head + "".join(aliases))
