"""What healthy machines of two kinds say of themselves: HGX H100 with ConnectX-7, and small servers on 1 Gbit/s."""

from __future__ import annotations

import json
from typing import Any

from diag.facts.container import Container
from diag.facts.model import ModelFile, ModelFiles, ReadSpeed, TensorGroup
from diag.facts.network import EphemeralPorts, Hostname, Interface, Route
from diag.facts.node import Agent, Node, Reach
from diag.facts.record import Missing
from diag.facts.software import Package, Setting, Software
from diag.facts.system import Clock, Filesystem, Limits, Memory, System
from diag.units import GIB, MIB
from tests.checks.hgx import GPUS, HCAS, between, gpu_system, h100, h100_on_the_bus, torch_view
from tests.checks.hgx_rdma import connectx7, hca_on_the_bus, rdma_system
from tests.checks.hgx_speed import speed

MODEL = "/models/Qwen3-32B"
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "bfloat16", "vocab_size": 151936,
    "hidden_size": 5120, "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 25600, "max_position_embeddings": 40960, "tie_word_embeddings": False,
    "transformers_version": "4.51.0",
}  # fmt: skip
SHARDS = 17
WEIGHTS_BYTES = 65_524_246_528


def gpu_node(number: int) -> Node:
    name, address = f"gpu{number:02}", f"10.0.0.{number + 10}"
    return _node(
        name,
        address,
        memory=_memory(2016),
        interfaces=(
            _interface("lo", "loopback", "127.0.0.1/8", "::1/128", mtu=65536, state="unknown"),
            _interface("eno1", "physical", f"10.1.0.{number + 10}/24", gbit=1),
            _interface("bond0", "bond", f"{address}/16", gbit=200, mtu=9000),
            _interface("docker0", "bridge", "172.17.0.1/16", state="down", virtual_bridge=True),
        ),
        routes=_routes("bond0"),
        devices=tuple(h100_on_the_bus(index) for index in range(GPUS))
        + tuple(hca_on_the_bus(index) for index in range(HCAS)),
        gpus=tuple(h100(number, index) for index in range(GPUS)),
        between=tuple(between()),
        gpu_system=gpu_system(),
        hcas=tuple(connectx7(number, index) for index in range(HCAS)),
        rdma_system=rdma_system(),
        torch_view=torch_view(number),
        speed=speed(number),
        software=_software(
            "2.8.0+cu128", nccl="2.27.3", cuda="12.8", driver="570.158.01", engine="vllm", version="0.11.0"
        ),
        settings=(
            Setting(name="NCCL_SOCKET_IFNAME", value="=bond0", source="environment"),
            Setting(name="GLOO_SOCKET_IFNAME", value="bond0", source="environment"),
            Setting(name="NCCL_IB_HCA", value="mlx5", source="/etc/nccl.conf"),
            Setting(name="NCCL_P2P_LEVEL", value="NVL", source="/etc/nccl.conf"),
            Setting(name="CUDA_VISIBLE_DEVICES", value="0,1,2,3,4,5,6,7", source="environment"),
            Setting(name="PYTORCH_CUDA_ALLOC_CONF", value="max_split_size_mb:512", source="environment"),
            Setting(name="http_proxy", value="http://proxy.example:3128", source="environment"),
            Setting(name="no_proxy", value="localhost,10.0.0.0/16", source="environment"),
        ),
        model=_model(),
        read_speed=ReadSpeed(
            path=MODEL, bytes_per_s=2.1e9, read_bytes=GIB, repetitions_bytes_per_s=(2.1e9,) * 3, direct=True, readers=4
        ),
        filesystems=(
            *_filesystems(1007 * GIB),
            _filesystem("model", MODEL, "nfs4", 40_000 * GIB, 9_000 * GIB, shared=True),
        ),
    )


def cpu_node(number: int) -> Node:
    name, address = f"node{number}", f"192.168.7.{number + 10}"
    return _node(
        name,
        address,
        memory=_memory(64),
        interfaces=(
            _interface("lo", "loopback", "127.0.0.1/8", mtu=65536, state="unknown"),
            _interface("eth0", "physical", f"{address}/24", gbit=1),
        ),
        routes=_routes("eth0"),
        devices=(),
        gpus=(),
        between=(),
        gpu_system=None,
        hcas=(),
        rdma_system=None,
        torch_view=None,
        speed=Missing("no accelerator"),
        software=_software("2.13.0+cpu", nccl=None, cuda=None, driver=None, engine="ray", version="2.60.0"),
        settings=(),
        filesystems=_filesystems(32 * GIB),
    )


