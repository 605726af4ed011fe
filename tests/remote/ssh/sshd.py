"""A real sshd of our own on 127.0.0.1, in a folder of its own, for as long as a test needs it."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

USER = getpass.getuser()
PRIVILEGE_SEPARATION = Path("/run/sshd")


def sshd_path() -> str | None:
    return shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")


def missing() -> str:
    """What keeps sshd from being run here, or ''."""
    if not sshd_path() or not shutil.which("ssh-keygen"):
        return "no sshd here (openssh-server)"
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
    return ""


def make_key(path: Path, *, kind: str = "ed25519", passphrase: str = "", comment: str = "test") -> Path:
    bits = ["-b", "2048"] if kind == "rsa" else []
    command = ["ssh-keygen", "-qt", kind, *bits, "-N", passphrase, "-C", comment, "-f", path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def sign_key(authority: Path, public: Path, principal: str = USER) -> Path:
    """A certificate beside the key: x.pub -> x-cert.pub."""
    subprocess.run(
        ["ssh-keygen", "-qs", authority, "-I", "test", "-n", principal, "-V", "+1h", public],
        check=True,
        capture_output=True,
    )
    return public.with_name(public.stem + "-cert.pub")


def fingerprint(public: Path) -> str:
    listed = subprocess.run(["ssh-keygen", "-lf", public], check=True, capture_output=True, text=True)
    return listed.stdout.split()[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class Sshd:
    """One running daemon. ``known_hosts`` has its key, ``config`` an ssh_config in which it is called ``node``."""

    folder: Path
    port: int
    host_keys: Sequence[Path]
    process: subprocess.Popen[bytes]
    home: Path = field(default_factory=Path)

    @property
    def name(self) -> str:
        return f"[127.0.0.1]:{self.port}"

    @property
    def host_key(self) -> str:
        """Type and base64 of its first host key."""
        return " ".join(self.public(0).read_text().split()[:2])

    def public(self, number: int) -> Path:
        return self.host_keys[number].with_suffix(".pub")

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def running_sshd(
    folder: Path, *, authorized: Sequence[Path], kinds: Sequence[str] = ("ed25519",), more: str = ""
) -> Iterator[Sshd]:
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "home"
    home.mkdir()
    host_keys = [make_key(folder / f"host_{kind}", kind=kind) for kind in kinds]
    (folder / "authorized_keys").write_text("".join(key.with_suffix(".pub").read_text() for key in authorized))
    port = free_port()
    (folder / "sshd_config").write_text(_sshd_config(folder, home, port, host_keys, more))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(sshd_path()), "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        _wait(process, port, folder)
        yield Sshd(folder=folder, port=port, host_keys=host_keys, process=process, home=home)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def _sshd_config(folder: Path, home: Path, port: int, host_keys: Sequence[Path], more: str) -> str:
    lines = [
        f"Port {port}", "ListenAddress 127.0.0.1", *(f"HostKey {key}" for key in host_keys),
        f"AuthorizedKeysFile {folder}/authorized_keys", f"PidFile {folder}/pid", f"SetEnv HOME={home}",
        "StrictModes no", "UsePAM no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
        "PermitRootLogin yes", "MaxStartups 1000", "LogLevel VERBOSE",
    ]  # fmt: skip
    return more + "\n" + "\n".join(lines) + "\n"


def _wait(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.01)
    raise RuntimeError("sshd does not start:\n" + (folder / "log").read_text())
