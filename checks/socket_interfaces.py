"""Do the interfaces that NCCL and GLOO are told to take lead to the other nodes, and as fast as the data interface?

diag's own collectives name the interface themselves, so that they do not show it.
"""

import pytest

from diag.facts.derived import addresses, data_interface, setting, several_nodes
from diag.facts.leads import leads
from diag.facts.network import Interface
from diag.facts.node import Node
from diag.facts.record import NotMeasured
from diag.facts.selectors import selector
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding
from diag.units import gbit_per_s

NCCL, GLOO = "NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"


def is_set(name: str) -> pytest.MarkDecorator:
    return pytest.mark.applies(lambda node: setting(node, name) is not None, reason=f"{name} is not set")


several = pytest.mark.applies(several_nodes, reason="one node: no other dials it")


def led_by(node: Node, variable: str) -> list[Interface]:
    """The interfaces that a variable takes."""
    value = setting(node, variable) or ""
    if variable.startswith("GLOO"):
        return [each for each in node.interfaces if each.name in value.split(",")]
    return [
        each
        for each in node.interfaces
        if each.addresses and each.kind != "loopback" and selector(value).takes(each.name)
    ]


def strayed(node: Node, cluster: Snapshot, variable: str) -> str:
    """What is found where none of them leads to the other nodes. Raises NotMeasured where that is not known."""
    taken, data = led_by(node, variable), data_interface(node, cluster)
    led = [each.name == data.name or leads(each, node, cluster.nodes) for each in taken]
    named = ", ".join(f"{each.name} ({', '.join(addresses(each)[:1])})" for each in taken)
    if True in led:
        return ""
    if None in led:
        raise NotMeasured(f"whether the others reach {named} is not known; {data.name} carried the data here")
    return f"{variable}={setting(node, variable)}: {named} leads to no other node"


@is_set(NCCL)
@several
@pytest.mark.optional
@pytest.mark.needs("check_nccl_socket_ifname_matches_an_interface")
@pytest.mark.cause("nccl_socket_ifname_wrong")
def check_nccl_socket_ifname_leads_to_the_other_nodes(node: Node, cluster: Snapshot) -> None:
    """An interface that exists and ends on the node (docker0, a port of its own) hangs NCCL before its first message.

    Do: name the interface that is expected, or unset it; diag's own collectives did not use the variable.
    $ ssh {node} 'ip -brief address; ip route'
    """
    found = strayed(node, cluster, NCCL)
    assert not found, finding(found, f"{data_interface(node, cluster).name}, which carries data between the nodes")


@is_set(GLOO)
@several
@pytest.mark.optional
@pytest.mark.needs("check_gloo_socket_ifname_is_an_interface")
@pytest.mark.cause("gloo_ifname_invalid")
def check_gloo_socket_ifname_leads_to_the_other_nodes(node: Node, cluster: Snapshot) -> None:
    """GLOO advertises the address of this interface; where it ends on the node, the others dial in vain.

    Do: name the interface that is expected, or unset it; diag's own collectives did not use the variable.
    $ ssh {node} 'ip -brief address; ip route'
    """
    found = strayed(node, cluster, GLOO)
    assert not found, finding(found, f"{data_interface(node, cluster).name}, which carries data between the nodes")


def slower(node: Node, cluster: Snapshot) -> list[str]:
    """Variables that take only interfaces slower than the one that carried the data; a rate nobody knows is not."""
    data = data_interface(node, cluster)
    rows = []
    for variable in (NCCL, GLOO):
        taken = led_by(node, variable) if setting(node, variable) is not None else []
        if not taken or any(each.name == data.name for each in taken):
            continue
        fastest = max(each.speed_bits_per_s or 0 for each in taken)
        if 0 < fastest < (data.speed_bits_per_s or 0):
            rows.append(f"{variable}={setting(node, variable)}: {gbit_per_s(fastest / 8)}")
    return rows


@several
@pytest.mark.applies(
    lambda node: any(setting(node, name) is not None for name in (NCCL, GLOO)), reason="no such variable is set"
)
@pytest.mark.advice
@pytest.mark.optional
def check_socket_interface_is_no_slower_than_another(node: Node, cluster: Snapshot) -> None:
    """An interface of the management network reaches all nodes, and carries a fraction of what the data network does.

    Do: name the data interface instead, if sockets should carry more than the start of NCCL.
    $ ssh {node} 'ip -brief address; grep . /sys/class/net/*/speed'
    """
    rows = slower(node, cluster)
    data = data_interface(node, cluster)
    rate = gbit_per_s((data.speed_bits_per_s or 0) / 8) if rows else ""
    assert not rows, finding("; ".join(rows), f"{data.name} with {rate}")
