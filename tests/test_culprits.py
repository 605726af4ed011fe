"""Is each cause named once, with the nodes that have it, and is what it explains not named again?"""

from __future__ import annotations

import msgspec
import pytest

from diag.facts.collective import Rank
from diag.facts.network import Hostname
from diag.facts.record import Missing
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import Culprit
from diag.judge import judge
from tests.checks.changes import Change, both, having, item, named, of_cluster, on
from tests.checks.healthy import cpu_cluster, gpu_cluster
from tests.checks.pairs.collective import cut_off, rank_of
from tests.checks.test_pairs import wrong


def found(change: Change, cluster: Snapshot | None = None) -> tuple[Culprit, ...]:
    return judge(change(cluster or gpu_cluster())).culprits


def who(culprits: tuple[Culprit, ...]) -> dict[str, tuple[str, ...]]:
    return {culprit.cause: culprit.nodes for culprit in culprits}


def lost(name: str, cause: str, summary: str) -> Change:
    return on(name, reach=having(outcome=cause, summary=summary), agent=Missing(f"not reached: {summary}"))


def test_a_healthy_cluster_has_no_culprit():
    assert found(lambda cluster: cluster) == ()


def test_nodes_lost_for_the_same_reason_are_one_culprit():
    change = both(
        lost("gpu02", "node_unreachable", "connection refused"),
        lost("gpu03", "node_unreachable", "connection refused"),
        lost("gpu04", "host_key_changed", "the key of gpu04 is not the known one"),
    )
    assert [(c.kind, c.nodes, c.cause, c.summary, c.evidence) for c in found(change)] == [
        ("node", ("gpu02", "gpu03"), "node_unreachable", "connection refused", ("reach@gpu02", "reach@gpu03")),
        ("node", ("gpu04",), "host_key_changed", "the key of gpu04 is not the known one", ("reach@gpu04",)),
    ]
    assert all(culprit.confidence == 1.0 for culprit in found(change))


def test_two_checks_of_one_cause_are_one_culprit():
    no_space = item(named("tmp"), having(free_bytes=0, free_inodes=0))
    (culprit,) = found(on("gpu02", filesystems=no_space))
    assert culprit.cause == "disk_full_or_quota"
    assert culprit.evidence == ("file_system_has_space@gpu02", "file_system_has_inodes@gpu02")


def test_the_minority_is_the_culprit_not_the_majority():
    (culprit,) = found(on("gpu02", software=having(torch="2.7.1+cu128")))
    assert (culprit.kind, culprit.nodes, culprit.cause) == ("setting", ("gpu02",), "version_differs")
    assert culprit.summary == "torch 2.7.1+cu128"


def test_where_two_differ_both_are_named_and_nobody_is_the_majority():
    (culprit,) = found(on("gpu02", software=having(torch="2.7.1+cu128")), gpu_cluster(2))
    assert culprit.nodes == ("gpu01", "gpu02")
    assert culprit.summary == "torch differs: gpu01 has 2.8.0+cu128, gpu02 has 2.7.1+cu128"


def test_two_names_of_one_host_are_one_culprit():
    twin = of_cluster(nodes=lambda nodes: (*nodes[:3], having(name="gpu04")(nodes[2])))
    assert who(found(twin)) == {"duplicate_address": ("gpu03", "gpu04")}


def test_a_part_says_of_which_kind_the_culprit_is():
    assert found(on("gpu02", gpus=item(0, having(used_bytes=1 << 36))))[0].kind == "gpu"


def test_what_was_found_on_one_gpu_names_it():
    (hot,) = found(on("gpu02", gpus=item(5, having(temperature_c=91))))
    assert hot.summary == "gpu:5: 91 °C"
    (both_hot,) = found(on("gpu02", gpus=item(lambda gpu: gpu.index > 5, having(temperature_c=91))))
    assert both_hot.summary == "91 °C"


def test_a_rank_that_did_not_come_through_is_named_with_its_phase_and_words():
    died = rank_of("gpu02", outcome="rank_died", phases=(("spawned", 0.1), ("imported", 3.2)), said="Bus error")
    (culprit,) = found(died)
    assert (culprit.kind, culprit.nodes, culprit.cause) == ("node", ("gpu02",), "rank_died")
    assert culprit.summary == "ranks 8-15 died after phase imported at 3.2 s: Bus error"


