"""What follows from a node's facts?"""

from __future__ import annotations

import msgspec
import pytest

from diag.facts import derived
from diag.facts.record import Missing, NotMeasured
from diag.facts.software import Setting
from tests.checks.changes import having, more, of_cluster, on
from tests.checks.healthy import cpu_cluster, gpu_cluster
from tests.checks.machines import cpu_node, gpu_node


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.1.1", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("169.254.1.1", True),
        ("10.0.0.1", False),
        ("2001:db8::1", False),
    ],
)
def test_an_address_that_no_other_node_can_reach_is_local(address, local):
    assert derived.is_local_only(address) is local


def test_the_data_interface_is_the_one_that_the_inventory_names():
    assert derived.data_interface(having(data_interface="eno1")(gpu_node(1)), gpu_cluster()).name == "eno1"


def test_the_data_interface_is_the_one_that_the_collective_took():
    cluster = of_cluster(collective=having(interfaces=(("gpu01", "eno1"),), interface=None))(gpu_cluster())
    assert derived.data_interface(cluster.nodes[0], cluster).name == "eno1"
    assert derived.data_interface(cluster.nodes[1], cluster).name == "bond0"


def test_the_data_interface_is_the_one_that_diag_connected_to():
    cluster = of_cluster(collective=Missing("no torch"))(gpu_cluster())
    assert derived.data_interface(cluster.nodes[0], cluster).name == "bond0"


def test_a_data_interface_that_is_not_there_is_not_known():
    cluster = on("gpu01", address="203.0.113.7")(of_cluster(collective=Missing("no torch"))(gpu_cluster()))
    with pytest.raises(NotMeasured, match=r"no interface holds 203\.0\.113\.7"):
        derived.data_interface(cluster.nodes[0], cluster)
    with pytest.raises(NotMeasured, match="no interface ib7"):
        derived.data_interface(having(data_interface="ib7")(cluster.nodes[0]), cluster)


def test_the_environment_goes_before_files():
    node = having(settings=more(Setting(name="NCCL_P2P_LEVEL", value="SYS", source="environment")))(gpu_node(1))
    assert derived.setting(node, "NCCL_P2P_LEVEL") == "SYS"
    assert derived.setting(gpu_node(1), "NCCL_P2P_LEVEL") == "NVL"
    assert derived.setting(gpu_node(1), "NCCL_ALGO") is None


def test_a_file_that_was_not_read_may_set_what_no_earlier_one_does():
    closed = Setting(name="", value=Missing("/root/.nccl.conf cannot be read"), source="/root/.nccl.conf")
    node = having(settings=lambda rows: (closed, *rows))(gpu_node(1))
    assert derived.setting(node, "NCCL_SOCKET_IFNAME") == "=bond0"
    for name in ("NCCL_P2P_LEVEL", "NCCL_ALGO"):
        with pytest.raises(NotMeasured, match="cannot be read"):
            derived.setting(node, name)
    with pytest.raises(NotMeasured, match="cannot be read"):
        derived.names_set(node)


def test_memory_is_usable_within_the_limit_of_the_cgroup():
    limited = having(memory=having(cgroup_limit_bytes=8 << 30, cgroup_used_bytes=3 << 30))(cpu_node(1))
    assert derived.usable_memory_bytes(limited) == 5 << 30
    assert derived.usable_memory_bytes(cpu_node(1)) == 44 << 30


UNMEASURED = of_cluster(links=Missing("--pairs none"))


def test_links_lead_from_the_first_node_to_all_and_from_the_others_to_it():
    cluster = UNMEASURED(cpu_cluster(3))
    assert [(link.source, link.target) for node in cluster.nodes for link in derived.links(node, cluster)] == [
        ("node1", "node2"),
        ("node1", "node3"),
        ("node2", "node1"),
        ("node3", "node1"),
    ]


def test_a_node_that_took_no_part_has_no_link_that_is_known():
    met = of_cluster(collective=having(nodes=("node1", "node2"), excluded=(("node3", "no torch"),)))
    cluster = UNMEASURED(met(cpu_cluster(3)))
    with pytest.raises(NotMeasured, match="no torch"):
        derived.links(cluster.nodes[2], cluster)


def test_a_measured_link_is_one_also_where_no_collective_ran():
    cluster = of_cluster(collective=Missing("no torch"))(cpu_cluster(4))
    found = derived.links(cluster.nodes[2], cluster)
    assert [(link.target, link.blocked) for link in found] == [("node2", None), ("node4", None)]
    assert all(link.measured.bytes_per_s > 1e8 for link in found)


def test_one_node_has_no_links():
    assert derived.links(cpu_node(1), cpu_cluster(1)) == ()


def test_a_version_of_a_package_or_none():
    assert derived.package(gpu_node(1), "vllm") == "0.11.0"
    assert derived.package(gpu_node(1), "sglang") is None


@pytest.mark.parametrize(
    "last", [{"bytes_per_s": 1e5}, {"bytes_per_s": Missing("no answer"), "cause": "firewall_blocks_ports"}]
)
def test_of_a_link_that_was_measured_again_the_median_counts_and_not_the_last(last):
    def repeated(flows):
        again = [msgspec.structs.replace(flow, **last) for flow in flows]
        return (*flows, *flows, *again)

    before, cluster = cpu_cluster(4), of_cluster(links=having(flows=repeated))(cpu_cluster(4))
    rates = [[each.flow.bytes_per_s for each in derived.links(of.nodes[0], of) if each.flow is not None]
             for of in (before, cluster)]  # fmt: skip
    assert rates[0]
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    ("causes", "cause"),
    [
        (("", "firewall_blocks_ports"), "firewall_blocks_ports"),
        (("firewall_blocks_ports", "mtu_mismatch", ""), "mtu_mismatch"),
        (("", "", "firewall_blocks_ports"), ""),
        (("", "", "wrong_results", ""), "wrong_results"),
    ],
)
def test_a_link_that_failed_as_often_as_it_carried_has_failed_and_wrong_bytes_are_one_time_enough(causes, cause):
    def repeated(flows):
        failed = [having(bytes_per_s=Missing("nothing came"), cause=each) if each else having() for each in causes]
        return tuple(wish(flow) for wish in failed for flow in flows)

    cluster = of_cluster(links=having(flows=repeated))(cpu_cluster(4))
    told = [link.flow.cause for link in derived.links(cluster.nodes[0], cluster) if link.flow is not None]
    assert set(told) == {cause}
