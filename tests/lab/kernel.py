"""Which system calls make a host? Mounts, namespaces, a new root, an address; standard library only."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import socket
import struct

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x2, 0x4, 0x1000, 0x4000, 0x40000
MNT_DETACH = 2
NEW_MOUNTS, NEW_HOSTNAME, NEW_IPC, NEW_PIDS, NEW_NETWORK = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000

PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}  # glibc has no wrapper
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C
IFF_UP = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    done = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(done, f"mount {source} on {target}")


def detach(target: str) -> None:
    _check(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), f"unshare {flags:#x}")


def enter(fd: int, kind: int) -> None:
    _check(_libc.setns(fd, kind), f"setns {kind:#x}")


def new_root(path: str) -> None:
    """Make ``path`` (a mount point) the root and forget the old one; see pivot_root(2), 'pivot_root(".", ".")'."""
    os.chdir(path)
    _check(_libc.syscall(PIVOT_ROOT[platform.machine()], b".", b"."), f"pivot_root {path}")
    detach(".")
    os.chdir("/")


def bring_up(interface: str, address: str = "", netmask: str = "") -> None:
    """What ``ip addr add`` and ``ip link set up`` do, without a process for each."""
    name = interface.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for request, text in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, netmask)):
            if text:
                in_addr = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(text))
                fcntl.ioctl(any_socket, request, in_addr)
        answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack("16sH14x", name, 0))
        (flags,) = struct.unpack_from("H", answer, 16)
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", name, flags | IFF_UP))