def test_a_rank_that_only_stopped_with_the_others_is_no_culprit():
    change = both(
        of_cluster(collective=having(ranks=item(lambda _: True, having(outcome="stopped")))),
        rank_of("gpu02", outcome="rank_frozen"),
    )
    judged = judge(change(gpu_cluster()))
    assert who(judged.culprits) == {"rank_frozen": ("gpu02",)}
    outcomes = {v.node: v.outcome for v in judged.verdicts if v.check == "every_rank_comes_through"}
    assert outcomes == {"gpu01": "not_measured", "gpu02": "failed", "gpu03": "not_measured", "gpu04": "not_measured"}
    assert judged.exit_status == 1


def test_a_cause_on_the_node_explains_its_ranks_end():
    no_space = item(named("tmp"), having(free_bytes=0))
    change = both(rank_of("gpu02", outcome="rank_died"), on("gpu02", filesystems=no_space))
    (culprit,) = found(change)
    assert culprit.cause == "disk_full_or_quota"
    assert culprit.evidence == ("file_system_has_space@gpu02", "every_rank_comes_through@gpu02")


def test_a_name_that_the_job_did_not_use_explains_no_rank_and_stands_behind_it():
    change = both(
        rank_of("gpu02", outcome="rank_frozen"),
        on("gpu02", hostname=Hostname(name="gpu02", addresses=("127.0.1.1",))),
    )
    assert [culprit.cause for culprit in found(change)] == ["rank_frozen", "gloo_hostname_loopback"]


def test_a_cause_on_another_node_explains_nothing():
    change = both(
        rank_of("gpu02", outcome="rank_died"),
        on("gpu03", hostname=Hostname(name="gpu03", addresses=("127.0.1.1",))),
    )
    assert who(found(change)) == {"gloo_hostname_loopback": ("gpu03",), "rank_died": ("gpu02",)}


def test_a_rank_that_is_missing_because_its_node_is_lost_is_not_named_again():
    change = both(lost("gpu02", "node_unreachable", "connection refused"), rank_of("gpu02", outcome="rank_missing"))
    (culprit,) = found(change)
    assert culprit.cause == "node_unreachable"


def test_the_end_of_a_blocked_link_that_was_left_out_is_the_culprit():
    (culprit,) = found(cut_off("gpu02"))
    assert (culprit.kind, culprit.nodes, culprit.cause) == ("link", ("gpu02",), "mtu_mismatch")
    assert culprit.evidence == ("link_carries_data@gpu01>gpu02", "link_carries_data@gpu02>gpu01")


def test_another_mtu_on_the_node_explains_its_blocked_link():
    change = both(cut_off("gpu02"), on("gpu02", interfaces=item(named("bond0"), having(mtu_bytes=1500))))
    (culprit,) = found(change)
    assert (culprit.kind, culprit.cause) == ("setting", "mtu_mismatch")
    assert len(culprit.evidence) == 3


def test_advice_names_no_culprit():
    assert found(on("gpu02", reach=having(login_noise_bytes=63))) == ()


def test_what_stopped_the_run_comes_first_then_the_surest():
    change = both(
        on("gpu01", limits=having(memlock_soft_bytes=1)),
        rank_of("gpu03", outcome="rank_frozen"),
        lost("gpu02", "node_unreachable", "connection refused"),
    )
    assert [culprit.cause for culprit in found(change)] == ["node_unreachable", "rank_frozen", "memlock_limit"]


def test_a_collective_that_ended_without_a_culprit_is_a_failure_without_one():
    stopped = item(lambda _: True, having(outcome="stopped"))
    ended = of_cluster(collective=having(finished=False, ranks=stopped, steps=(), summary="not finished after 90 s"))
    judged = judge(ended(cpu_cluster()))
    assert judged.culprits == ()
    assert judged.exit_status == 1
    (failed,) = [verdict for verdict in judged.verdicts if verdict.outcome == "failed"]
    assert (failed.check, failed.found) == ("collective_finishes", "not finished after 90 s")


def slow(*names: str) -> Change:
    """A tenth of what their flows carried, also with a third node."""
    tenth = having(bytes_per_s=lambda rate: rate / 10)
    third = {"node2": "node5", "node9": "node12"}

    def change(cluster: Snapshot) -> Snapshot:
        flows = [tenth(flow) if {*names} & {*flow.pair} else flow for flow in cluster.links.flows]
        ways = [way for name in names for way in ((name, third[name]), (third[name], name))]
        again = [having(source=a, target=b, round=3)(tenth(cluster.links.flows[0])) for a, b in ways]
        return having(links=having(flows=(*flows, *again)))(cluster)

    return change


