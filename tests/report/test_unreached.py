"""Is it said once, and with what to do, that nobody was reached; and is there room on a narrow terminal?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.report import samples
from tests.report.test_page import printed


def nobody_reached() -> dict[str, Any]:
    cluster = samples.snapshot()
    lost = [samples.node(node.name, 9, "node_unreachable") for node in cluster.nodes]
    unknown = [samples.verdict(v.check, v.node, "not_measured", summary="not reached: Connection refused")
               for v in samples.verdicts().verdicts]  # fmt: skip
    judged = msgspec.structs.replace(samples.verdicts(), verdicts=tuple(unknown), culprits=())
    return {"snapshot": msgspec.structs.replace(cluster, nodes=tuple(lost)), "verdicts": judged, "exit_status": 3}


def test_where_nobody_was_reached_no_check_is_listed():
    text = printed(**nobody_reached(), plan=None)
    assert "network.py" not in text
    assert "not reached: Connection refused" in text


def test_quiet_says_who_was_not_reached_why_and_how_it_ended():
    lines = printed(**nobody_reached(), verbosity=-1).splitlines()
    assert lines[0] == "not reached  gpu[01-04]: Connection refused; start sshd"
    assert lines[-1] == "exit 3  not everything required is known   ~/runs/latest"


@pytest.mark.parametrize("width", [40, 60])
def test_the_column_of_names_leaves_room_on_a_narrow_terminal(width):
    long = "gpu_has_" + "a_very_long_name_" * 3
    check = msgspec.structs.replace(samples.CHECKS["mtu_is_uniform"], id=long)
    verdicts = [samples.verdict(long, f"gpu{n:02}", "failed" if n == 2 else "passed") for n in (1, 2, 3)]
    judged = msgspec.structs.replace(samples.verdicts(), verdicts=tuple(verdicts))
    lines = printed(width, verdicts=judged, checks={long: check}, plan=None).splitlines()
    start = lines.index("network.py")
    assert all(len(line) <= width for line in lines[start + 2 : lines.index("", start)])
