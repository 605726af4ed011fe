"""Is a node that somebody uses left alone, also where nobody can tell?"""

from __future__ import annotations

from typing import Any

import pytest

from diag.busy import why_busy, why_in_use, why_not_on_gpus, why_stopped
from diag.facts.device import Gpu, GpuProcess, GpuSystem, PciDevice
from diag.facts.node import Node, Reach
from diag.facts.record import Missing
from diag.facts.software import Process
from diag.facts.speed import Lost, Speed

CARD = PciDevice(
    kind="accelerator", vendor="nvidia", address="0000:3b:00.0", vendor_id="10de", device_id="2330", driver="nvidia"
)


def gpu(**fields: Any) -> Gpu:
    idle = {"used_bytes": 500 << 20, "utilisation": 0.0, "processes": (), "mig": False, "compute_mode": "default"}
    return Gpu(index=0, name="H100", vendor="nvidia", **{**idle, **fields})


def node(**fields: Any) -> Node:
    idle = {"devices": (CARD,), "gpus": (gpu(),), "processes": (), "gpu_system": GpuSystem(mps=False)}
    return Node(name="gpu01", address="10.0.0.1", reach=Reach(outcome="answered"), **{**idle, **fields})


def test_an_idle_gpu_may_be_loaded():
    assert why_busy(node()) == ""


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"processes": (GpuProcess(pid=4121),)}, "gpu:0 is in use (pid 4121)"),
        ({"used_bytes": 70 << 30}, "70.0 GiB of gpu:0 are in use"),
        ({"utilisation": 0.97}, "gpu:0 is at 97%"),
        ({"utilisation": Missing("no sample")}, "not known (no sample)"),
        ({"used_bytes": Missing("driver is silent")}, "not known (driver is silent)"),
        ({"mig": True}, "MIG"),
        ({"mig": Missing("NVML: Unknown Error")}, "whether gpu:0 is divided (MIG) is not known (NVML: Unknown Error)"),
        ({"compute_mode": "exclusive_process"}, "exclusive_process"),
        ({"compute_mode": Missing("NVML: x")}, "whether gpu:0 lets several processes in is not known (NVML: x)"),
    ],
)
def test_a_gpu_in_use_or_not_known_or_shared_is_not_loaded(fields, why):
    assert why in why_busy(node(gpus=(gpu(**fields),)))


@pytest.mark.parametrize("system", [Missing("not asked"), GpuSystem(mps=Missing("processes are hidden"))])
def test_mps_that_is_not_known_forbids_load_unless_named(system):
    unseen = node(gpu_system=system)
    assert "shared (MPS) is not known" in why_busy(unseen)
    assert why_busy(unseen, ("mps",)) == ""
    assert "MPS" in why_in_use(unseen)


def test_a_mig_that_is_not_known_may_be_loaded_where_it_is_named():
    unseen = node(gpus=(gpu(mig=Missing("NVML: Unknown Error")),))
    assert why_busy(unseen, ("mig",)) == ""


def test_other_vendors_have_neither():
    other = Gpu(index=0, name="MXC500", vendor="metax", used_bytes=0, utilisation=0.0, processes=())
    assert why_busy(node(gpus=(other,), gpu_system=Missing("not asked"))) == ""


def test_our_own_process_is_no_reason():
    assert why_busy(node(gpus=(gpu(processes=(GpuProcess(pid=1, ours=True),)),))) == ""


def test_an_engine_makes_a_node_busy_and_an_idle_daemon_does_not():
    assert "vllm runs there (pid 7)" in why_busy(node(processes=(Process(pid=7, kind="vllm", name="vllm serve"),)))
    assert why_busy(node(processes=(Process(pid=7, kind="ray", name="raylet"),))) == ""


def test_processes_that_cannot_be_seen_forbid_loading_a_node_with_devices_only():
    hidden = Missing("/proc is mounted with hidepid")
    assert "not known" in why_busy(node(processes=hidden))
    assert "not known" in why_busy(node(processes=hidden, devices=Missing("no /sys"), gpus=Missing("no /sys")))
    assert why_busy(node(processes=hidden, devices=(), gpus=())) == ""


def test_another_vendors_gpus_leave_the_decision_to_the_processes():
    assert why_busy(node(gpus=Missing("no reader for it yet"))) == ""


def test_a_gpu_that_is_busy_on_the_host_is_busy_for_a_container_that_does_not_see_it():
    host = node(gpus=(gpu(), gpu(used_bytes=70 << 30)))
    assert "70.0 GiB" in why_busy(node(host_side=host))
    assert why_busy(node(host_side=node())) == ""


ENGINE = {"processes": (Process(pid=7, kind="vllm", name="vllm serve"),)}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (ENGINE, "busy"),
        ({"gpus": (gpu(used_bytes=70 << 30),)}, "busy"),
        ({"gpus": (gpu(utilisation=Missing("no sample")),)}, "busy"),
        ({"gpus": (gpu(mig=True),)}, "mig"),
        ({"gpus": (gpu(compute_mode="exclusive_process"),)}, "exclusive"),
        ({"gpus": (gpu(compute_mode=Missing("NVML: x")),)}, "exclusive"),
        ({"gpu_system": GpuSystem(mps=True)}, "mps"),
    ],
)
def test_what_is_named_and_nothing_else_may_be_loaded_all_the_same(fields, named):
    one = node(**fields)
    assert why_busy(one)
    assert why_busy(one, {named}) == ""
    assert why_busy(one, {"busy", "mig", "mps", "exclusive"} - {named})


def test_who_works_there_is_known_also_where_it_may_be_loaded():
    assert why_in_use(node(**ENGINE)) == "busy: vllm runs there (pid 7)"
    assert why_in_use(node(gpus=(gpu(mig=True),))) == ""
    assert why_in_use(node()) == ""


def test_what_ended_the_measurements_of_a_node_speaks_against_more_of_them():
    newcomer = "another process began to use a GPU (pid 77)"
    assert why_stopped(node(speed=Speed(level="normal", seconds=3.0, stopped=newcomer))) == newcomer
    assert why_stopped(node(speed=Speed(level="normal", seconds=3.0))) == ""
    assert why_stopped(node(speed=Missing("no accelerator"))) == ""


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        (Lost(topic="p2p", gpus=(2, 5), how="killed", why="no end within 11.5 s"), "gpu:2 and gpu:5 hung: no end"),
        (Lost(topic="gemm", gpus=(3,), how="skipped", why="too hot; pid 4 does not die"), "gemm: too hot; pid 4"),
    ],
    ids=["a pair that hung", "a process that stays"],
)
def test_a_pair_that_hung_and_what_does_not_die_speak_against_more_load(lost, why):
    """The cluster's collective, and RDMA from its GPUs, would hang there too."""
    hung = node(speed=Speed(level="normal", seconds=3.0, lost=(lost,)))
    assert why_stopped(hung).startswith(why)
    assert why_not_on_gpus(hung).startswith(why)


def test_a_product_that_was_killed_and_is_gone_does_not():
    lost = Lost(topic="gemm", gpus=(3,), how="killed", why="no end within 22 s")
    assert why_stopped(node(speed=Speed(level="normal", seconds=3.0, lost=(lost,)))) == ""