def test_a_cause_of_one_slow_node_does_not_hide_another():
    slower_port = on("node2", interfaces=item(named("eth0"), having(speed_bits_per_s=10**8)))
    culprits = found(both(slow("node2", "node9"), slower_port), cpu_cluster(16))
    assert {(culprit.cause, culprit.nodes) for culprit in culprits} == {
        ("node_slow", ("node2",)),
        ("node_slow", ("node9",)),
    }


def test_of_several_slow_nodes_each_is_told_with_its_name():
    (culprit,) = found(slow("node2", "node9"), cpu_cluster(16))
    assert culprit.nodes == ("node2", "node9")
    assert [part.partition(":")[0] for part in culprit.summary.split("; ")[::2]] == ["node2", "node9"]


def test_a_cause_on_either_end_explains_a_link():
    nothing = having(bytes_per_s=Missing("connected, but packets above 1400 bytes do not"), cause="mtu_mismatch")
    cut = of_cluster(links=having(flows=item(lambda flow: flow.pair == ("node1", "node2"), nothing)))
    (culprit,) = found(both(cut, on("node2", interfaces=item(named("eth0"), having(mtu_bytes=1400)))), cpu_cluster(8))
    assert (culprit.kind, culprit.nodes, culprit.cause) == ("setting", ("node2",), "mtu_mismatch")


@pytest.mark.parametrize(
    ("narrow", "named"),
    [
        (lambda flow: "node3" in flow.pair, {"node3"}),
        (lambda flow: flow.pair == ("node3", "node4"), {"node3", "node4"}),
        (lambda _: True, {f"node{number}" for number in range(1, 9)}),
    ],
)
def test_partners_of_a_node_behind_a_small_mtu_are_not_named(narrow, named):
    small = of_cluster(links=having(flows=item(narrow, having(path_mtu_bytes=1400))))
    (culprit,) = found(small, cpu_cluster(8))
    assert (culprit.cause, {*culprit.nodes}) == ("mtu_mismatch", named)


def test_where_nobody_can_tell_who_is_sound_no_link_is_wrong():
    """Rates of a healthy lab on a busy machine, every pair of four hosts."""
    rates = {(1, 4): 3.2, (4, 1): 3.3, (2, 3): 2.8, (3, 2): 2.3, (1, 3): 4.0, (3, 1): 4.4, (4, 2): 4.1, (2, 4): 3.8,
             (1, 2): 3.7, (2, 1): 3.9, (3, 4): 3.7, (4, 3): 3.8}  # fmt: skip
    flows = lambda old: tuple(  # noqa: E731 - a wish
        having(source=f"node{a}", target=f"node{b}", bytes_per_s=rate * 1e9, windows_bytes_per_s=())(old[0])
        for (a, b), rate in rates.items()
    )
    judged = judge(of_cluster(links=having(mode="all", flows=flows))(cpu_cluster()))
    assert (judged.exit_status, judged.culprits) == (3, ())
    (verdict, *_) = wrong(judged, "not_measured")
    assert (verdict.summary or "").endswith("nobody can be told apart")


@pytest.mark.parametrize("seen", [cut_off("gpu02"), rank_of("gpu02", outcome="rank_frozen")])
@pytest.mark.parametrize("cause", ["link_slow", "firewall_blocks_ports"])
def test_a_node_that_is_cut_off_is_named_once(cause, seen):
    nothing = item(lambda flow: "gpu02" in flow.pair, having(bytes_per_s=Missing("no answer"), cause=cause))
    (culprit,) = found(both(of_cluster(links=having(flows=nothing)), seen))
    assert (culprit.nodes, culprit.cause) == (("gpu02",), cause)


def test_culprits_are_a_pure_function_of_the_snapshot():
    cluster = rank_of("gpu02", outcome="rank_died")(gpu_cluster())
    again = msgspec.json.decode(msgspec.json.encode(cluster), type=Snapshot)
    assert judge(again).culprits == judge(cluster).culprits


def test_ranks_without_a_phase_never_began():
    ranks = (Rank(rank=1, node="node2", local_rank=0, outcome="rank_missing"),)
    (culprit,) = found(of_cluster(collective=having(ranks=ranks, finished=False, steps=())), cpu_cluster())
    assert culprit.summary == "rank 1 missing before it reported anything"
