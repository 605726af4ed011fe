"""Clusters that differ in their network alone: eight H100 a node, two or four HCAs, every pair measured."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import permutations
from typing import Any

from diag.facts.links import TCP, Flow, Links
from diag.facts.network import Hostname, Interface
from diag.facts.node import Node
from diag.facts.plan import Plan
from diag.facts.rdma import Gid, Hca, RdmaPort
from diag.facts.record import Missing
from diag.facts.snapshot import Snapshot
from diag.facts.software import Setting, Software
from diag.facts.system import Limits
from diag.report.ink import Ink
from diag.report.launch import plan_lines
from tests.planner.clusters import all_reduce, eight_h100, snapshot

TCP_RATE, RAIL_RATE = 11e9, 46e9
SUBNET = "fe80:0000:0000:0000"
OTHER_SUBNET = "fec0:0000:0000:0001"


def interface(name: str, *addresses: str, kind: str = "physical", state: str = "up", **facts: Any) -> Interface:
    return Interface(name=name, kind=kind, state=state, mtu_bytes=1500, addresses=addresses, **facts)


LOOPBACK = interface("lo", "127.0.0.1/8", kind="loopback", state="unknown")
DOCKER = interface("docker0", "172.17.0.1/16", kind="bridge", virtual_bridge=True)


def interfaces(number: int, *more: Interface, data: str = "bond0") -> tuple[Interface, ...]:
    return LOOPBACK, interface(data, f"10.0.0.{number}/24", kind="bond"), DOCKER, *more


# -- RDMA


def infiniband(name: str, *, subnet: str = SUBNET, state: str = "active", gbit: int = 400, ports: int = 1) -> Hca:
    gid = Gid(index=0, gid=f"{subnet}:0002:c903:0001:{name[-1]:0>4}", kind="ib")
    each = tuple(port(number, "InfiniBand", (gid,), state=state, gbit=gbit) for number in range(1, ports + 1))
    return hca(name, *each)


def roce(name: str, *gids: Gid, state: str = "active", gbit: int = 400) -> Hca:
    return hca(name, port(1, "Ethernet", gids, state=state, gbit=gbit))


def port(number: int, layer: str, gids: tuple[Gid, ...], *, state: str, gbit: int) -> RdmaPort:
    physical = "linkup" if state == "active" else "polling"
    rate = gbit * 10**9
    return RdmaPort(
        number=number, link_layer=layer, state=state, physical_state=physical, gids=gids, rate_bits_per_s=rate
    )


def hca(name: str, *ports: RdmaPort, **facts: Any) -> Hca:
    found = {"device_file": f"/dev/infiniband/uverbs{name[-1]}", "permitted": True} | facts
    return Hca(name=name, driver="mlx5_core", ports=ports, **found)


def gid(index: int, kind: str, address: str | None = None) -> Gid:
    """Of IPv4, or the link-local one."""
    if address is None:
        return Gid(index=index, gid="fe80:0000:0000:0000:0a00:27ff:fe00:0001", kind=kind)
    high, low = (int(part) for part in address.split(".")[:2]), (int(part) for part in address.split(".")[2:])
    words = ":".join(f"{a:02x}{b:02x}" for a, b in (tuple(high), tuple(low)))
    return Gid(index=index, gid=f"0000:0000:0000:0000:0000:ffff:{words}", kind=kind, ipv4=address)


def gid_table(*addresses: str) -> tuple[Gid, ...]:
    """As mlx5 fills it: each address as RoCE v1, then as v2, link-local first."""
    told = [None, *addresses]
    return tuple(
        gid(2 * place + more, kind, address)
        for place, address in enumerate(told)
        for more, kind in enumerate(("roce_v1", "roce_v2"))
    )


def rails(*names: str) -> tuple[Hca, ...]:
    return tuple(infiniband(name) for name in names or ("mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3"))


# -- nodes


def node(number: int, *, own: tuple[Interface, ...] | None = None, **facts: Any) -> Node:
    name = f"gpu0{number}"
    known: dict[str, Any] = {
        "interfaces": interfaces(number) if own is None else own,
        "hostname": Hostname(name=name, addresses=(f"10.0.0.{number}",)),
        "settings": (),
        "hcas": (),
        "limits": Limits(memlock_soft_bytes=None, ipc_lock=False),
        "software": Software(packages=(), nccl="2.27.3"),
    }
    return eight_h100(name, **(known | facts))


def set_on(name: str, value: str) -> tuple[Setting, ...]:
    return (Setting(name=name, value=value, source="environment"),)


# -- links


def flows(
    names: tuple[str, ...],
    rate: float,
    method: str = TCP,
    rail: str | None = None,
    slow: Mapping[frozenset[str] | str, float] | None = None,
) -> tuple[Flow, ...]:
    """Both directions of all pairs. ``slow``: a pair or a node -> what it carries."""
    found = []
    for source, target in permutations(names, 2):
        held = [
            rate,
            *(low for who, low in (slow or {}).items() if who in (source, target, frozenset((source, target)))),
        ]
        found.append(Flow(source=source, target=target, round=1, method=method, rail=rail, bytes_per_s=min(held)))
    return tuple(found)


def failed(source: str, target: str, why: str, cause: str, *, method: str = "ib_write_bw", rail: str) -> Flow:
    return Flow(source=source, target=target, round=1, method=method, rail=rail, bytes_per_s=Missing(why), cause=cause)


def links(*found: tuple[Flow, ...]) -> Links:
    every = tuple(flow for each in found for flow in each)
    return Links(mode="all", nodes=tuple(sorted({flow.source for flow in every})), flows=every)


def cluster(*nodes: Node, busbw: float | None = 40e9, **fields: Any) -> Snapshot:
    names = tuple(each.name for each in nodes)
    collective = {} if busbw is None else {"collective": all_reduce(names, busbw)}
    return snapshot(*nodes, **(collective | fields))


def pair(one: int, other: int) -> frozenset[str]:
    return frozenset((f"gpu0{one}", f"gpu0{other}"))


# -- what is planned


def told(plan: Plan) -> str:
    return " ".join(" ".join(plan_lines(plan, Ink(io.StringIO(), width=80), explain=True)).split())


def only_network_differs(one: Plan, other: Plan) -> bool:
    """Neither a parameter, nor memory, nor a flag of the command."""
    return (one.parameters, one.memory, one.kv, one.verdict, one.recipe.argv) == (
        other.parameters,
        other.memory,
        other.kv,
        other.verdict,
        other.recipe.argv,
    )
