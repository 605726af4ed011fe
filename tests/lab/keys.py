"""Which keys and client files let this machine log in to the hosts, and verify them?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.lab.blueprint import HostPlan

SSH_CONFIG_HEAD = """\
Host {names}
  User root
  IdentityFile {folder}/id_ed25519
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
"""


def new_key() -> str:
    """A private key as OpenSSH writes it; made here because a ssh-keygen for each host takes longer than the host."""
    key = Ed25519PrivateKey.generate()
    form = serialization.PrivateFormat.OpenSSH
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def public_part(private: str) -> str:
    key = serialization.load_ssh_private_key(private.encode(), None).public_key()
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def write_client_files(folder: Path, private: str, hosts: Sequence[HostPlan]) -> None:
    """Write ``id_ed25519``, ``known_hosts`` and ``ssh_config``."""
    identity = folder / "id_ed25519"
    identity.touch(0o600)
    identity.write_text(private)
    (folder / "known_hosts").write_text("".join(map(_known_host, hosts)))
    names = " ".join(f"{host.name} {host.address}" for host in hosts)
    head = SSH_CONFIG_HEAD.format(names=names, folder=folder)
    aliases = (f"Host {host.name}\n  HostName {host.address}\n" for host in hosts)
    (folder / "ssh_config").write_text(head + "".join(aliases))


def _known_host(host: HostPlan) -> str:
    if "unknownkey" in host.faults:
        return ""
    private = new_key() if "hostkey" in host.faults else host.host_key
    return f"{host.name},{host.address} {public_part(private)}\n"
