"""What can go wrong on a guest? Each fault is a name, what plants it and what takes it back.

``plain_memlock`` and ``no_permission`` concern only who logs in as the plain user, the others everybody.
"""

from __future__ import annotations

from tests.rdma.guests import USER, Guest

LOW_MEMLOCK_KIB = 64
ROCE_PORT = 4791  # IANA
LARGE_MTU = 4200
"""The first size of the usual ones at which RoCE can send 4096 bytes in one packet; with 1500 it is 1024."""
_LIMIT = f"/etc/security/limits.d/{USER}.conf"
_TOOLS = "/usr/bin/ib_write_bw /usr/bin/ib_read_bw /usr/bin/ib_send_lat"
_FILTER = (
    "add table inet fault; add chain inet fault in { type filter hook input priority 0; };"
    f" add rule inet fault in udp dport {ROCE_PORT} drop"
)
_UNTIL_ACTIVE = "until rdma link show rxe0/1 | grep -q ACTIVE; do sleep 0.1; done"

# name -> what plants it, what heals it
FAULTS = {
    "link_down": ("ip link set eth1 down", f"ip link set eth1 up; {_UNTIL_ACTIVE}"),
    "plain_memlock": (f"echo '{USER} - memlock {LOW_MEMLOCK_KIB}' > {_LIMIT}", f"rm {_LIMIT}"),
    "no_permission": ("chmod 600 /dev/infiniband/uverbs0", "chmod 666 /dev/infiniband/uverbs0"),
    "no_tools": (f"for t in {_TOOLS}; do mv $t $t.away; done", f"for t in {_TOOLS}; do mv $t.away $t; done"),
    "large_mtu": (f"ip link set eth1 mtu {LARGE_MTU}", "ip link set eth1 mtu 1500"),
    "no_roce_packets": (f"nft '{_FILTER}'", "nft delete table inet fault"),
}


def plant(guest: Guest, fault: str) -> None:
    """Until the end of the test."""
    guest.wound(fault, *FAULTS[fault])
