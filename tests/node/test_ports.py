from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.node.asking import ask
from tests.node.trees import plant

LISTEN = "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0  0 {inode} 1 ffff 100 0\n"
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def test_a_listening_port_in_range_is_found_with_its_process():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = ask("ports:listeners", ranges=[[port, port]])
    assert found == [
        {
            "address": "127.0.0.1",
            "port": port,
            "pid": os.getpid(),
            "process": Path("/proc/self/comm").read_text().strip(),
        }
    ]


def test_ipv6_addresses_are_read_in_the_machines_byte_order():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        port = server.getsockname()[1]
        found = ask("ports:listeners", ranges=[[port, port]])
    assert [row["address"] for row in found] == ["::1"]


def test_ports_out_of_range_and_connections_are_left_out(tmp_path: Path):
    table = (
        HEAD
        + LISTEN.format(local="0100007F:1F40", state="0A", inode=11)
        + LISTEN.format(local="00000000:0016", state="0A", inode=12)
        + LISTEN.format(local="0100007F:1F41", state="01", inode=13)
    )
    found = ask("ports:listeners", ranges=[[8000, 8100]], root=plant(tmp_path, {"proc/net/tcp": table}))
    assert found == [{"address": "127.0.0.1", "port": 8000, "pid": None, "process": None}]


def test_a_machine_without_ipv6_has_no_table_of_it(tmp_path: Path):
    assert ask("ports:listeners", ranges=[[1, 65535]], root=plant(tmp_path, {"proc/net/tcp": HEAD})) == []


def test_a_listener_is_waited_for_and_its_absence_is_told():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert ask("ports:listening", port=port, seconds=0.1) is False
        server.listen()
        assert ask("ports:listening", port=port, seconds=0.1) is True
