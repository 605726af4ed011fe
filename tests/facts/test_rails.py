from __future__ import annotations

import pytest

from diag.facts.node import Node, Reach
from diag.facts.rails import gid_index, rails, speaking_gid
from diag.facts.rdma import Gid, Hca, RdmaPort
from diag.facts.record import NotMeasured, unknown


def port(*gids: Gid, number: int = 1, state: str = "active", layer: str = "Ethernet") -> RdmaPort:
    return RdmaPort(number=number, link_layer=layer, state=state, physical_state="linkup", gids=gids)


def node(*hcas: Hca) -> Node:
    return Node(name="a", address="a", reach=Reach(outcome="answered"), hcas=hcas)


def gid(index: int, kind: str, address: str, interface: str | None = "eth0", ipv4: str | None = None) -> Gid:
    return Gid(index=index, kind=kind, gid=address, interface=interface, ipv4=ipv4)


LOCAL = "fe80:0000:0000:0000:966d:aeff:fe38:817e"
TABLE = (
    gid(0, "roce_v1", LOCAL), gid(1, "roce_v2", LOCAL), gid(2, "roce_v2", "fd77::1"),
    gid(3, "roce_v1", "::ffff:10.0.0.2", ipv4="10.0.0.2"), gid(4, "roce_v2", "::ffff:10.0.0.2", ipv4="10.0.0.2"),
)  # fmt: skip


def test_roce_speaks_with_version_2_of_an_ipv4_address():
    assert gid_index(port(*TABLE)) == 4
    assert gid_index(port(*TABLE[:3])) == 2
    assert gid_index(port(*TABLE[:2])) is None


def test_a_gid_whose_interface_is_in_another_namespace_is_not_spoken_with():
    assert speaking_gid(port(gid(4, "roce_v2", "::ffff:10.0.0.2", None, "10.0.0.2"))) is None


def test_infiniband_needs_no_gid_index():
    assert gid_index(port(gid(0, "ib", LOCAL), layer="InfiniBand")) is None


def test_an_unknown_table_has_no_index_to_give():
    unread = RdmaPort(number=1, link_layer="Ethernet", state="active", physical_state="linkup", gids=unknown("closed"))
    assert gid_index(unread) is None


def test_second_ports_are_rails_of_their_own():
    two = Hca(name="mlx4_0", ports=(port(), port(number=2)))
    assert [rail.name for rail in rails(node(two), node(two))] == ["mlx4_0", "mlx4_0/2"]


def test_virtual_functions_are_rails_only_where_there_is_nothing_else():
    real, virtual = Hca(name="mlx5_0", ports=(port(),)), Hca(name="mlx5_1", ports=(port(),), virtual_function=True)
    assert [rail.name for rail in rails(node(real, virtual), node(real, virtual))] == ["mlx5_0"]
    assert [rail.name for rail in rails(node(virtual), node(virtual))] == ["mlx5_1"]


def test_devices_that_are_not_known_are_no_absent_ones():
    dark = Node(name="b", address="b", reach=Reach(outcome="answered"), hcas=unknown("no answer"))
    with pytest.raises(NotMeasured, match="no answer"):
        rails(node(), dark)


def card(name: str, layer: str, slot: int = 0) -> Hca:
    return Hca(name=name, pci_address=f"0000:{slot:02x}:00.0", ports=(port(layer=layer),))


def test_ports_of_one_name_and_different_link_layers_are_no_rail():
    one = node(card("mlx5_0", "InfiniBand"), card("mlx5_1", "Ethernet"), card("mlx5_2", "InfiniBand"))
    other = node(card("mlx5_0", "Ethernet"), card("mlx5_1", "InfiniBand"), card("mlx5_2", "InfiniBand"))
    assert [rail.name for rail in rails(one, other)] == ["mlx5_2"]


def test_where_no_name_is_shared_each_link_layer_goes_by_its_own_order():
    one = node(card("mlx5_0", "InfiniBand", 1), card("mlx5_1", "InfiniBand", 3), card("mlx5_2", "Ethernet", 2))
    other = node(card("roceo1", "Ethernet", 1), card("ibp2", "InfiniBand", 2), card("ibp3", "InfiniBand", 4))
    assert {rail.name: rail.other.name for rail in rails(one, other)} == {
        "mlx5_0": "ibp2", "mlx5_1": "ibp3", "mlx5_2": "roceo1"
    }  # fmt: skip
