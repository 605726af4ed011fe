"""Do the variables that steer NCCL, GLOO, CUDA and the engines name what exists, alike on all nodes?"""

import re
from ipaddress import ip_address, ip_network

import pytest

from diag.facts.derived import (
    accelerators,
    addresses,
    has_accelerator,
    has_nvidia,
    names_set,
    nvidia_gpus,
    setting,
    several_nodes,
)
from diag.facts.network import Interface
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.selectors import more_than_named, selector
from diag.facts.verdict import finding

OWN_TO_A_NODE = re.compile(r"_SOCKET_IFNAME$|^NCCL_(HOSTID|IB_HCA|IB_GID_INDEX|DEBUG|TOPO|GRAPH|CONF_FILE)")
"""What may differ between nodes: names of their own devices, places in their own tables, and what NCCL prints."""
OF_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "NCCL_IB_HCA", "NCCL_IB_GID_INDEX", "TP_SOCKET_IFNAME")
SLOW_SWITCHES = {
    "NCCL_P2P_DISABLE": ("1",), "NCCL_SHM_DISABLE": ("1",), "CUDA_LAUNCH_BLOCKING": ("1",), "NCCL_DEBUG": ("TRACE",),
    "TORCH_DISTRIBUTED_DEBUG": ("DETAIL",), "NCCL_IB_DISABLE": ("1",), "NCCL_NET_GDR_LEVEL": ("0", "LOC"),
}  # fmt: skip
"""Set once to look for a fault, and costly when forgotten."""
HIDES_ALL = ("", "-1", "NoDevFiles", "none", "void")
"""Values of CUDA_VISIBLE_DEVICES that leave no GPU."""


OF_RDMA = ("NCCL_IB_DISABLE", "NCCL_NET_GDR_LEVEL")
"""Switches that cost nothing where no HCA could be used anyway."""


def is_set(name: str) -> pytest.MarkDecorator:
    return pytest.mark.applies(lambda node: setting(node, name) is not None, reason=f"{name} is not set")


def nccl_matches(value: str, interfaces: tuple[Interface, ...]) -> list[str]:
    """What NCCL takes of those that could carry data."""
    return [each.name for each in interfaces if usable(each) and selector(value).takes(each.name)]


def has_rdma(node: Node) -> bool:
    return any(port.state == "active" for hca in node.hcas for port in hca.ports)


def usable(interface: Interface) -> bool:
    return interface.kind != "loopback" and bool(interface.addresses)


@is_set("NCCL_SOCKET_IFNAME")
@pytest.mark.applies(several_nodes, reason="one node: no other dials it")
@pytest.mark.cause("nccl_socket_ifname_wrong")
def check_nccl_socket_ifname_matches_an_interface(node: Node) -> None:
    """NCCL ends with "no socket interface found" where the value matches nothing, and hangs where it matches only lo.

    Do: set it to the interface that leads to the other nodes, e.g. =eth0, or unset it.
    $ ssh {node} ip -brief address
    """
    value = setting(node, "NCCL_SOCKET_IFNAME") or ""
    names = ", ".join(interface.name for interface in node.interfaces if usable(interface))
    found = f"NCCL_SOCKET_IFNAME={value} matches no interface with an address"
    assert nccl_matches(value, node.interfaces), finding(found, f"a match among {names}")


@is_set("NCCL_SOCKET_IFNAME")
@pytest.mark.applies(several_nodes, reason="one node: no other dials it")
@pytest.mark.cause("nccl_socket_ifname_wrong")
def check_nccl_socket_ifname_takes_no_more_than_it_names(node: Node) -> None:
    """A name is a prefix to NCCL: eth1 also takes eth10, and all that it takes carry data, reachable or not.

    Do: put = before the names: NCCL_SOCKET_IFNAME==eth1.
    $ ssh {node} ip -brief address
    """
    value = setting(node, "NCCL_SOCKET_IFNAME") or ""
    also = more_than_named(value, [each.name for each in node.interfaces if usable(each)])
    found = f"NCCL_SOCKET_IFNAME={value} also takes {', '.join(also)}"
    assert not also, finding(found, f"={value}, which is exact")


