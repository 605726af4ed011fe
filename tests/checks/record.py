"""Records, on the lab's hosts, what a run sees of each fault: ``python -m tests.checks.record [NAME…]`` (root).

Each recording is three hosts of which the second has the fault; ``healthy`` has none. The Snapshots lie in
tests/data/snapshots/lab, with the checkout's own place taken out.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from tests.lab.cluster import PROJECT, Lab
from tests.lab.host import Host

RECORDED = PROJECT / "tests" / "data" / "snapshots" / "lab"
HOSTS, FAULTY = 3, 1
MODEL = "/models/tiny"
SHARD = "model-00002-of-00002.safetensors"
CONFIG = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "bfloat16"}

Plant = Callable[[Host], object]


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """``boot``: a fault of the lab; ``plant``: what is done to the second host; ``env``: its own variables."""

    check: str
    boot: str = ""
    plant: Plant | None = None
    env: Mapping[str, str] = {}
    env_of_all: Mapping[str, str] = {}
    level: str = "passive"
    model: bool = False


def shell(script: str) -> Plant:
    return lambda host: host.run(["sh", "-c", script])


def listen(host: Host) -> None:
    """It lives as long as the host."""
    host.popen(["python3", "-m", "http.server", "8000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host.run(["sh", "-c", "until ss -ltn | grep -q :8000; do sleep 0.1; done"])


GLOO, NCCL = {"GLOO_SOCKET_IFNAME": "eth0"}, {"NCCL_SOCKET_IFNAME": "=eth0"}

RECORDINGS = {
    "healthy": Recording(check="", level="normal", model=True),
    "hosts127": Recording(check="hostname_is_not_loopback", boot="hosts127"),
    "shm64m": Recording(check="shared_memory_is_large_enough", boot="shm64m"),
    "othertorch": Recording(check="torch_is_the_same_on_all_nodes", boot="othertorch"),
    "noisy": Recording(check="login_shell_is_silent", boot="noisy"),
    "fulldisk": Recording(check="file_system_has_space", boot="fulldisk"),
    "lownofile": Recording(check="open_files_limit_is_high_enough", boot="lownofile"),
    "skew": Recording(check="clock_agrees_with_peers", boot="skew"),
    "mtu": Recording(check="data_mtu_is_the_same_on_all_nodes", plant=lambda host: host.set_mtu(1400)),
    "listener": Recording(check="engine_ports_are_free", plant=listen),
    "readonly": Recording(check="tmp_is_writable", plant=shell("mount -o remount,ro /tmp")),
    "fewports": Recording(
        check="ephemeral_ports_are_many",
        plant=shell("echo 60000 60999 > /proc/sys/net/ipv4/ip_local_port_range"),
    ),
    "gloo": Recording(check="gloo_socket_ifname_is_an_interface", env={"GLOO_SOCKET_IFNAME": "^lo"}, env_of_all=GLOO),
    "nccl": Recording(
        check="nccl_socket_ifname_matches_an_interface", env={"NCCL_SOCKET_IFNAME": "ib"}, env_of_all=NCCL
    ),
    "headonly": Recording(check="interface_variables_are_set_on_all_nodes_or_none", env=GLOO),
    "algorithm": Recording(check="nccl_settings_are_the_same_on_all_nodes", env={"NCCL_ALGO": "Tree"}),
    "proxy": Recording(check="proxy_spares_the_peers", env={"http_proxy": "http://192.0.2.1:3128"}),
    "nomodel": Recording(check="model_exists", plant=shell(f"umount {MODEL} && rmdir {MODEL}"), model=True),
    "noshard": Recording(check="model_has_all_its_files", plant=shell(f"rm {MODEL}/{SHARD}"), model=True),
    "cutshard": Recording(check="model_files_are_whole", plant=shell(f"truncate -s 300 {MODEL}/{SHARD}"), model=True),
    "othermodel": Recording(
        check="model_is_the_same_on_all_nodes", plant=shell(f"echo >> {MODEL}/config.json"), model=True
    ),
}


def record(name: str, recording: Recording, folder: Path) -> None:
    (folder / "model").mkdir()
    write_model(folder / "model")
    faults = {FAULTY: (recording.boot,)} if recording.boot else {}
    lab = Lab.up(HOSTS, faults=faults, shares={MODEL: folder / "model"} if recording.model else {})
    try:
        if recording.plant is not None:
            recording.plant(lab.hosts[FAULTY])
        inventory = folder / "inventory.toml"
        inventory.write_text(inventory_of(lab, recording))
        run(lab, recording, folder / "run", inventory)
    finally:
        lab.down()
    text = (folder / "run" / "snapshot.json").read_text().replace(str(PROJECT), "/opt/diag")
    (RECORDED / f"{name}.json").write_text(text)


def run(lab: Lab, recording: Recording, out: Path, inventory: Path) -> None:
    command = [sys.executable, "-m", "diag", "run", "--inventory", inventory, "--ssh-config", lab.ssh_config,
               "--level", recording.level, "--out", out, "--max-size", "64KiB",
               *(("--model", MODEL) if recording.model else ())]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=PROJECT, stdin=subprocess.DEVNULL)
    if done.returncode not in (0, 1, 3):
        sys.exit(f"diag run ended with {done.returncode}: {done.stderr[-2000:]}")


def inventory_of(lab: Lab, recording: Recording) -> str:
    lines = ["[defaults]", f"python = {json.dumps(str(lab.python))}"]
    for host in lab.hosts:
        own = recording.env if host.number == lab.hosts[FAULTY].number else {}
        env = ", ".join(f"{name} = {json.dumps(value)}" for name, value in {**recording.env_of_all, **own}.items())
        lines += [f"[hosts.{host.name}]", f"env = {{ {env} }}"]
    return "\n".join(lines) + "\n"


def write_model(folder: Path) -> None:
    """A model of two shards of one tensor each, as safetensors lays it out: header's length, header, bytes."""
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for number, shard in enumerate(shards):
        header = json.dumps({f"w{number}": {"dtype": "BF16", "shape": [16, 16], "data_offsets": [0, 512]}}).encode()
        (folder / shard).write_bytes(struct.pack("<Q", len(header)) + header + bytes(512))
    index = {"metadata": {"total_size": 1024}, "weight_map": {f"w{n}": shard for n, shard in enumerate(shards)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(CONFIG))


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    for chosen in sys.argv[1:] or RECORDINGS:
        with tempfile.TemporaryDirectory() as scratch:
            record(chosen, RECORDINGS[chosen], Path(scratch))
        print(f"{chosen}.json")
