"""Which errors that GPUs count under load are faults, and which are none?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diag.facts.device import Xid
from diag.facts.node import Node
from diag.facts.record import NotMeasured, unknown
from diag.facts.speed import GpuRise
from diag.probes import gpu_rises, gpus, xids
from tests.checks.machines import gpu_node

HERE = gpu_node(1)
ADDRESS = str(HERE.gpus[2].pci_address)


def risen(monkeypatch: pytest.MonkeyPatch, before: Node, after: Node, seconds: float = 30.0) -> tuple[GpuRise, ...]:
    monkeypatch.setattr(gpus, "read", lambda _: after.gpus)
    monkeypatch.setattr(xids, "read", lambda _: after.xids)
    return gpu_rises.between(before, {}, seconds)


def changed(**parts: Any) -> Node:
    """GPU 2 with fields of its parts changed: ``ecc={...}``."""
    gpu = HERE.gpus[2]
    parts = {name: msgspec.structs.replace(getattr(gpu, name), **fields) for name, fields in parts.items()}
    row = msgspec.structs.replace(gpu, **parts)
    return msgspec.structs.replace(HERE, gpus=(*HERE.gpus[:2], row, *HERE.gpus[3:]))


def logged(*rows: Xid) -> Node:
    return msgspec.structs.replace(HERE, xids=rows)


def xid(code: int, at_s: float, said: str = "", *, switch: bool = False) -> Xid:
    return Xid(code=code, pci_address=ADDRESS, at_s=at_s, said=said, switch=switch)


def test_what_counts_alike_has_not_risen(monkeypatch):
    assert risen(monkeypatch, HERE, HERE) == ()


@pytest.mark.parametrize(
    ("field", "counter", "grave"),
    [("volatile_uncorrected", "uncorrected memory errors", True), ("volatile_corrected", gpu_rises.CORRECTED, False)],
)
def test_memory_errors_are_told_and_corrected_ones_are_no_fault(monkeypatch, field, counter, grave):
    before, after = changed(ecc={field: 1}), changed(ecc={field: 4})
    assert risen(monkeypatch, before, after) == (GpuRise(gpu=2, counter=counter, by=3, grave=grave),)


@pytest.mark.parametrize(("by", "seconds", "grave"), [(8, 30, False), (9, 30, True), (20, 150, False), (21, 150, True)])
def test_packets_sent_again_over_pcie_are_a_fault_above_dcgms_rate(monkeypatch, by, seconds, grave):
    before, after = changed(pcie={"replays": 5}), changed(pcie={"replays": 5 + by})
    (found,) = risen(monkeypatch, before, after, seconds)
    assert (found.counter, found.by, found.grave) == (gpu_rises.REPLAYS, by, grave)


@pytest.mark.parametrize(("by", "grave"), [(2_999, False), (3_000, True)])
def test_damaged_packets_on_a_link_are_a_fault_from_dcgms_rate_on(monkeypatch, by, grave):
    links = HERE.gpus[2].links
    damaged = msgspec.structs.replace(links[1], crc_errors=(links[1].crc_errors or 0) + by)
    row = msgspec.structs.replace(HERE.gpus[2], links=(links[0], damaged, *links[2:]))
    after = msgspec.structs.replace(HERE, gpus=(*HERE.gpus[:2], row, *HERE.gpus[3:]))
    (found,) = risen(monkeypatch, HERE, after, seconds=30.0)
    assert (found.by, found.grave) == (by, grave)


def test_each_link_counts_for_itself(monkeypatch):
    links = list(HERE.gpus[2].links)
    links[1] = msgspec.structs.replace(links[1], replays=(links[1].replays or 0) + 2)
    row = msgspec.structs.replace(HERE.gpus[2], links=tuple(links))
    after = msgspec.structs.replace(HERE, gpus=(*HERE.gpus[:2], row, *HERE.gpus[3:]))
    (found,) = risen(monkeypatch, HERE, after)
    assert (found.gpu, found.by, found.grave) == (2, 2, True)
    assert found.counter.endswith(f"link {links[1].index}")


def test_a_counter_that_began_anew_or_was_not_told_before_is_no_rise(monkeypatch):
    assert risen(monkeypatch, changed(ecc={"volatile_corrected": 7}), changed(ecc={"volatile_corrected": 2})) == ()
    silent = changed(ecc={"volatile_corrected": unknown("NVML: Not Supported")})
    assert risen(monkeypatch, silent, changed(ecc={"volatile_corrected": 2})) == ()


def test_new_lines_of_the_kernel_log_are_told_and_our_own_ends_are_no_fault(monkeypatch):
    before = logged(xid(74, 10.0))
    after = logged(xid(74, 10.0), xid(74, 99.0), xid(45, 100.0), xid(24007, 101.0, "Fatal, Link 3", switch=True))
    found = [(rise.counter, rise.grave) for rise in risen(monkeypatch, before, after)]
    assert found == [
        ("Xid 74 in the kernel log", True),
        ("Xid 45 in the kernel log", False),
        ("SXid 24007 in the kernel log", True),
    ]


def test_a_gpu_that_is_gone_is_named_and_those_behind_it_keep_their_numbers(monkeypatch):
    counted = changed(ecc={"volatile_corrected": 9}).gpus[2]
    moved_up = msgspec.structs.replace(counted, index=1)
    lost = str(HERE.gpus[1].pci_address)
    gone = Xid(code=79, pci_address=lost, at_s=99.0, said="GPU has fallen off the bus.")
    after = msgspec.structs.replace(logged(gone), gpus=(HERE.gpus[0], moved_up))
    assert [(rise.gpu, rise.counter) for rise in risen(monkeypatch, HERE, after)] == [
        (2, gpu_rises.CORRECTED),
        (1, "Xid 79 in the kernel log"),
    ]


def test_gpus_that_do_not_answer_afterwards_are_not_measured(monkeypatch):
    def silent(_: Any) -> Any:
        raise NotMeasured("did not answer")

    monkeypatch.setattr(gpus, "read", silent)
    with pytest.raises(NotMeasured, match="did not answer"):
        gpu_rises.between(HERE, {}, 1.0)
