from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from diag.remote.payload import NODE_FOLDER
from tests.node.asking import ask
from tests.node.rdma_trees import DATA, INFINIBAND
from tests.node.trees import plant


def tools(folder: Path, **scripts: str) -> dict[str, str]:
    """A PATH on which only these are found."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:/bin:/usr/bin"}


def system(tmp_path: Path, tree: dict[str, str], **scripts: str) -> dict[str, Any]:
    root = plant(tmp_path / "root", tree)
    found: dict[str, Any] = ask("rdma:system", root=root, seconds=2.0, env=tools(tmp_path / "bin", **scripts))
    return found


def test_a_node_without_hca_runs_no_tool(tmp_path: Path):
    left = tmp_path / "ran"
    found = system(tmp_path, {"sys/bus/pci/devices/": ""}, ibv_devinfo=f"touch {left}")
    assert found == {"absent": True}
    assert not left.exists()


def test_an_hca_without_its_core_is_not_absent(tmp_path: Path):
    tree = {name: text for name, text in INFINIBAND.items() if name.startswith("sys/bus")}
    assert system(tmp_path, tree)["loaded"] is False


def test_what_the_tools_say_comes_whole_and_perftests_help_as_its_options(tmp_path: Path):
    said = (
        f"case $1 in --help) cat {DATA / 'rxe-help_ib_write_bw.txt'}; exit 1;; *) echo 'Version: 6.06'; exit 1;; esac"
    )
    found = system(tmp_path, INFINIBAND, ibv_devinfo=f"cat {DATA / 'mlx5-ibv_devinfo.txt'}", ib_write_bw=said)
    assert found["devinfo"]["stdout"] == (DATA / "mlx5-ibv_devinfo.txt").read_text()
    assert found["perftest"]["stdout"] == "Version: 6.06\n"
    assert {"--source_ip", "--report_gbits"} <= set(found["perftest_help"]["stdout"].split())
    assert "--use_cuda" not in found["perftest_help"]["stdout"]


def test_options_of_a_newer_perftest_are_read_with_their_digits_and_dashes(tmp_path: Path):
    help_ = "      --ipv6            Use IPv6 GID. Default is IPv4\\n      --ipv6-addr (SYMMETRIC) Use IPv6 address"
    found = system(tmp_path, INFINIBAND, ib_write_bw=f"printf '{help_}'; exit 1")
    assert found["perftest_help"]["stdout"].split() == ["--ipv6", "--ipv6-addr"]


def test_a_tool_that_hangs_is_ended_and_named(tmp_path: Path):
    root = plant(tmp_path / "root", INFINIBAND)
    env = tools(tmp_path / "bin", ibv_devinfo="exec sleep 60")
    assert "ibv_devinfo" in ask("rdma:system", root=root, seconds=0.3, env=env)["devinfo"]


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"mlx_compat/": "", "mlx5_core/version": "24.10-1.1.4\n"}, "24.10-1.1.4"),
        ({"mlx5_core/version": "5.0-0\n"}, None),
        ({"mlx_compat/": ""}, "of unknown version"),
    ],
)
def test_ofed_is_known_by_its_own_module(tmp_path: Path, files: dict[str, str], version: str | None):
    tree = {**INFINIBAND, **{f"sys/module/{name}": text for name, text in files.items()}}
    assert system(tmp_path, tree)["ofed"] == version


def test_the_library_is_known_by_the_file_behind_its_name(tmp_path: Path):
    tree = {
        **INFINIBAND,
        "usr/lib/libibverbs.so.1": "-> libibverbs.so.1.14.44.0",
        "usr/lib/libibverbs.so.1.14.44.0": "",
    }
    assert system(tmp_path, tree)["verbs"] == "libibverbs.so.1.14.44.0"


def in_node(module: str, function: str, body: bytes) -> Any:
    """For functions that take bytes, which no frame carries."""
    code = (
        f"import sys, json; sys.path.insert(0, sys.argv[1]); import {module}; "
        f"print(json.dumps({module}.{function}(bytes.fromhex(sys.argv[2]))))"
    )
    argv = [sys.executable, "-c", code, str(NODE_FOLDER), body.hex()]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def attribute(kind: int, body: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(body), kind) + body + bytes(-len(body) % 4)


@pytest.mark.parametrize(("mode", "word"), [(0, "exclusive"), (1, "shared")])
def test_the_kernels_answer_names_the_namespace_mode(mode: int, word: str):
    assert in_node("rdma_tools", "namespace_mode", attribute(66, bytes([mode]))) == word


def test_pfc_and_trust_are_read_from_the_kernels_answer():
    pfc = bytes([8, 0b1000]) + bytes(134)  # struct ieee_pfc: how many it could, and which are on
    apps = attribute(1, struct.pack("=BBH", 5, 3, 26)) + attribute(1, struct.pack("=BBH", 1, 3, 0x8915))
    body = attribute(1, b"ens1f0np0\0") + attribute(13, attribute(2, pfc) + attribute(3, apps))
    assert in_node("dcb", "told", body) == {"pfc": [3], "trust": "dscp"}


def test_ecn_is_read_where_the_driver_has_it(tmp_path: Path):
    root = plant(tmp_path, {f"sys/class/net/eth0/ecn/roce_{point}/enable/{n}": f"{int(n == 3)}\n"
                            for point in ("np", "rp") for n in range(8)})  # fmt: skip
    assert ask("dcb:settings", interface="eth0", root=root)["ecn"] == {"roce_np": [3], "roce_rp": [3]}


def test_an_interface_without_dcb_says_why():
    assert ask("dcb:settings", interface="lo")["why"]
