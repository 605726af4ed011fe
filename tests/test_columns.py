"""Of a node whose engine runs in a container: which side says what?"""

from __future__ import annotations

from diag import columns, probes
from diag.facts.container import Container
from diag.facts.device import GpuSystem
from diag.facts.node import Node, Reach
from diag.facts.record import Missing
from diag.facts.software import Process
from diag.facts.system import Clock, Filesystem, Limits
from tests.probes.recorded import answers

HOST = {
    "limits": Limits(nofile_hard=1 << 20),
    "processes": (Process(pid=7, kind="vllm", name="vllm"),),
    "filesystems": (Filesystem(path="/tmp", use="tmp"), Filesystem(path="/var/lib/docker", use="containers")),
    "gpu_system": GpuSystem(fabric_manager="active", library_mismatch=None, files=()),
}
INSIDE = {
    "limits": Limits(nofile_hard=1024),
    "processes": (),
    "filesystems": (Filesystem(path="/dev/shm", use="shm"),),
    "gpu_system": GpuSystem(fabric_manager=None, library_mismatch="Driver/library version mismatch", files=()),
}


def test_what_an_engine_gets_is_what_the_inside_says():
    assert columns.merged(INSIDE, HOST)["limits"] == INSIDE["limits"]


def test_what_a_container_hides_is_what_the_host_says():
    assert columns.merged(INSIDE, HOST)["processes"] == HOST["processes"]
    blind = {**HOST, "processes": Missing("hidepid")}
    assert columns.merged(INSIDE, blind)["processes"] == Missing("hidepid")


def test_where_images_are_kept_is_the_hosts_beside_the_files_of_the_inside():
    uses = [filesystem.use for filesystem in columns.merged(INSIDE, HOST)["filesystems"]]
    assert uses == ["shm", "containers"]
    assert columns.merged({"filesystems": Missing("x")}, HOST)["filesystems"] == Missing("x")


def test_of_the_gpus_system_the_services_are_the_hosts_and_the_libraries_those_inside():
    joined = columns.merged(INSIDE, HOST)["gpu_system"]
    assert (joined.fabric_manager, joined.library_mismatch) == ("active", "Driver/library version mismatch")
    assert columns.merged({**INSIDE, "gpu_system": None}, HOST)["gpu_system"] == HOST["gpu_system"]


def test_both_sides_are_kept_topic_by_topic():
    told = tuple(answers().values())
    asked = columns.Asked(answers=told, outside=told, clock=Clock(offset_s=0.0, uncertainty_s=0.1))
    node = Node(name="a", address="a", reach=Reach(outcome="answered"))
    node = Node(name="a", address="a", reach=Reach(outcome="answered"), host_side=node)
    fields = columns.fields(node, asked, lambda _: ())
    topics = {probe.topic for probe in probes.PROBES}
    assert topics <= fields.keys()
    for topic in topics:
        assert columns.peek(fields["host_side"], topic) == probes.facts_from(told)[topic]
    assert isinstance(fields["container"], Container)


def test_without_a_container_there_is_one_side():
    told = tuple(answers().values())
    asked = columns.Asked(answers=told, clock=Clock(offset_s=0.0, uncertainty_s=0.1))
    fields = columns.fields(Node(name="a", address="a", reach=Reach(outcome="answered")), asked, lambda _: ())
    assert "host_side" not in fields
