"""Is what NCCL says of itself read, in the words of several versions? The logs are synthetic: see their README."""

from __future__ import annotations

from pathlib import Path

import pytest

from diag.facts.speed import NcclLog, Transport
from diag.probes.nccl_log import read

LOGS = Path(__file__).parents[1] / "data" / "nccl"


def log(name: str) -> NcclLog:
    return read((LOGS / name).read_text().splitlines())


def test_an_hgx_goes_from_gpu_to_gpu_with_nvls_and_gpu_direct():
    found = log("hgx-2.27.3.log")
    assert (found.version, found.network, found.plugin) == ("2.27.3+cuda12.8", "IB", None)
    assert found.hcas == ("mlx5_0:1/RoCE", "mlx5_1:1/RoCE")
    assert found.gpu_direct == (("mlx5_0", True), ("mlx5_1", True))
    assert (found.nvls, found.channels) == (True, 4)
    assert found.transports == tuple(
        Transport(source=rank, target=(rank + 1) % 4, kind="P2P", detail="CUMEM", channels=4) for rank in range(4)
    )
    assert ("NCCL_SOCKET_IFNAME", "=lo") in found.variables
    assert ("NCCL_IB_GID_INDEX", "3") in found.variables
    assert found.warnings == ()


def test_without_peer_access_it_goes_through_host_memory():
    found = log("shm-2.23.4.log")
    assert [(way.kind, way.detail, way.channels, way.gpu_direct) for way in found.transports] == [
        ("SHM", "direct/direct", 2, None)
    ] * 2
    assert (found.network, found.hcas, found.nvls) == ("Socket", (), False)
    assert found.warnings[0].startswith("Error: failed to extend /dev/shm/nccl-x2")
    assert found.variables == (("NCCL_P2P_LEVEL", "LOC"),)


def test_between_nodes_the_hca_and_gpu_direct_of_each_way_are_told():
    found = log("two-nodes-2.18.6.log")
    assert (found.version, found.plugin, found.gids) == ("2.18.6+cuda12.2", "IBext_v8", (3,))
    assert found.gpu_direct == (("mlx5_0", True), ("mlx5_3", False))
    assert found.gpu_direct_why == ("GPU 18000 and HCA 1: distance 7 > 5",)
    ways = {(way.source, way.target, way.hca, way.gpu_direct) for way in found.transports}
    assert ways == {
        (a, b, hca, direct) for a, b in ((0, 1), (1, 0)) for hca, direct in (("mlx5_0", True), ("mlx5_3", False))
    }
    assert all(way.kind == "NET/IBext_v8" and way.channels == 1 for way in found.transports)


def test_sockets_are_seen_in_spite_of_a_time_before_each_line():
    found = log("sockets-2.28.9.log")
    assert (found.version, found.network) == ("2.28.9+cuda13.0", "Socket")
    assert [(way.source, way.target, way.kind, way.channels) for way in found.transports] == [
        (0, 1, "NET/Socket", 2),
        (1, 0, "NET/Socket", 1),
    ]
    assert not any(way.gpu_direct for way in found.transports)


@pytest.mark.parametrize(
    "via",
    ["P2P/direct pointer", "P2P/IPC/read", "P2P/MNNVL", "P2P/indirect/4[4]", "P2P/CUMEM/read"],
)
def test_every_kind_of_peer_access_is_one(via):
    (way,) = read([f"h:1:2 [0] NCCL INFO Channel 00/0 : 0[1a000] -> 1[3b000] via {via}"]).transports
    assert (way.kind, way.detail) == ("P2P", via.partition("/")[2])


def test_a_failed_multicast_is_no_nvls():
    failed = "Failed to bind NVLink SHARP (NVLS) Multicast memory of size 2097152 : CUDA error 401 'not permitted'."
    channels = "8 coll channels, 8 collnet channels, 16 nvls channels, 8 p2p channels, 2 p2p channels per peer"
    found = read([channels, f"{failed} Proceeding without NVLS support."])
    assert found.nvls is False


def test_of_a_log_that_says_nothing_nothing_is_known():
    found = read(["torch: a warning", ""])
    assert found == NcclLog()
    assert (found.nvls, found.network) == (None, None)
