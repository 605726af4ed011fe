"""Is it said in one line in what containers differ from their hosts?"""

from __future__ import annotations

import msgspec

from diag.facts.record import Missing
from diag.facts.system import Limits
from diag.report.sides import side_lines
from diag.units import MIB
from tests.checks.changes import having, item, named, on
from tests.checks.healthy import gpu_cluster
from tests.checks.pairs.containers import contained


def test_nothing_is_said_where_engines_run_on_the_hosts():
    assert side_lines(gpu_cluster()) == []


def test_nodes_that_differ_alike_are_one_line():
    cluster = contained(gpu_cluster())
    for name in ("gpu02", "gpu03"):
        cluster = on(name, filesystems=item(named("shm"), having(total_bytes=64 * MIB)))(cluster)
    assert side_lines(cluster) == [
        "gpu[01,04]: in container vllm (docker): as on the host",
        "gpu[02-03]: in container vllm (docker): /dev/shm 64.0 MiB (host 1007.0 GiB)",
    ]


def test_what_is_not_known_on_one_side_is_said_as_that():
    change = on("*", limits=Missing("gone"))
    (line,) = side_lines(change(contained(gpu_cluster(1))))
    assert "memlock not known (host unlimited)" in line


def test_a_container_that_was_started_is_called_by_its_image_and_what_it_lacks():
    change = on("*", inside=having(container=None, without=("raised limits: docker may not",)))
    limits = on("*", limits=Limits(memlock_soft_bytes=8 * MIB, nofile_hard=1048576))
    cluster = limits(change(contained(gpu_cluster(1))))
    (line,) = side_lines(cluster)
    assert line == (
        "gpu01: in a container of vllm/vllm-openai:v0.11.0 (docker): memlock 8.0 MiB (host unlimited),"
        " without raised limits: docker may not"
    )
    assert msgspec.json.decode(msgspec.json.encode(cluster), type=type(cluster)) == cluster