@is_set("GLOO_SOCKET_IFNAME")
@pytest.mark.cause("gloo_ifname_invalid")
def check_gloo_socket_ifname_is_an_interface(node: Node) -> None:
    """GLOO takes exact names only: NCCL's ^ and =, a prefix or an address end every rank with "Unable to find address".

    Do: set it to the one interface that leads to the other nodes, without ^ or =.
    $ ssh {node} ip -brief address
    """
    value = setting(node, "GLOO_SOCKET_IFNAME") or ""
    names = [interface.name for interface in node.interfaces if interface.addresses]
    unknown = [word for word in value.split(",") if word not in names]
    assert not unknown, finding(f"GLOO_SOCKET_IFNAME={value}", f"exact names among {', '.join(names)}")


def interface_variables(node: Node) -> tuple[str, ...]:
    return tuple(name for name in OF_INTERFACES if setting(node, name) is not None)


@pytest.mark.cause("ifname_env_not_on_all_nodes")
def check_interface_variables_are_set_on_all_nodes_or_none(node: Node, peers: Peers) -> None:
    """Set on the first node only, they make it advertise one interface while the others choose another.

    Do: set them where every rank gets them: /etc/environment, the service, or the launcher's own option.
    $ ssh {node} 'env | grep -E "_IFNAME|NCCL_IB"; cat /etc/nccl.conf'
    """
    same = peers.by(interface_variables)
    assert same.agree(node), same.finding(node, "set:")


def steering(node: Node) -> tuple[str, ...]:
    """NCCL's and GLOO's settings that all ranks must share, as NAME=value."""
    names = {name for name in names_set(node) if name.startswith(("NCCL_", "GLOO_"))}
    return tuple(f"{name}={setting(node, name)}" for name in sorted(names) if not OWN_TO_A_NODE.search(name))


