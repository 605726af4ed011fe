from __future__ import annotations

import msgspec
import pytest

from diag.facts import link_rates
from diag.facts.link_rates import LANES, expected, line_bytes_per_s, of_flow, payload_share, slot_bytes_per_s
from diag.facts.links import Flow
from diag.facts.rails import End
from diag.facts.record import NotMeasured, unknown
from tests.checks.changes import having
from tests.checks.healthy import gpu_cluster
from tests.checks.hgx_rdma import connectx7, on_ethernet

GBIT = 1e9 / 8
HCA = connectx7(1, 0)
NDR = End(HCA, HCA.ports[0])
ROCE = End(HCA, on_ethernet(1, 0))


def port(**fields: object) -> End:
    return End(HCA, having(**fields)(NDR.port))


@pytest.mark.parametrize("lane", LANES, ids=lambda lane: lane.name)
def test_every_generation_of_infiniband_carries_its_data_on_four_lanes(lane: link_rates.Lane):
    end = port(rate_bits_per_s=round(lane.shown * 4e9), width=4)
    assert line_bytes_per_s(end) == pytest.approx(lane.carries * 4 * GBIT)


def test_ethernet_says_its_data_rate_itself():
    forty = End(HCA, having(rate_bits_per_s=40 * 10**9)(ROCE.port))
    assert line_bytes_per_s(forty) == 40 * GBIT


def test_small_packets_leave_less():
    assert payload_share("Ethernet", 4096) == pytest.approx(0.980, abs=0.001)
    assert payload_share("Ethernet", 1024) == pytest.approx(0.926, abs=0.001)
    assert payload_share("InfiniBand", 4096) == pytest.approx(0.994, abs=0.001)
    assert link_rates.tcp_payload_share(1500) == pytest.approx(0.941, abs=0.001)


def test_what_was_measured_of_ndr_is_what_is_expected():
    """391 and 399.7 of 400 Gbit/s on InfiniBand, 392 on RoCE; Azure's and OCI's own limits lie above the least."""
    for end in (NDR, ROCE):
        found = expected("ib_write_bw", (end, end))
        assert 385 * GBIT < found.typical < 400 * GBIT
        assert 350 * GBIT < found.least <= 360 * GBIT
        assert found.source


def test_a_gpus_memory_may_take_a_little_more():
    assert expected("ib_write_bw", (NDR, NDR), on_gpu=True).least == pytest.approx(348 * GBIT)


def test_the_slower_end_and_the_smaller_mtu_decide():
    half = port(rate_bits_per_s=200 * 10**9)
    assert expected("ib_write_bw", (NDR, half)).typical == expected("ib_write_bw", (half, half)).typical
    small = End(HCA, having(mtu_active_bytes=1024)(ROCE.port))
    assert expected("ib_write_bw", (ROCE, small)).typical == pytest.approx(0.926 * 400 * GBIT, rel=0.001)


def test_a_slot_with_half_its_lanes_carries_no_more_than_that():
    narrow = End(msgspec.structs.replace(HCA, pcie_width=8), NDR.port)
    found = expected("ib_write_bw", (NDR, narrow))
    assert found.typical == slot_bytes_per_s(narrow)
    assert found.typical < 220 * GBIT
    assert "PCIe" in found.source


def test_soft_roce_and_unknown_slots_have_no_limit_of_their_own():
    assert slot_bytes_per_s(End(msgspec.structs.replace(HCA, pcie_width=None), NDR.port)) is None
    assert slot_bytes_per_s(End(msgspec.structs.replace(HCA, pcie_width=unknown("?")), NDR.port)) is None


def test_a_card_of_which_nothing_is_published_is_judged_by_headers_alone():
    thor = End(msgspec.structs.replace(HCA, vendor="broadcom"), ROCE.port)
    found = expected("ib_write_bw", (thor, thor))
    assert found.least == pytest.approx(320 * GBIT)
    assert "no figure" in found.source


def test_an_mtu_that_is_not_known_gives_no_figure():
    with pytest.raises(NotMeasured):
        expected("ib_write_bw", (NDR, port(mtu_active_bytes=unknown("not installed"))))


def test_a_flow_has_the_figure_of_its_rail():
    one, other = gpu_cluster(2).nodes
    flow = Flow(source=one.name, target=other.name, round=1, method="ib_write_bw", rail="mlx5_3")
    assert of_flow(flow, one, other) == expected("ib_write_bw", (NDR, NDR))
    with pytest.raises(NotMeasured, match="no rail eth9"):
        of_flow(msgspec.structs.replace(flow, rail="eth9"), one, other)
