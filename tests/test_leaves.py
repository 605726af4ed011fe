"""Leaves that share half as much between them: does what the inventory says of them reach whoever compares flows?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diag import roster, sweeping
from diag.facts.links import Links
from diag.facts.node import Node
from diag.facts.record import unknown
from diag.facts.snapshot import Snapshot, load, save
from diag.inventory import Host, hostfile, toml
from diag.judge import judge
from diag.remote.pairs import Measured
from tests.checks.healthy import cpu_cluster
from tests.checks.machines import cpu_node
from tests.localise.simulated import Network
from tests.test_sweeping import Node as Answering

COUNT, LEAF = 32, 4


def node(number: int, leaf: str | None) -> Node:
    return msgspec.structs.replace(cpu_node(number), leaf=leaf)


def leaf_of(number: int) -> str:
    return f"leaf{(number - 1) // LEAF}"


def swept(monkeypatch: pytest.MonkeyPatch, *, told: bool, mode: str = "ring") -> tuple[Links, tuple[Node, ...]]:
    nodes = tuple(node(number, leaf_of(number) if told else None) for number in range(1, COUNT + 1))
    tree = {each.name: leaf_of(number) for number, each in enumerate(nodes, 1)}
    network = Network(nodes=list(tree), noise=0.02, groups=tree, across=0.5, seed=1)

    def measure(_sessions: Any, _spots: Any, there: Sequence[tuple[str, str]], number: int, *_: Any, **__: Any) -> Any:
        flows = [msgspec.structs.replace(flow, round=number) for flow in network.measured(there)]
        return Measured(flows=tuple(flows), lost={})

    monkeypatch.setattr(sweeping, "BACKGROUND_S", 0.0)
    monkeypatch.setattr(sweeping.pairs, "measure", measure)
    sessions: Any = {each.name: Answering({}) for each in nodes}
    order = sweeping.Order(mode=mode, level="quick", limit_s=60)
    return sweeping.Sweep(sessions, nodes, order).measure(), nodes


def culprits(links: Links, nodes: tuple[Node, ...], tmp_path: Path) -> tuple[set[str], set[str]]:
    """Causes of culprits, and outcomes of links, of the Snapshot as it is kept."""
    cluster: Snapshot = msgspec.structs.replace(
        cpu_cluster(), nodes=nodes, links=links, level="quick", collective=unknown("not part of this")
    )
    save(cluster, tmp_path / "snapshot.json")
    judged = judge(load(tmp_path), keyword="link_is_as_fast")
    return {culprit.cause for culprit in judged.culprits}, {verdict.outcome for verdict in judged.verdicts}


@pytest.mark.parametrize("told", [True, False])
def test_what_leaves_share_by_design_blames_nobody(monkeypatch, tmp_path, told):
    """Where they are not named, links that are slow alike are a way that they share, or each of them: nobody knows."""
    links, nodes = swept(monkeypatch, told=told)
    causes, outcomes = culprits(links, nodes, tmp_path)
    assert causes == set()
    assert outcomes == ({"passed"} if told else {"passed", "not_measured"})
    doubted = sum(row.pairs for row in links.rounds if "suspects" in row.why)
    assert (doubted >= COUNT // LEAF) is not told


def test_all_pairs_of_a_leaf_meet_before_those_of_several(monkeypatch):
    links, nodes = swept(monkeypatch, told=True, mode="all")
    leaf = {each.name: each.leaf for each in nodes}
    within = {flow.round for flow in links.flows if leaf[flow.source] == leaf[flow.target]}
    across = {flow.round for flow in links.flows if leaf[flow.source] != leaf[flow.target]}
    assert max(within) < min(across)


def test_an_inventory_names_the_leaf_of_a_host(tmp_path):
    (tmp_path / "c.toml").write_text('[groups.a]\nhosts = "gpu[01-02]"\nleaf = "sw1"\n[hosts.gpu02]\nleaf = "sw2"\n')
    (tmp_path / "hosts").write_text("gpu01 leaf=sw1\ngpu02 leaf=sw2\n")
    for hosts in (toml.read(tmp_path / "c.toml"), hostfile.read(tmp_path / "hosts")):
        assert [host.leaf for host in hosts] == ["sw1", "sw2"]


def test_a_node_keeps_its_leaf_also_where_it_was_not_reached():
    assert roster.unreached(Host(name="gpu01", leaf="sw1"), None).leaf == "sw1"
