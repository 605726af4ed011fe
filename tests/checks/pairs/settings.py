"""Changes that make the checks of checks/settings.py fail."""

from __future__ import annotations

from diag.facts.network import Interface
from tests.checks.changes import (
    Change,
    both,
    having,
    item,
    more,
    named,
    on,
    setting,
    without,
)
from tests.checks.pair import two


def visible(value: str) -> Change:
    return on("gpu02", settings=setting("CUDA_VISIBLE_DEVICES", value))


TWO_MODELS = on("*", gpus=item(0, having(name="NVIDIA H100 PCIe")), settings=setting("CUDA_DEVICE_ORDER", "PCI_BUS_ID"))

PAIRS = (
    two(
        "nccl_socket_ifname_matches_an_interface",
        on("gpu02", settings=setting("NCCL_SOCKET_IFNAME", "eth")),
        "NCCL_SOCKET_IFNAME=eth",
    ),
    two(
        "nccl_socket_ifname_matches_an_interface",
        on("gpu02", settings=setting("NCCL_SOCKET_IFNAME", "^bond,eno,docker")),
        "matches no",
    ),
    two(
        "nccl_socket_ifname_takes_no_more_than_it_names",
        both(
            on(
                "gpu02",
                interfaces=more(
                    Interface(name="bond00", kind="physical", state="up", mtu_bytes=1500, addresses=("10.7.0.12/24",))
                ),
            ),
            on("gpu02", settings=setting("NCCL_SOCKET_IFNAME", "bond0")),
        ),
        "also takes bond00",
    ),
    two(
        "gloo_socket_ifname_is_an_interface",
        on("gpu02", settings=setting("GLOO_SOCKET_IFNAME", "=bond0")),
        "=bond0",
    ),
    two(
        "gloo_socket_ifname_is_an_interface",
        on("gpu02", settings=setting("GLOO_SOCKET_IFNAME", "^docker0")),
        "^docker0",
    ),
    two(
        "nccl_socket_ifname_leads_to_the_other_nodes",
        on("gpu02", settings=setting("NCCL_SOCKET_IFNAME", "docker0")),
        "NCCL_SOCKET_IFNAME=docker0: docker0 (172.17.0.1) leads to no other node",
    ),
    two(
        "gloo_socket_ifname_leads_to_the_other_nodes",
        on("gpu02", settings=setting("GLOO_SOCKET_IFNAME", "docker0")),
        "GLOO_SOCKET_IFNAME=docker0: docker0 (172.17.0.1) leads to no other node",
    ),
    two(
        "socket_interface_is_no_slower_than_another",
        on("gpu02", settings=setting("NCCL_SOCKET_IFNAME", "=eno1")),
        "NCCL_SOCKET_IFNAME==eno1: 1.00 Gbit/s",
    ),
    two(
        "interface_variables_are_set_on_all_nodes_or_none",
        on("gpu02", settings=without(named("GLOO_SOCKET_IFNAME"))),
        "without GLOO_SOCKET_IFNAME",
    ),
    two(
        "nccl_settings_are_the_same_on_all_nodes", on("gpu02", settings=setting("NCCL_ALGO", "Tree")), "NCCL_ALGO=Tree"
    ),
    two(
        "cuda_counts_gpus_as_the_driver_does",
        on("gpu02", settings=without(named("CUDA_DEVICE_ORDER"))),
        "CUDA_DEVICE_ORDER is not set",
        given=TWO_MODELS,
    ),
    two(
        "cuda_counts_gpus_as_the_driver_does",
        on("gpu02", settings=setting("CUDA_DEVICE_ORDER", "FASTEST_FIRST")),
        "CUDA_DEVICE_ORDER FASTEST_FIRST",
        given=TWO_MODELS,
    ),
    two("cuda_visible_devices_exist", visible("0,8"), "'0,8': 8"),
    two("cuda_visible_devices_exist", visible("0,-1,1"), "'0,-1,1': -1"),
    two("cuda_visible_devices_exist", visible(""), "''"),
    two("cuda_visible_devices_exist", visible("0,1,1"), "'0,1,1': 1"),
    two("cuda_visible_devices_exist", visible("GPU-00000001"), "GPU-00000001"),
    two("cuda_visible_devices_exist", visible("MIG-7"), "MIG-7"),
    two(
        "no_slow_switch_is_left_on",
        on("gpu02", settings=setting("CUDA_LAUNCH_BLOCKING", "1")),
        "CUDA_LAUNCH_BLOCKING=1",
    ),
    two(
        "no_slow_switch_is_left_on",
        on("gpu02", settings=setting("NCCL_IB_DISABLE", "1")),
        "NCCL_IB_DISABLE=1",
        also=frozenset({"nccl_settings_are_the_same_on_all_nodes"}),
    ),
    two(
        "no_slow_switch_is_left_on",
        on("gpu02", settings=setting("NCCL_NET_GDR_LEVEL", "LOC")),
        "GDR_LEVEL=LOC",
        also=frozenset({"nccl_settings_are_the_same_on_all_nodes"}),
    ),
    two(
        "allocator_lets_gpus_share_memory",
        on("gpu02", settings=setting("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")),
        "expandable",
    ),
    two(
        "proxy_spares_the_peers", on("gpu02", settings=setting("no_proxy", "localhost,.example")), "no_proxy=localhost"
    ),
)
