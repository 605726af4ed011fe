"""Does the collective hold between real hosts, and is the one at fault named before torch only waits?"""

from __future__ import annotations

import shutil
import time

import pytest

from diag.collecting import Scene, again, first
from diag.facts.record import unknown
from diag.participants import participants
from diag.remote import collective
from diag.remote.meeting import meet
from diag.wishes import Wishes
from tests.lab import network
from tests.remote.jobs import MIB, Running, facts, frozen_agent, lab_sessions

pytestmark = [pytest.mark.lab, pytest.mark.torch]

NEW_CONNECTIONS = "tcp flags & (syn | ack) == syn"


def test_four_hosts_measure_over_the_network_they_share(lab4, leaves_nothing):
    with leaves_nothing(lab4), lab_sessions(lab4) as sessions:
        measured = collective.measure(
            sessions, facts(sessions), deadline_s=60, max_size_bytes=MIB, on_done=lambda _: None
        )
    assert measured.finished, measured.summary
    assert (measured.nodes, measured.world_size, measured.interface) == (lab4.names, 4, "eth0")
    assert measured.rendezvous.startswith(f"{lab4.hosts[0].address}:")
    assert measured.interface_why.startswith("all 4 nodes have an address in 10.77.")
    assert all(step.verified for step in measured.steps)


def test_a_rank_killed_in_the_middle_is_named_by_all_others(lab4, leaves_nothing):
    with leaves_nothing(lab4), lab_sessions(lab4) as sessions:
        running = Running(sessions, max_size_bytes=512 * MIB)
        running.wait_for(2, "size_65536")
        assert lab4.hosts[2].kill("-u -m allreduce") == 1
        ended = running.result(20)
    assert [rank.outcome for rank in ended.ranks] == ["stopped", "stopped", "rank_died", "stopped"]
    assert all(rank.said.startswith("rank 2: its process ended") for rank in ended.ranks if rank.rank != 2)
    assert ended.summary.startswith("n002: rank 2 died after phase size_")


def test_where_a_rank_never_comes_its_host_is_named_and_the_others_finish_without_it(lab4, leaves_nothing):
    late = lab4.hosts[1]
    with leaves_nothing(lab4), lab_sessions(lab4, {late.name: {"PYTHONPATH": "/tmp/late"}}) as sessions:
        folder = late.path("/tmp/late")
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(
            "import sys, time\n"
            "if '-m' in sys.orig_argv and 'allreduce' in sys.orig_argv and '--nnodes=4' not in sys.orig_argv:\n"
            "    time.sleep(1000)\n"
        )
        nodes = {node.name: node for node in facts(sessions)}
        scene = Scene(nodes=nodes, sessions=sessions, excluded={}, wishes=Wishes(max_size_bytes=MIB))
        found = first(scene, unknown("--pairs none")).call(on_done=lambda _: None)
        without = again(scene, found).call(on_done=lambda _: None)
        shutil.rmtree(folder)
    assert [rank.outcome for rank in found.ranks] == ["stopped", "rank_missing", "stopped", "stopped"], found.summary
    assert all(rank.missed == (1,) for rank in found.ranks if rank.rank != 1), found.ranks
    assert (without.finished, without.nodes) == (True, ("n000", "n002", "n003")), without.summary
    assert without.excluded == (("n001", "at fault before: rank 1 missing"),)


def test_a_host_cut_off_from_the_others_but_not_from_the_controller_is_named_alone(lab4, leaves_nothing):
    """The first, with the board at which all others meet."""
    place = 0
    with leaves_nothing(lab4), lab_sessions(lab4) as sessions:
        running = Running(sessions, max_size_bytes=512 * MIB)
        running.wait_for(place, "size_65536")
        lab4.hosts[place].blackhole()  # its agent is heard through a pipe all the same
        ended = running.result(40)
    assert [rank.outcome for rank in ended.ranks] == [
        "rank_frozen" if number == place else "stopped" for number in range(4)
    ]
    assert ended.ranks[place].said.endswith("its data network is cut"), ended.ranks[place].said
    assert ended.nodes_through == ()


def test_a_host_that_is_lost_when_the_time_is_over_is_not_called_alive(lab4, leaves_nothing):
    with leaves_nothing(lab4), lab_sessions(lab4) as sessions:
        running = Running(sessions, max_size_bytes=512 * MIB)
        running.wait_for(2, "size_65536")
        with frozen_agent(sessions["n002"], lab4):
            running.job.until = time.monotonic()
            ended = running.result(20)
    assert [rank.outcome for rank in ended.ranks] == ["stopped", "stopped", "agent_silent", "stopped"]


def test_hosts_whose_own_name_is_a_loopback_address_find_each_other_all_the_same(make_lab):
    lab = make_lab(2, faults={0: ("hosts127",), 1: ("hosts127",)})
    with lab_sessions(lab) as sessions:
        measured = collective.measure(
            sessions, facts(sessions), deadline_s=60, max_size_bytes=8192, on_done=lambda _: None
        )
    assert measured.finished, measured.summary


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (f'in iifname "eth0" {NEW_CONNECTIONS} drop', "n000 cannot reach n002 at {}: no answer (ETIMEDOUT)"),
        (
            f'in iifname "eth0" {NEW_CONNECTIONS} reject with tcp reset',
            "n000 cannot reach n002 at {}: refused (ECONNREFUSED)",
        ),
    ],
    ids=["drops", "rejects"],
)
def test_a_host_whose_firewall_lets_nobody_in_is_left_out_and_named(lab4, rule, why):
    network.add_filter(lab4.hosts[2].plan, rule)
    lab4.hosts[2].wounds.append("filter")
    met = met_in(lab4)
    (pair,) = met.blocked
    assert (pair.source, pair.target, pair.step, pair.cause) == ("n000", "n002", "connect", "firewall_blocks_ports")
    assert met.excluded == {"n002": why.format(pair.address)}
    assert [place.node for place in met.places] == ["n000", "n001", "n003"]


def test_where_nobody_reaches_the_first_host_another_takes_its_place(lab4):
    lab4.hosts[0].blackhole()
    met = met_in(lab4)
    assert [place.node for place in met.places] == ["n001", "n002", "n003"]
    assert met.excluded["n000"].startswith("3 of 3 other nodes: ")


def test_a_path_that_swallows_full_packets_is_named_as_such(lab4):
    lab4.hosts[1].drop_bigger_than(1400)
    met = met_in(lab4)
    assert {pair.cause for pair in met.blocked} == {"mtu_mismatch"}
    assert "connected, but full packets do not come through" in met.excluded["n001"]


def met_in(lab):
    with lab_sessions(lab) as sessions:
        return meet(sessions, participants(facts(sessions), {}).places)
