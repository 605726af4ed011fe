"""Which ssh command, typed by hand, reaches a host as diag reaches it?"""

from __future__ import annotations

from diag.inventory import Host
from diag.remote.ssh_options import SshOptions


def ssh_by_hand(host: Host, options: SshOptions) -> tuple[str, ...]:
    """Its words up to the host, e.g. ``ssh -F lab.conf -l ops gpu01``; what ssh_config says, ssh finds itself."""
    user, port = host.user or options.user, host.port or options.port
    words = ["ssh"]
    words += ["-F", options.config_path] if options.config_path else []
    for identity in (*((host.identity_file,) if host.identity_file else ()), *options.identity_files):
        words += ["-i", identity]
    words += ["-p", str(port)] if port else []
    words += ["-l", user] if user else []
    return (*words, *_destination(host))


def _destination(host: Host) -> tuple[str, ...]:
    """By its name, which ssh_config may speak of; a name that was made of address and port is known to nobody."""
    address = host.address or host.name
    if host.name in {address, f"{address}:{host.port}", f"[{address}]:{host.port}"}:
        return (address,)
    return "-o", f"HostName={address}", host.name
