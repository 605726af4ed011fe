"""Is what NCCL logs told: all that fits of a node's own job, of one over many nodes only how networks are used?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diag.probes import nccl_log

NODE = Path(__file__).parents[2] / "diag" / "node"
LOGS = Path(__file__).parents[1] / "data" / "nccl"


@pytest.fixture
def nccl_file(monkeypatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(NODE))
    import nccl_file  # noqa: PLC0415 - a module of the agent, found through the path above

    yield nccl_file
    for name in [name for name, module in sys.modules.items() if "/diag/node/" in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def test_beyond_what_is_kept_of_a_log_only_what_says_something_is_told(nccl_file):
    said = "n1:7:7 [0] NCCL INFO Using network IB\n"
    assert nccl_file.worth_telling(["chatter\n"] * 30 + [said], 80) == ["chatter"] * 9 + [said.strip()]


def test_between_nodes_a_few_lines_say_all_of_networks(nccl_file):
    lines = (LOGS / "two-nodes-2.18.6.log").read_text().splitlines()
    told = nccl_file.of_networks(lines)
    assert len(told) < len(lines)
    few, every = nccl_log.read(told), nccl_log.read(lines)
    for field in ("version", "network", "plugin", "hcas", "gids", "gpu_direct", "variables", "warnings"):
        assert getattr(few, field) == getattr(every, field), field
    plain = [msgspec.structs.replace(way, channels=1) for way in every.transports if way.kind.startswith("NET/")]
    assert [msgspec.structs.replace(way, channels=1) for way in few.transports] == plain


def test_channels_and_queue_pairs_that_go_alike_are_told_once(nccl_file):
    said = "n1:7:{thread} [0] NCCL INFO Channel {channel}/0 : 7[7] -> 8[0] [send] via NET/IB/0/GDRDMA"
    pair = "n1:7:{thread} [0] NCCL INFO NET/IB: IbDev 0 Port 1 qpn {qp} mtu 5 GID 3 (0/A00F00{channel})"
    lines = [form.format(thread=t, channel=t % 10, qp=300 + t) for t in range(40) for form in (said, pair)]
    assert nccl_file.of_networks(lines) == lines[:2]


def test_no_rank_of_many_tells_more_than_its_part(nccl_file):
    lines = [f"n1:7:7 [0] NCCL INFO NET/x is other {n}y" for n in range(1000)]
    assert len(nccl_file.of_networks(lines)) == nccl_file.BETWEEN_AT_MOST
