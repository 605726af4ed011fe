from __future__ import annotations

from diag.facts.device import Xid
from diag.facts.record import Missing
from diag.facts.xids import XIDS
from tests.probes.recorded import read, silent

OFF_THE_BUS = "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
SWITCH = "nvidia-nvswitch3: SXid (PCI:0000:86:00.0): 24007, Non-fatal, Link 46 sourcetrack timeout error"
OLD = "NVRM: Xid (0000:03:00): 13, 0003 00000000"


def test_an_error_of_a_gpu_is_read_with_its_place_and_time():
    assert read("xids", kernel_log=[[7200.5, OFF_THE_BUS]]) == (
        Xid(
            code=79,
            pci_address="0000:3b:00.0",
            at_s=7200.5,
            said="pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        ),
    )


def test_an_error_of_an_nvswitch_is_told_from_one_of_a_gpu():
    (found,) = read("xids", kernel_log=[[None, SWITCH]])
    assert (found.code, found.switch, found.pci_address) == (24007, True, "0000:86:00.0")
    assert found.said.startswith("Non-fatal, Link 46")


def test_the_form_of_old_drivers_is_read_too():
    (found,) = read("xids", kernel_log=[[None, OLD]])
    assert (found.code, found.pci_address) == (13, "0000:03:00.0")


def test_a_log_that_only_root_may_read_is_missing():
    why = "PermissionError: the kernel log needs root"
    assert read("xids", kernel_log=silent("kernel log", why)) == Missing(why)


def test_a_line_of_another_form_is_not_passed_over():
    found = read("xids", kernel_log=[[None, "NVRM: Xid (somewhere) 79"]])
    assert found == Missing("unexpected line in the kernel log: 'NVRM: Xid (somewhere) 79'")


def test_the_table_knows_the_codes_on_which_others_take_a_machine_out():
    """Azure's node health checks (azure_gpu_xid.nhc)."""
    grave = {48, 56, 57, 58, 62, 63, 64, 65, 68, 69, 73, 74, 79, 80, 81, 92, 119, 120}
    assert {code for code, known in XIDS.items() if known.kind != "application"} >= grave
    assert {code for code, known in XIDS.items() if known.kind == "application"} >= {13, 31, 43, 45}
    assert {code for code, known in XIDS.items() if known.kind == "memory"} >= {94, 95, 140}, "NVIDIA's catalog"
    assert all(known.kind in ("bus", "memory", "hardware", "application") for known in XIDS.values())
