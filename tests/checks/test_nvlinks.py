"""When are links that nobody told of, or that are not meant to be up, neither passed nor failed?"""

from __future__ import annotations

import pytest

from diag.facts.device import Fabric
from diag.facts.snapshot import Snapshot
from diag.judge import judge
from tests.checks.changes import Change, having, item, on
from tests.checks.healthy import gpu_cluster

SILENT = having(replays=None, recoveries=None, crc_errors=None)
DOWN = having(active=False)


def outcome(change: Change, check: str) -> str:
    cluster: Snapshot = change(gpu_cluster(1))
    (one,) = (one for one in judge(cluster, keyword="nvlinks or gpu_links").verdicts if one.check == check)
    return one.outcome


def every_link(wish: Change) -> Change:
    return on("*", gpus=item(lambda _: True, having(links=item(lambda _: True, wish))))


def test_links_that_tell_no_counter_are_not_known_to_be_without_errors():
    assert outcome(every_link(SILENT), "nvlinks_repeat_and_recover_nothing") == "not_measured"


def test_pairs_of_which_the_driver_says_nothing_are_not_known_to_reach_each_other():
    untold = on("*", between=item(lambda row: row.path == "link", having(p2p=None)))
    assert outcome(untold, "linked_gpus_reach_each_other") == "not_measured"


@pytest.mark.parametrize(
    ("fields", "switches"),
    [({"mig": True}, 4), ({"fabric": None}, 0), ({"fabric": Fabric(state="not_supported")}, 0)],
    ids=["divided", "no NVSwitch", "a card without bridges"],
)
def test_links_that_need_not_be_up_accuse_nobody(fields, switches):
    change = on(
        "*",
        gpus=item(lambda _: True, having(links=item(lambda _: True, DOWN), **fields)),
        gpu_system=having(nvswitches=switches),
    )
    assert outcome(change, "gpus_have_equally_many_nvlinks_up") == "passed"


def test_one_card_without_a_bridge_beside_bridged_ones_accuses_nobody():
    alone = having(links=item(lambda _: True, DOWN), fabric=Fabric(state="not_supported"))
    change = on("*", gpus=item(3, alone), gpu_system=having(nvswitches=0))
    assert outcome(change, "gpus_have_equally_many_nvlinks_up") == "passed"
