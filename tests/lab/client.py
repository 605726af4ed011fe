"""What does OpenSSH, which is not ours, say of a host?"""

from __future__ import annotations

import subprocess

from tests.lab.cluster import Lab


def ssh(lab: Lab, name: str, command: str, *, connect_timeout_s: int = 5) -> subprocess.CompletedProcess[str]:
    quick = "KexAlgorithms=curve25519-sha256"  # the default of Debian 12 costs 60 ms more a login
    options = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={connect_timeout_s}", "-o", quick)
    argv = ("ssh", "-F", str(lab.ssh_config), *options, name, command)
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
