"""Changes that make the checks of checks/rdma_settings.py fail."""

from __future__ import annotations

from msgspec.structs import replace

from diag.facts.rdma import Gid
from tests.checks.changes import Change, both, having, item, more, on, setting
from tests.checks.hgx_rdma import connectx7
from tests.checks.pair import two
from tests.checks.pairs.rdma import roce

IPV6 = "fd00:0000:0000:0000:0000:0000:0000:000c"


def ib_hca(value: str) -> Change:
    return on("gpu02", settings=setting("NCCL_IB_HCA", value))


def gid_index(value: str, name: str = "*") -> Change:
    return on(name, settings=setting("NCCL_IB_GID_INDEX", value))


def ucx(value: str, name: str = "*") -> Change:
    return on(name, settings=setting("UCX_NET_DEVICES", value))


def at_3(gid: Gid) -> Gid:
    return replace(gid, gid=IPV6, ipv4=None) if gid.index == 3 else gid


IPV6_AT_3 = on(
    "gpu02",
    hcas=item(lambda _: True, having(ports=item(0, having(gids=lambda table: tuple(at_3(gid) for gid in table))))),
)
TEN = on("gpu02", hcas=more(replace(connectx7(2, 0), name="mlx5_10")))

PAIRS = (
    two("nccl_ib_hca_names_hcas_that_exist", ib_hca("=mlx5_7"), "no such: mlx5_7"),
    two("nccl_ib_hca_names_hcas_that_exist", ib_hca("=mlx5_0,bnxt_re0"), "no such: bnxt_re0"),
    two("nccl_ib_hca_names_hcas_that_exist", ib_hca("mlx5_0:2"), "no such: mlx5_0"),
    two("nccl_ib_hca_names_hcas_that_exist", ib_hca("^mlx5"), "nothing is left"),
    two(
        "nccl_ib_hca_takes_no_more_than_it_names",
        both(TEN, ib_hca("mlx5_0,mlx5_1")),
        "also takes mlx5_10",
        given=on("*", settings=setting("NCCL_IB_HCA", "=mlx5_0,mlx5_1")),
    ),
    two("nccl_ib_gid_index_is_roce_v2", gid_index("2", "gpu02"), "roce v1 of IPv4", given=both(roce, gid_index("3"))),
    two(
        "nccl_ib_gid_index_is_roce_v2",
        gid_index("1", "gpu02"),
        "roce v2 of link-local",
        given=both(roce, gid_index("3")),
    ),
    two("nccl_ib_gid_index_is_roce_v2", gid_index("9", "gpu02"), "mlx5_0 empty", given=both(roce, gid_index("-1"))),
    two(
        "nccl_ib_gid_index_means_the_same_on_all_nodes",
        IPV6_AT_3,
        "roce v2 of IPv6",
        given=both(roce, gid_index("3")),
    ),
    two("ucx_net_devices_exist", ucx("mlx5_9:1", "gpu02"), "no such: mlx5_9", given=ucx("mlx5_0:1,bond0")),
)
