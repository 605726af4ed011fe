"""A Snapshot and verdicts written by hand: small, and with one of everything that a report must tell apart."""

from __future__ import annotations

from diag.catalogue import Check
from diag.facts.collective import Collective, Step
from diag.facts.device import PciDevice
from diag.facts.node import Node, Reach
from diag.facts.plan import Discarded, EngineName, Estimate, KvCache, MemorySplit, Parameters, Plan, Recipe
from diag.facts.snapshot import SCHEMA, Controller, Snapshot
from diag.facts.verdict import About, Culprit, StageTime, Verdict, Verdicts

GIB = 1024**3
ABOUTS = {
    "hostname_is_not_loopback": About(
        title="hostname is not loopback",
        why="GLOO and Ray advertise it; the other ranks dial themselves and wait",
        do="put \"{address} {hostname}\" before 127.0.1.1 in /etc/hosts (needs root)\n$ ssh {node} 'hostname -i'",
    ),
    "mtu_is_uniform": About(title="mtu is uniform", why="frames get lost in silence", do="set one MTU"),
    "gpu_has_full_pcie_width": About(
        title="gpu has full pcie width",
        why="every copy is slow",
        do="reseat {subject}\n$ ssh {node} 'nvidia-smi -i {subject}'",
    ),
    "no_new_xid": About(title="no new xid", why="the driver reports broken GPUs there", do="read the log"),
    "swap_is_off": About(title="swap is off", why="a swapped engine stalls", do="swapoff -a"),
    "memlock_is_unlimited": About(title="memlock is unlimited", why="RDMA registers memory", do="raise it"),
    "own_check": About(title="own check", why="", do=""),
}
CHECKS = {
    name: Check(
        id=name,
        about=about,
        file=f"checks/{'gpus' if 'gpu' in name or 'xid' in name else 'network'}.py",
        line=1,
        per_node=True,
        optional=name == "no_new_xid",
        advice=name == "swap_is_off",
    )
    for name, about in ABOUTS.items()
}


def node(name: str, number: int, outcome: str = "answered") -> Node:
    reach = Reach(outcome=outcome, summary="" if outcome == "answered" else "Connection refused", do="start sshd")
    hca = PciDevice(
        kind="accelerator", vendor="nvidia", address="0000:3b:00.0", vendor_id="10de", device_id="2330", driver="nvidia"
    )
    return Node(name=name, address=f"10.0.0.{number}", reach=reach, devices=(hca,))


def snapshot(count: int = 4) -> Snapshot:
    names = [f"gpu{number:02}" for number in range(1, count + 1)]
    nodes = [node(name, number) for number, name in enumerate(names[:-1], 11)]
    step = Step(
        size_bytes=64 * 1024**2, times_s=(0.01,), algbw_bytes_per_s=7e9, busbw_bytes_per_s=11.2e9, verified=True
    )
    collective = Collective(
        backend="nccl", nodes=tuple(names[:-1]), world_size=24, finished=True, seconds=9.8, steps=(step,),
        interface="bond0", interface_why="routes between all hosts", summary="nccl 2.27, 24 ranks, bond0",
    )  # fmt: skip
    return Snapshot(
        schema=SCHEMA,
        taken_at="2026-11-20T10:00:00+00:00",
        run_id="20261120T100000Z-abcdef",
        level="normal",
        controller=Controller(hostname="login1", python="3.11.2", diag="0.1.0"),
        nodes=(*nodes, node(names[-1], 99, "node_unreachable")),
        collective=collective,
    )


def verdict(check: str, where: str | None, outcome: str, subject: str | None = None, **words: str) -> Verdict:
    return Verdict(check=check, node=where, subject=subject, outcome=outcome, **words)