@pytest.mark.cause("nccl_version_or_env_differs_between_nodes")
def check_nccl_settings_are_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Ranks that disagree about algorithm, protocol or transport wait for messages that nobody sends.

    Do: give all nodes the same NCCL_* and GLOO_* in their environment and in /etc/nccl.conf.
    $ ssh {node} 'env | grep -E "^(NCCL|GLOO)_"; cat /etc/nccl.conf'
    """
    same = peers.by(steering)
    assert same.agree(node), same.finding(node, "settings:")


def exists(word: str, node: Node) -> bool:
    """An index, or the beginning of the UUID of a GPU or of a slice of one."""
    if word.isdigit():
        return int(word) < len(node.gpus)
    if word.startswith("MIG-"):
        return any(slice_.uuid.startswith(word) for gpu in node.gpus for slice_ in gpu.mig_instances)
    return word not in HIDES_ALL and any(gpu.uuid.startswith(word) for gpu in node.gpus)


@is_set("CUDA_VISIBLE_DEVICES")
@pytest.mark.applies(has_accelerator, reason="no accelerator")
@pytest.mark.needs("check_every_gpu_on_the_bus_answers")
@pytest.mark.cause("cuda_visible_devices_wrong")
def check_cuda_visible_devices_exist(node: Node) -> None:
    """What does not exist hides itself and all after it, and what is named twice all: "No CUDA GPUs are available".

    Do: unset it, or name indices or UUIDs that nvidia-smi -L lists in the same container.
    $ ssh {node} 'echo "$CUDA_VISIBLE_DEVICES"; nvidia-smi -L'
    """
    value = setting(node, "CUDA_VISIBLE_DEVICES") or ""
    words = [word.strip() for word in value.split(",")]
    wrong = [word for word in words if not exists(word, node)] + [word for word in set(words) if words.count(word) > 1]
    named = ", ".join(sorted(set(wrong))) or "nothing"
    expected = f"each once, indices from 0 to {len(node.gpus) - 1} or this node's UUIDs"
    assert not wrong, finding(f"CUDA_VISIBLE_DEVICES={value!r}: {named}", expected)


def several_models(node: Node) -> bool:
    return len({gpu.name for gpu in nvidia_gpus(node)}) > 1


@pytest.mark.applies(has_nvidia, reason="no NVIDIA GPU")
@pytest.mark.applies(several_models, reason="its NVIDIA GPUs are of one model")
@pytest.mark.advice
@pytest.mark.cause("cuda_visible_devices_wrong")
def check_cuda_counts_gpus_as_the_driver_does(node: Node) -> None:
    """CUDA counts the fastest GPU first, nvidia-smi by the bus: of several models a number names another GPU to each.

    Do: set CUDA_DEVICE_ORDER=PCI_BUS_ID wherever engines are started, or name GPUs by their UUIDs.
    $ ssh {node} 'echo "$CUDA_DEVICE_ORDER"; nvidia-smi -L'
    """
    order = setting(node, "CUDA_DEVICE_ORDER")
    assert order == "PCI_BUS_ID", finding(f"CUDA_DEVICE_ORDER {order or 'is not set'}", "PCI_BUS_ID")


@pytest.mark.advice
@pytest.mark.applies(has_accelerator, reason="no accelerator")
def check_no_slow_switch_is_left_on(node: Node) -> None:
    """Switches for finding a fault (no peer access, no RDMA, one kernel at a time) cost bandwidth when they stay.

    Do: unset them where they are set: the environment, /etc/nccl.conf or ~/.nccl.conf.
    $ ssh {node} 'env | grep -E "^(NCCL|CUDA|TORCH)_"; cat /etc/nccl.conf'
    """
    on = [f"{name}={setting(node, name)}" for name, slow in SLOW_SWITCHES.items() if setting(node, name) in slow]
    if any(name.startswith(OF_RDMA) for name in on) and not has_rdma(node):
        on = [name for name in on if not name.startswith(OF_RDMA)]
    assert not on, finding(", ".join(on), "unset")


@is_set("PYTORCH_CUDA_ALLOC_CONF")
@pytest.mark.advice
@pytest.mark.applies(lambda node: len(accelerators(node)) > 1, reason="fewer than two accelerators")
@pytest.mark.cause("custom_allreduce_ipc_failure")
def check_allocator_lets_gpus_share_memory(node: Node) -> None:
    """With expandable segments CUDA's IPC handles cannot be opened: vLLM's custom all-reduce fails at start.

    Do: remove expandable_segments:True, or start vLLM with --disable-custom-all-reduce.
    $ ssh {node} 'echo "$PYTORCH_CUDA_ALLOC_CONF"'
    """
    value = setting(node, "PYTORCH_CUDA_ALLOC_CONF") or ""
    found = f"PYTORCH_CUDA_ALLOC_CONF={value}"
    assert "expandable_segments:true" not in value.lower(), finding(found, "no expandable segments")


def proxied(node: Node) -> bool:
    names = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    return any(setting(node, name) for name in names)


def spared(node: Node) -> list[str]:
    value = setting(node, "no_proxy") or setting(node, "NO_PROXY") or ""
    return [word.strip() for word in value.split(",") if word.strip()]


def covers(word: str, address: str) -> bool:
    """Whether an entry of no_proxy spares this address: ``*``, the address itself, or a network in CIDR."""
    if word in ("*", address):
        return True
    return "/" in word and ip_address(address) in ip_network(word, strict=False)


@pytest.mark.advice
@pytest.mark.applies(several_nodes, reason="one node: no peer to call")
@pytest.mark.applies(proxied, reason="no HTTP proxy is set")
def check_proxy_spares_the_peers(node: Node) -> None:
    """Health checks, Ray's and the engines' calls to a peer go to the proxy instead, which knows no way to it.

    Do: add the cluster's addresses to no_proxy on all nodes.
    $ ssh {node} 'env | grep -i proxy'
    """
    own = [address for each in node.interfaces if usable(each) for address in addresses(each) if "." in address]
    words = spared(node)
    found = f"a proxy, and no_proxy={','.join(words) or 'not set'}"
    assert any(covers(word, address) for word in words for address in own), finding(
        found, f"{node.address} in no_proxy"
    )
