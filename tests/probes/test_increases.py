from __future__ import annotations

import pytest

from diag.facts.counters import CONGESTION, ERROR, PATH, meaning_of
from diag.facts.rdma import Increase
from diag.probes import increases
from diag.probes.increases import Reading, between


def reading(hca: dict[str, int] | None = None, nic: dict[str, int] | None = None) -> Reading:
    return Reading(nics={"eth0": nic or {}}, hcas={"mlx5_0/1": hca or {}}, at_s=0.0)


def test_errors_and_congestion_that_rose_are_told_with_where_and_when():
    before = reading({"symbol_error": 3, "np_cnp_sent": 10}, {"rx_prio3_pause": 0, "tx_errors": 1})
    after = reading({"symbol_error": 5, "np_cnp_sent": 110}, {"rx_prio3_pause": 7, "tx_errors": 1})
    assert between(before, after, "links") == (
        Increase(device="mlx5_0", port=1, counter="symbol_error", by=2, during="links"),
        Increase(device="mlx5_0", port=1, counter="np_cnp_sent", by=100, during="links"),
        Increase(device="eth0", counter="rx_prio3_pause", by=7, during="links"),
    )


def test_traffic_and_what_nobody_knows_is_no_increase():
    before = reading({"port_xmit_data": 0, "rx_write_requests": 0}, {"rx_bytes": 0})
    assert between(before, reading({"port_xmit_data": 9, "rx_write_requests": 9}, {"rx_bytes": 9}), "links") == ()


def test_what_was_not_counted_before_or_began_anew_did_not_rise():
    assert between(reading(), reading({"symbol_error": 5}), "links") == ()
    assert between(reading({"symbol_error": 5}), reading({"symbol_error": 1}), "links") == ()


MEANINGS = {
    "symbol_error": ERROR, "retry_exceeded_err": PATH, "rx_crc_errors_phy": ERROR, "port_xmit_discards": CONGESTION,
    "link_downed": ERROR, "port_rcv_errors": ERROR, "local_ack_timeout_err": PATH, "rnr_nak_retry_err": PATH,
    "req_transport_retries_exceeded": PATH, "unresponsive_remote_events": PATH,
    "tx_prio5_pause": CONGESTION, "rx_pfc_ena_frames_pri3": CONGESTION, "rx_prio0_discards": CONGESTION,
    "rx_drops": CONGESTION, "rx_priority_3_xoff.nic": CONGESTION, "rx_total_discard_pkts": CONGESTION,
    "rx_dropped.nic": CONGESTION, "rx_discard_packets_cos3": CONGESTION,
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), MEANINGS.items())
def test_what_a_counter_means(name: str, kind: str):
    counter = meaning_of(name)
    assert counter is not None
    assert counter.kind == kind


TOO_MUCH = (
    "rx_prio3_pause", "rx_pfc_ena_frames_pri3", "tx_priority_3_xon.nic", "rx_discards_phy", "port_xmit_discards",
    "rx_total_discard_pkts", "rx_dropped.nic",
)  # fmt: skip


def test_pauses_and_discards_are_too_much_and_nothing_else_is():
    assert [name for name in TOO_MUCH if not meaning_of(name).too_much] == []
    assert not any(meaning_of(name).too_much for name in ("symbol_error", "np_cnp_sent", "rx_out_of_buffer"))


def test_words_of_an_hca_are_four_bytes_and_the_busier_direction_counts():
    before = Reading(nics={"eth0": {"rx_bytes": 0, "tx_bytes": 5}}, at_s=10.0, hcas={
        "mlx5_0/1": {"port_xmit_data": 100, "port_rcv_data": 0}, "bnxt_re0/1": {"rx_bytes": 0, "tx_bytes": 0},
        "rxe0/1": {"sent_pkts": 0}, "mlx5_1/1": {"port_xmit_data": 9, "port_rcv_data": 9},
    })  # fmt: skip
    after = Reading(nics={"eth0": {"rx_bytes": 40, "tx_bytes": 5}}, at_s=12.0, hcas={
        "mlx5_0/1": {"port_xmit_data": 200, "port_rcv_data": 10}, "bnxt_re0/1": {"rx_bytes": 0, "tx_bytes": 60},
        "rxe0/1": {"sent_pkts": 50}, "mlx5_1/1": {"port_xmit_data": 0, "port_rcv_data": 9},
    })  # fmt: skip
    assert increases.carried(before, after) == {"eth0": 20.0, "mlx5_0/1": 200.0, "bnxt_re0/1": 30.0}


def test_the_request_names_the_interfaces_or_none():
    assert increases.request().verb.arguments == {}
    assert increases.request(["eth0"]).verb.arguments == {"interfaces": ["eth0"]}
