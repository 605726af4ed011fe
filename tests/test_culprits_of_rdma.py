"""Is what RDMA did not carry, and what its ports counted, held against those at fault alone?"""

from __future__ import annotations

import pytest

from diag.facts.rdma import Increase
from diag.judge import judge
from tests.checks.changes import Change, both, having, of_cluster, on
from tests.checks.healthy import gpu_cluster
from tests.checks.pairs.collective import rank_of
from tests.checks.pairs.links import by_rdma, cut_off_by_rdma
from tests.checks.test_pairs import wrong
from tests.test_culprits import found, who


@pytest.mark.parametrize("nodes", [("gpu02",), ("gpu01", "gpu02", "gpu03", "gpu04")])
def test_rdma_that_carries_nothing_is_a_failure_where_tcp_carries_all(nodes):
    judged = judge(cut_off_by_rdma("roce_gid_index", *nodes)(by_rdma(gpu_cluster())))
    assert judged.exit_status == 1
    failed = {f"{verdict.check}@{verdict.subject.removeprefix('link:')}" for verdict in wrong(judged, "failed")}
    evidence = {each for culprit in judged.culprits for each in culprit.evidence}
    assert failed == evidence if len(nodes) == 1 else not evidence


def counted(counter: str, *names: str) -> Change:
    row = Increase(device="mlx5_0", port=1, counter=counter, by=31, during="links")
    return both(*(on(name, increases=(row,)) for name in names))


DEAD = {
    "filtered": cut_off_by_rdma("firewall_blocks_ports", "gpu02"),
    "killed": rank_of("gpu02", outcome="rank_died"),
    "stopped by us": of_cluster(collective=having(finished=False, stopped="a newcomer on a GPU", steps=())),
}


@pytest.mark.parametrize("dead", DEAD.values(), ids=DEAD)
def test_who_waited_in_vain_for_a_dead_peer_is_not_named(dead):
    waited = counted("local_ack_timeout_err", "gpu01", "gpu03")
    judged = judge(both(dead, waited)(by_rdma(gpu_cluster())))
    assert {name for culprit in judged.culprits for name in culprit.nodes} <= {"gpu02"}
    assert {v.node for v in wrong(judged, "not_measured") if v.check == "packets_were_answered"} == {"gpu01", "gpu03"}


def test_packets_that_nobody_answered_accuse_nobody_by_themselves():
    judged = judge(counted("local_ack_timeout_err", "gpu01")(gpu_cluster()))
    assert (judged.exit_status, judged.culprits) == (0, ())
    assert {verdict.check for verdict in wrong(judged, "advice")} == {"packets_were_answered"}


def test_damaged_packets_are_of_the_port_that_counts_them_whoever_else_is_dead():
    culprits = found(both(DEAD["filtered"], counted("symbol_error", "gpu03")), by_rdma(gpu_cluster()))
    assert who(culprits)["ib_link_flapping"] == ("gpu03",)


def test_rdma_that_was_not_tried_is_not_known_and_nobodys_fault():
    judged = judge(cut_off_by_rdma("", "gpu02")(by_rdma(gpu_cluster())))
    assert (judged.exit_status, judged.culprits) == (0, ())
    assert {verdict.check for verdict in wrong(judged, "not_measured")} == {
        "rails_carry_data", "rails_reach_their_line_rate", "rails_carry_as_much_from_gpus"
    }  # fmt: skip
