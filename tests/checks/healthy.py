"""Healthy clusters to change one thing in: four nodes of eight GPUs with RDMA, and four without either.

Values are those of real machines of that kind (HGX H100, ConnectX-7; small servers on 1 Gbit/s), made by hand.
``python -m tests.checks.healthy`` writes them to tests/data/snapshots.
"""

from __future__ import annotations

from pathlib import Path

from diag.facts.collective import Collective, Rank, Step
from diag.facts.links import Background, Flow, Links, PortMatrix, Round
from diag.facts.network import Resolution
from diag.facts.record import Missing
from diag.facts.snapshot import SCHEMA, Controller, Snapshot, Stage, save
from tests.checks.machines import GPUS, MODEL, cpu_node, gpu_node

SNAPSHOTS = Path(__file__).parent.parent / "data" / "snapshots"


def gpu_cluster(nodes: int = 4) -> Snapshot:
    return _cluster(
        tuple(gpu_node(number) for number in range(1, nodes + 1)), _nccl, MODEL, ("bond0", 4.7e9, 25e9, 9000)
    )


def cpu_cluster(nodes: int = 4) -> Snapshot:
    return _cluster(
        tuple(cpu_node(number) for number in range(1, nodes + 1)), _gloo, None, ("eth0", 1.17e8, 1.25e8, 1500)
    )


def _cluster(nodes, collective, model_path, link) -> Snapshot:
    names = tuple(node.name for node in nodes)
    return Snapshot(
        schema=SCHEMA,
        taken_at="2026-11-21T08:00:00+00:00",
        run_id="0123456789ab",
        level="normal",
        controller=Controller(hostname="login1", python="3.11.9", diag="0.1.0"),
        model_path=model_path,
        nodes=nodes,
        resolutions=tuple(Resolution(name=node.name, addresses=(node.address,), nodes=names) for node in nodes),
        links=_links(names, *link) if len(names) > 1 else Missing("one node: it has no link to another"),
        collective=collective(names),
        gloo=_beside(names) if collective is _nccl else None,
        without=None,
        stages=tuple(
            Stage(name=name, seconds=seconds, nodes_done=len(nodes), nodes_total=len(nodes))
            for name, seconds in (
                ("reach", 0.4),
                ("facts", 0.6),
                ("measure", 18.2),
                ("links", 5.2),
                ("collectives", 9.8),
            )
        ),
    )


def _links(names, interface, bytes_per_s, line, mtu) -> Links:
    """The collective's ring, each direction within 1 % of the others."""
    edges = list(zip(names, (*names[1:], names[0]), strict=True)) if len(names) > 2 else [names]
    ways = [way for a, b in edges for way in ((a, b), (b, a))]
    flows = tuple(
        Flow(
            source=source,
            target=target,
            round=1 + edges.index((source, target) if (source, target) in edges else (target, source)) % 2,
            bytes_per_s=bytes_per_s * (1 + place % 3 / 400),
            windows_bytes_per_s=tuple(bytes_per_s * (1 + part % 3 / 300) for part in range(8)),
            latency_s=2.4e-05,
            retransmits=0,
            path_mtu_bytes=mtu,
        )
        for place, (source, target) in enumerate(ways)
    )
    ports = (29500, 6379, 8000, 30000, 40031)
    return Links(
        mode="ring",
        nodes=names,
        rounds=tuple(Round(number=n, why=f"ring {n}/2", pairs=len(names) // 2, seconds=1.9) for n in (1, 2)),
        flows=flows,
        background=tuple(
            Background(node=name, interface=interface, bytes_per_s=1200.0, line_bytes_per_s=line) for name in names
        ),
        ports=PortMatrix(ports=ports, tried=len(ports) * len(names) * (len(names) - 1), nodes=names),
    )


def _nccl(names) -> Collective:
    steps = ((8192, 4.1e-05), (1 << 20, 1.2e-4), (1 << 26, 5.4e-4))
    return _collective("nccl", names, GPUS, steps, interface="bond0", library="nccl 2.27.3")


def _gloo(names) -> Collective:
    steps = ((8192, 4.0e-4), (1 << 20, 0.0136), (1 << 26, 0.86))
    return _collective("gloo", names, 1, steps, interface="eth0", library="gloo of torch 2.13.0+cpu")


def _beside(names) -> Collective:
    steps = ((8192, 4.0e-4), (65536, 9.0e-4), (1 << 20, 0.0136))
    return _collective("gloo", names, GPUS, steps, interface="bond0", library="gloo of torch 2.11.0+cu128")


def _collective(backend, names, per_node, steps, *, interface, library) -> Collective:
    world = len(names) * per_node
    phases = (("spawned", 0.1), ("imported", 3.2), ("roll_called", 3.3), ("initialised", 3.9), ("done", 9.1))
    return Collective(
        backend=backend,
        nodes=names,
        world_size=world,
        finished=True,
        seconds=9.8,
        steps=tuple(_step(size, seconds, world) for size, seconds in steps),
        ranks=tuple(
            Rank(rank=index * per_node + local, node=name, local_rank=local, phases=phases)
            for index, name in enumerate(names)
            for local in range(per_node)
        ),
        interface=interface,
        interfaces=tuple((name, interface) for name in names),
        interface_why="routes between all hosts",
        rendezvous="10.0.0.11:29517",
        library=library,
        summary=f"all {len(steps)} sizes verified",
    )


def _step(size: int, seconds: float, world: int) -> Step:
    busbw = 2 * (world - 1) / world * size / seconds
    times = (seconds, seconds * 1.02, seconds * 0.99)
    return Step(
        size_bytes=size, times_s=times, algbw_bytes_per_s=size / seconds, busbw_bytes_per_s=busbw, verified=True
    )


CLUSTERS = {"healthy-gpu.json": gpu_cluster, "healthy-cpu.json": cpu_cluster}

if __name__ == "__main__":
    for name, cluster in CLUSTERS.items():
        save(cluster(), SNAPSHOTS / name)
