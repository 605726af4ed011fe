"""What do the machines boot? A kernel, and one archive with all their files, made of Debian's packages.

It is made once and kept under ``/var/tmp``, named by its recipe: this file, what a guest does at its start, the
release. Nothing is installed on this machine and nothing is mounted. The kernel unpacks the archive into its memory,
so a guest has no disk, starts the same each time, and what is written in it is gone with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.rdma import needs

CACHE = Path("/var/tmp/diag-rdma-image")
RC = Path(__file__).with_name("rc.sh")
PACKAGES = (
    "bash", "busybox-static", "ethtool", "findutils", "ibverbs-providers", "ibverbs-utils", "infiniband-diags",
    "iproute2", "iputils-ping", "kmod", "libc-bin", "linux-image-amd64", "nftables", "openssh-server", "pciutils",
    "perftest", "procps", "python3", "rdma-core", "rdmacm-utils", "util-linux",
)  # fmt: skip
MODULES = (
    "virtio_pci", "virtio_net", "virtio_rng", "qemu_fw_cfg", "rdma_rxe", "ib_uverbs", "rdma_ucm", "ib_umad",
    "crc32c_generic", "crc32_pclmul", "nf_tables", "nft_ct", "nft_reject_inet", "sch_netem", "sch_tbf",
)  # fmt: skip
# Most of what the packages bring is not for a guest: manuals, Perl, firmware of devices it has not, time zones.
SURPLUS = (
    "boot", "lib/udev", "lib/systemd", "usr/lib/systemd", "usr/share/doc", "usr/share/man", "usr/share/locale",
    "usr/share/perl", "usr/share/perl5", "usr/share/info", "usr/share/zoneinfo", "usr/share/bash-completion",
    "usr/share/initramfs-tools", "usr/lib/x86_64-linux-gnu/perl", "usr/lib/x86_64-linux-gnu/perl-base",
    "var/lib/apt", "var/cache",
)  # fmt: skip
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    "user:x:1000:1000::/home/user:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\nsshd:!:19000::::::\n",
    "etc/inittab": "::sysinit:/etc/rc\n::respawn:/usr/sbin/sshd -D -e\n",
    "etc/ssh/sshd_config": "HostKey /etc/ssh/ssh_host_ed25519_key\nUsePAM yes\nUseDNS no\nPermitRootLogin yes\n"
    "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintLastLog no\nMaxStartups 100\n",
    "etc/pam.d/sshd": "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_limits.so\n",
    "etc/pam.d/other": "auth required pam_deny.so\naccount required pam_deny.so\nsession required pam_deny.so\n",
    "etc/security/limits.conf": "".join(
        f"{who} - {limit}\n"
        for who in ("root", "*")
        for limit in ("memlock unlimited", "nofile 1048576", "nproc 65536")
    ),
}


@dataclass(frozen=True, kw_only=True)
class Image:
    kernel: Path
    files: Path
    """The archive; for QEMU and the kernel, an initial RAM disk."""


def image() -> Image:
    """The one that is kept, or a new one; two who ask at once make one."""
    folder = CACHE / _recipe()
    CACHE.mkdir(mode=0o755, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _forget_others()
            with tempfile.TemporaryDirectory(dir=CACHE) as room:
                _make(Path(room))
                (Path(room) / "made").rename(folder)
    return Image(kernel=folder / "kernel", files=folder / "files")


def _recipe() -> str:
    ingredients = (Path(__file__).read_bytes(), RC.read_bytes(), needs.release().encode())
    return hashlib.sha256(b"\0".join(ingredients)).hexdigest()[:16]


def _forget_others() -> None:
    for other in CACHE.iterdir():
        if other.is_dir():
            shutil.rmtree(other)


def _make(room: Path) -> None:
    root, made = room / "root", room / "made"
    made.mkdir()
    _unpack_packages(root)
    (kernel,) = (root / "boot").glob("vmlinuz-*")
    shutil.copyfile(kernel, made / "kernel")
    _keep_modules(root, kernel.name.removeprefix("vmlinuz-"))
    for surplus in SURPLUS:
        shutil.rmtree(root / surplus, ignore_errors=True)
    _write_files(root)
    subprocess.run(("chroot", str(root), "/sbin/ldconfig"), check=True, env={"PATH": needs.SYSTEM_PATH})
    _compile_python(root)
    _archive(root, made / "files")


def _unpack_packages(root: Path) -> None:
    """From where this machine takes its own."""
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.sources")]
    argv = ("mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(PACKAGES)}", needs.release(), str(root))
    made = subprocess.run(
        (*argv, *(str(one) for one in sources if one.exists())), capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise RuntimeError(f"mmdebstrap: {made.stderr.strip()[-1000:]}")


def _keep_modules(root: Path, version: str) -> None:
    """Those that a guest loads and what they need, of a few thousand."""
    subprocess.run(("depmod", "-b", str(root), version), check=True)
    argv = ("modprobe", "-d", str(root), "-S", version, "--show-depends", "-a", *MODULES)
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    needed = {Path(line.split()[1]) for line in said.splitlines() if line.startswith("insmod ")}
    for path in (root / "lib/modules" / version / "kernel").rglob("*.ko"):
        if path not in needed:
            path.unlink()
    subprocess.run(("depmod", "-b", str(root), version), check=True)


def _write_files(root: Path) -> None:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copyfile(RC, root / "etc/rc")
    (root / "etc/rc").chmod(0o755)
    (root / "etc/shadow").chmod(0o600)
    (root / "init").symlink_to("bin/busybox")
    busybox = subprocess.run((str(root / "bin/busybox"), "--list-full"), capture_output=True, text=True, check=True)
    for applet in map(Path, busybox.stdout.split()):
        if not any((root / folder / applet.name).exists() for folder in ("bin", "sbin", "usr/bin", "usr/sbin")):
            (root / applet).symlink_to("/bin/busybox")


def _compile_python(root: Path) -> None:
    """Else each start of an agent would, in an emulated processor."""
    libraries = ["/" + str(path.relative_to(root)) for path in (root / "usr/lib").glob("python3.*")]
    argv = ("chroot", str(root), "/usr/bin/python3", "-m", "compileall", "-q", "-j0", *libraries)
    subprocess.run(argv, check=True, env={"PATH": needs.SYSTEM_PATH})


def _archive(root: Path, target: Path) -> None:
    names = subprocess.run(("find", ".", "-print0"), cwd=root, capture_output=True, check=True).stdout
    with target.open("wb") as file:
        argv = ("cpio", "--null", "--create", "--format=newc", "--quiet", "--owner=+0:+0")
        subprocess.run(argv, cwd=root, input=names, stdout=file, check=True, env={"PATH": os.environ["PATH"]})