def _node(name: str, address: str, **topics: Any) -> Node:
    common = {
        "reach": Reach(outcome="answered", seconds=0.31),
        "agent": Agent(pid=4711, python="3.11.9", executable="/opt/venv/bin/python3", user="ops"),
        "system": System(
            os="Ubuntu 22.04.5 LTS",
            kernel="5.15.0-144-generic",
            machine="x86_64",
            cpu_model="Intel(R) Xeon(R) Platinum 8480C",
            cpus=224,
            cores=112,
            numa_nodes=2,
            boot_id=f"6d1f9a52-0000-4000-8000-{address.replace('.', ''):0>12}",
            uptime_s=1.9e6,
        ),
        "limits": Limits(
            memlock_soft_bytes=None,
            memlock_hard_bytes=None,
            nofile_soft=1024,
            nofile_hard=1048576,
            nproc_soft=None,
            stack_soft_bytes=8 * MIB,
            ipc_lock=False,
        ),
        "clock": Clock(offset_s=0.0011, uncertainty_s=0.0004),
        "container": Container(kind=None, told_by="the first mount namespace", pids_of_machine=True),
        "hostname": Hostname(name=name, addresses=(address,)),
        "listeners": (),
        "ephemeral_ports": EphemeralPorts(low=32768, high=60999),
        "processes": (),
        "xids": (),
        "increases": (),
    }
    return Node(name=name, address=address, **(common | topics))


def _memory(gib: int) -> Memory:
    return Memory(
        total_bytes=gib * GIB,
        available_bytes=gib * GIB - 20 * GIB,
        cgroup_limit_bytes=None,
        cgroup_used_bytes=None,
        numa_available_bytes=(gib * GIB // 2 - 10 * GIB,) * 2,
    )


def _interface(name, kind, *addresses: str, gbit=None, mtu=1500, state="up", virtual_bridge=False) -> Interface:
    speed = None if gbit is None else gbit * 10**9
    return Interface(
        name=name,
        kind=kind,
        state=state,
        mtu_bytes=mtu,
        addresses=addresses,
        speed_bits_per_s=speed,
        virtual_bridge=virtual_bridge,
    )


def _routes(interface: str) -> tuple[Route, ...]:
    return (Route(destination="default", interface=interface, gateway="10.0.0.1"),)


def _software(torch, *, nccl, cuda, driver, engine, version) -> Software:
    packages = [("torch", torch), ("numpy", "2.2.6"), ("transformers", "4.57.1"), (engine, version)]
    if nccl:
        packages.append(("nvidia-nccl-cu12", nccl))
    return Software(
        python="3.11.9",
        packages=tuple(Package(name=name, version=each) for name, each in sorted(packages)),
        torch=torch,
        nccl=nccl,
        cuda=cuda,
        hip=None,
        ollama=None,
        driver=driver,
    )


def _filesystems(total: int) -> tuple[Filesystem, ...]:
    return (
        _filesystem("shm", "/dev/shm", "tmpfs", total, total - MIB),
        _filesystem("tmp", "/tmp", "ext4", 1760 * GIB, 900 * GIB),
        _filesystem("root", "/", "ext4", 1760 * GIB, 900 * GIB),
        _filesystem("containers", "/var/lib/docker", "ext4", 1760 * GIB, 900 * GIB),
    )


def _filesystem(use, path, kind, total, free, *, shared=False) -> Filesystem:
    return Filesystem(
        path=path,
        use=use,
        mount_point=path if kind != "ext4" else "/",
        source=kind if kind != "ext4" else "/dev/nvme0n1p2",
        kind=kind,
        shared=shared,
        total_bytes=total,
        free_bytes=free,
        free_inodes=100_000_000,
        read_only=False,
    )


def _model() -> ModelFiles:
    shards = [f"model-{index:05}-of-{SHARDS:05}.safetensors" for index in range(1, SHARDS + 1)]
    config = json.dumps(CONFIG)
    return ModelFiles(
        path=MODEL,
        exists=True,
        config_json=config,
        weights_bytes=WEIGHTS_BYTES,
        digest="5c1f" * 16,
        files=(
            ModelFile(name="config.json", size_bytes=len(config), sha256="ab" * 32),
            *(ModelFile(name=shard, size_bytes=WEIGHTS_BYTES // SHARDS + 4096) for shard in shards),
        ),
        tensor_groups=(
            TensorGroup(dtype="BF16", tensors=707, parameters=WEIGHTS_BYTES // 2, size_bytes=WEIGHTS_BYTES),
        ),
    )