def verdicts(count: int = 4) -> Verdicts:
    names = [f"gpu{number:02}" for number in range(1, count + 1)]
    silent, up = names[-1], names[:-1]
    every: list[Verdict] = []
    for name in up:
        every.append(
            verdict(
                "hostname_is_not_loopback", name, "failed", found=f"{name} resolves to 127.0.1.1 on {name}",
                expected="an address its peers can reach", summary=f"found {name} resolves to 127.0.1.1",
            )
            if name == "gpu02"
            else verdict("hostname_is_not_loopback", name, "passed")
        )  # fmt: skip
        every.append(verdict("mtu_is_uniform", name, "passed"))
        every += [
            verdict("gpu_has_full_pcie_width", name, "failed", f"gpu:{gpu}", found="x8", expected="x16", summary="x8")
            if (name, gpu) == ("gpu03", 5)
            else verdict("gpu_has_full_pcie_width", name, "passed", f"gpu:{gpu}")
            for gpu in range(8)
        ]
        every.append(verdict("no_new_xid", name, "not_measured", summary="only root can read the kernel log"))
        every.append(
            verdict("swap_is_off", name, "advice", found="8 GiB of swap", expected="none", summary="swap is on")
        )
        every.append(verdict("memlock_is_unlimited", name, "skipped", summary="no RDMA device"))
    every.append(verdict("own_check", None, "broken", summary="own.py:3: NameError: name 'x' is not defined"))
    every += [
        verdict(check, silent, "not_measured", summary="not reached: Connection refused")
        for check in ABOUTS
        if check != "own_check"
    ]
    culprits = (
        Culprit(kind="node", nodes=(silent,), cause="node_unreachable", summary="Connection refused", confidence=1.0),
        Culprit(
            kind="setting", nodes=("gpu02",), cause="gloo_hostname_loopback", confidence=0.95,
            summary="gpu02 resolves to 127.0.1.1 on gpu02",
        ),
    )  # fmt: skip
    stages = (
        StageTime(name="reach", seconds=0.4, nodes_done=count - 1, nodes_total=count),
        StageTime(name="facts", seconds=0.6, nodes_done=count - 1, nodes_total=count),
        StageTime(name="measure", seconds=18.2, nodes_done=count - 1, nodes_total=count),
        StageTime(name="collectives", seconds=9.8, nodes_done=count - 1, nodes_total=count),
    )
    return Verdicts(diag="0.1.0", exit_status=1, checks=ABOUTS, verdicts=tuple(every), culprits=culprits, stages=stages)


PLAN = Plan(
    verdict="FITS",
    reason="TP 8 inside a node; 4 replicas",
    engine=EngineName(name="vllm", version="0.33"),
    parameters=Parameters(tensor_parallel_size=8, max_model_len=8192, gpu_memory_utilization=0.86, max_num_seqs=64),
    memory=MemorySplit(
        weights_bytes=Estimate(low=17 * GIB, mid=17 * GIB, high=17 * GIB),
        kv_cache_bytes=Estimate(mid=48 * GIB),
    ),
    kv=KvCache(bytes_per_token=40960, capacity_tokens=1_259_000, max_concurrency=153.7),
    load_seconds=200.0,
    recipe=Recipe(
        argv=(
            "vllm", "serve", "/models/Qwen2.5 72B", "--tensor-parallel-size", "8", "--max-model-len", "8192",
            "--gpu-memory-utilization", "0.86", "--enforce-eager",
        ),
        env={"NCCL_SOCKET_IFNAME": "bond0"},
    ),
    discarded=(Discarded(parameters=Parameters(tensor_parallel_size=32), reason="crosses bond0, 11.2 GB/s"),),
    sources={
        "model": "/models/Qwen2.5 72B on gpu01",
        "--gpu-memory-utilization": "gpu03:2 has 68.9 of 79.2 GiB free (pid 4121, nvidia-smi dmon)",
        "--enforce-eager": "no room for graphs",
        "NCCL_SOCKET_IFNAME": "carried the measured collective between the nodes",
    },
)  # fmt: skip
