from __future__ import annotations

import json
import subprocess
import sys

import pytest

from diag.remote.payload import NODE_FOLDER
from tests.node.asking import ask

BUILT = """
set -e
ip link set lo up
ip link add br0 type bridge
ip link add docker0 type bridge
ip link add veth1 type veth peer name peer1
ip link set peer1 master docker0
ip link set veth1 mtu 1400
ip addr add 10.5.0.1/16 dev br0
ip addr add fd05::1/64 dev br0 nodad
ip link set br0 up
ip link set veth1 up
ip link set peer1 up
ip addr add 10.6.0.1/24 dev veth1
ip route add default via 10.5.0.254 dev br0 metric 42
ip route add 192.168.0.0/16 via 10.6.0.9
ip route add blackhole 10.99.0.0/16
ip route add 172.16.0.0/12 nexthop via 10.5.0.7 nexthop via 10.6.0.7
"""


def in_a_namespace(expression: str) -> list[dict[str, object]]:
    """What ``links`` says in a network namespace that is gone afterwards."""
    code = f"import json, links, routes; print(json.dumps({expression}))"
    script = f'{BUILT}\nexec "$0" -B -c "$1"'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, sys.executable, code],
        env={"PYTHONPATH": str(NODE_FOLDER), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_the_loopback_interface_of_this_machine_is_there():
    lo = next(row for row in ask("links:interfaces") if row["name"] == "lo")
    assert lo["loopback"]
    assert "127.0.0.1/8" in lo["addresses"]


def test_the_default_route_comes_first():
    routes = ask("routes:routes")
    defaults = [row["destination"] == "default" for row in routes]
    assert defaults == sorted(defaults, reverse=True)


@pytest.mark.lab
def test_bridges_and_veths_are_told_apart_and_ends_that_a_bridge_holds_left_out():
    rows = {row["name"]: row for row in in_a_namespace("links.interfaces()")}
    assert {name: rows[name]["link"] for name in sorted(rows)} == {
        "br0": "bridge", "docker0": "bridge", "lo": "", "veth1": "veth",
    }, "peer1 belongs to docker0 and is left out"  # fmt: skip
    assert rows["veth1"]["mtu"] == 1400
    assert rows["veth1"]["state"] == "up"
    assert rows["docker0"]["state"] == "down"
    assert [address for address in rows["br0"]["addresses"] if not address.startswith("fe80")] == [
        "10.5.0.1/16", "fd05::1/64",
    ]  # fmt: skip


@pytest.mark.lab
def test_routes_are_those_of_the_main_table_without_black_holes():
    rows = [row for row in in_a_namespace("routes.routes()") if ":" not in row["destination"]]
    assert rows == [
        {"destination": "default", "interface": "br0", "gateway": "10.5.0.254", "metric": 42, "source": None},
        {"destination": "10.5.0.0/16", "interface": "br0", "gateway": None, "metric": 0, "source": "10.5.0.1"},
        {"destination": "10.6.0.0/24", "interface": "veth1", "gateway": None, "metric": 0, "source": "10.6.0.1"},
        {"destination": "172.16.0.0/12", "interface": "br0", "gateway": "10.5.0.7", "metric": 0, "source": None},
        {"destination": "172.16.0.0/12", "interface": "veth1", "gateway": "10.6.0.7", "metric": 0, "source": None},
        {"destination": "192.168.0.0/16", "interface": "veth1", "gateway": "10.6.0.9", "metric": 0, "source": None},
    ]
