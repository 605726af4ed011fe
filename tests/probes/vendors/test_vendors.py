"""Does a node with other accelerators end up with records of them, or with the reason why not?"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest

from diag import busy, hardware
from diag.facts.device import UNSAID, Between, Gpu, Pcie
from diag.facts.node import Node, Reach
from diag.facts.record import UNASKED, Missing, NotMeasured, peek
from diag.probes import vendors
from diag.probes.vendors import proven
from diag.probes.vendors.vendor import figure, pci_address
from diag.probes.verbs import Answer
from tests.probes.recorded import read, silent
from tests.probes.vendors.printed import eight_metax, found, synthetic


def node(**answers: Any) -> Node:
    topics = {topic: read(topic, **answers) for topic in ("devices", "gpus", "between", "processes")}
    return Node(name="mx01", address="10.0.0.1", reach=Reach(outcome="answered"), **topics)


def with_tool(**changed: Any) -> dict[str, Any]:
    """The answers of a node with 8 MetaX GPUs, with what is changed of its vendor's answer."""
    answers = eight_metax()
    answers["accelerators"]["vendors"][0].update(changed)
    return answers


def test_gpus_of_another_vendor_become_records_with_their_place_and_link():
    gpus = read("gpus", **eight_metax())
    assert [gpu.index for gpu in gpus] == list(range(8))
    assert (gpus[5].vendor, gpus[5].name, gpus[5].numa_node, gpus[5].cpus) == ("metax", "MetaX C500", 1, "32-63")
    assert (gpus[5].pcie.generation, gpus[5].pcie.width, gpus[5].pcie.generation_max) == (5, 16, 5)


def test_no_field_of_theirs_is_left_without_a_reason():
    gpu = read("gpus", **eight_metax())[0]
    assert [name for name in gpu.__struct_fields__ if peek(gpu, name) == UNASKED] == []
    assert peek(gpu, "clocks") == UNSAID


def test_such_a_node_survives_being_written_and_read():
    found = node(**eight_metax())
    assert msgspec.json.decode(msgspec.json.encode(found), type=Node) == found


def test_links_that_only_the_tool_knows_replace_what_the_bus_shows():
    pairs = read("between", **eight_metax())
    assert Between(a="gpu:0", b="gpu:3", path="link") in pairs
    assert Between(a="gpu:0", b="mlx5_0", path="PIX") in pairs
    assert len({frozenset((pair.a, pair.b)) for pair in pairs}) == len(pairs)


def test_without_the_tools_word_the_bus_does_not_deny_its_links():
    failed = {"status": 1, "stdout": "", "stderr": "no such command"}
    found = read("between", **eight_metax(**{"topology": failed, "topology with NICs": failed}))
    assert found == Missing("mx-smi (topology) ended with status 1: no such command")


def test_a_missing_tool_leaves_its_gpus_missing_with_where_it_was_looked_for():
    found = read("gpus", **with_tool(tool=None, said={}))
    assert found == Missing("metax accelerator: no mx-smi in /opt/mxdriver/bin")


def test_a_closed_device_file_is_told_with_the_tools_failure():
    printed = {"table": {"status": 2, "stdout": "", "stderr": "open failed"}}
    found = read("gpus", **with_tool(said=printed, closed=["/dev/mxcd: permission denied (group video, gid 44)"]))
    assert found == Missing(
        "metax accelerator: mx-smi (table) ended with status 2: open failed; "
        "closed to this user: /dev/mxcd: permission denied (group video, gid 44)"
    )


def test_a_silent_answer_is_neither_absence_nor_health():
    answers = eight_metax()
    answers["accelerators"] = silent("accelerators", "no answer within 18 s")
    assert read("gpus", **answers) == Missing("no answer within 18 s")


def test_a_vendor_without_a_reader_is_asked_through_torch():
    torch = '{"version":"2.9.0","kind":"mlu","devices":[{"name":"MLU590","total":85899345920}]}'
    said = {"torch": {"status": 0, "stdout": torch, "stderr": ""}}
    (gpu,) = read("gpus", **with_tool(vendor="cambricon", tool=None, looked_for=[], said=said))
    assert (gpu.name, gpu.total_bytes) == ("MLU590", 85899345920)


def test_an_idle_node_may_be_loaded_and_one_with_a_process_may_not():
    assert busy.why_busy(node(**eight_metax())) == ""
    table = synthetic("metax/2.2.9-8.txt").replace(
        "|  no process found                                                               |",
        "|  3                    31003         python                       9000           |",
    )
    answers = eight_metax(table={"status": 0, "stdout": table, "stderr": ""})
    assert busy.why_busy(node(**answers)).startswith("busy: gpu:3 is in use (pid 31003)")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (("846/65536 MiB  ", "60846/65536 MiB"), "busy: 59.4 GiB of gpu:6 are in use"),
        (("0000:53:00.0        | 0% ", "0000:53:00.0        | 97%"), "busy: gpu:6 is at 97%"),
        (("0000:53:00.0        | 0% ", "0000:53:00.0        | NA%"), "whether gpu:6 is in use is not known"),
    ],
)
def test_memory_and_load_without_a_process_keep_a_node_from_being_loaded(said: tuple[str, str], why: str):
    table = synthetic("metax/2.2.9-8.txt")
    assert said[0] in table
    answers = eight_metax(table={"status": 0, "stdout": table.replace(*said), "stderr": ""})
    assert busy.why_busy(node(**answers)).startswith(why)


def test_what_an_idle_npu_keeps_for_itself_does_not_make_it_busy():
    text = synthetic("ascend/dual.txt")
    said = {"table": {"status": 0, "stdout": text, "stderr": ""}}
    (gpu, *_) = read("gpus", **with_tool(vendor="ascend", tool="npu-smi", said=said))
    idle = Node(name="a", address="a", reach=Reach(outcome="answered"), devices=(), processes=(), gpus=(gpu,))
    assert busy.why_busy(idle) == ""


@pytest.mark.parametrize(
    ("speed", "expected"),
    [("16.0 GT/s PCIe", 4), ("2.5 GT/s PCIe", 1), ("64.0 GT/s PCIe", 6), ("Unknown", None), ("", None)],
)
def test_the_speed_of_a_link_is_its_generation(speed: str, expected: int | None):
    answers = eight_metax()
    for link in answers["accelerators"]["vendors"][0]["devices"].values():
        link["current_link_speed"] = speed
    gpu: Gpu = read("gpus", **answers)[0]
    found = peek(gpu, "pcie")
    assert found.generation == expected if isinstance(found, Pcie) else expected is None


def in_slot(*above: tuple[str, str]) -> Any:
    """The link of a GPU of generation 5 with 16 lanes, below bridges with these speeds and lanes."""
    bridges = [{"max_link_speed": speed, "max_link_width": width} for speed, width in above]
    devices = eight_metax()["accelerators"]["vendors"][0]["devices"]
    return read("gpus", **with_tool(above=dict.fromkeys(devices, bridges)))[0].pcie


def test_a_card_in_an_older_slot_is_measured_by_the_slot():
    link = in_slot(("16.0 GT/s PCIe", "16"))
    assert (link.generation_max, link.device_generation_max, link.width_max) == (4, 5, 16)


def test_a_switch_with_a_narrow_way_up_counts_as_much_as_the_slot_itself():
    link = in_slot(("32.0 GT/s PCIe", "8"), ("16.0 GT/s PCIe", "16"), ("32.0 GT/s PCIe", "16"))
    assert (link.generation_max, link.width_max, link.device_width_max) == (4, 8, None)


def test_a_virtual_machine_that_shows_no_slot_leaves_nothing_to_expect():
    link = in_slot()
    assert (link.generation_max, link.width_max, link.generation) == (None, None, 5)


@pytest.mark.parametrize("above", [(("Unknown", "255"),), (("16.0 GT/s PCIe", "16"), ("", ""))])
def test_what_the_slot_can_is_not_guessed_from_the_card(above: tuple[tuple[str, str], ...]):
    link = in_slot(*above)
    assert isinstance(peek(link, "generation_max"), Missing)
    assert isinstance(peek(link, "width_max"), Missing)
    assert (link.generation, link.device_generation_max) == (5, 5)


def test_every_vendor_has_what_the_table_says_is_known_of_its_tool():
    assert {row.vendor for row in proven.READ} == {*vendors.VENDORS, "others"}
    tools = {tool.name for vendor in vendors.VENDORS.values() for tool in vendor.TOOLS}
    assert {row.tool for row in proven.READ} == tools | {"torch.accelerator"}


def test_closed_device_files_are_told_of_vendors_whose_tool_is_there():
    closed = ["/dev/kfd: permission denied (group render, gid 109; this user's: 1000)"]
    for tool, expected in (("mx-smi", tuple(closed)), (None, ())):
        answers = with_tool(tool=tool, closed=closed)["accelerators"]
        assert vendors.closed_files({"accelerators": Answer(name="accelerators", value=answers)}) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("97W", 97.0),
        ("39.00 C", 39.0),
        (826, 826.0),
        ("12 %", 12.0),
        ("-3C", -3.0),
        ("900MHz", 900.0),
        ("285 MB", 285.0),
    ],
)
def test_a_figure_may_carry_its_unit(said: object, expected: float):
    assert figure(said, "x") == expected


@pytest.mark.parametrize("said", ["NA", "-", "", "nan", float("nan"), None, True, "12 of 13", "W", "1,200"])
def test_what_is_no_figure_is_not_measured(said: object):
    with pytest.raises(NotMeasured, match=r"^x: "):
        figure(said, "x")


@pytest.mark.parametrize(
    ("said", "expected"),
    [("0000:9D:00.0", "0000:9d:00.0"), ("00000000:3B:00.0", "0000:3b:00.0"), ("3b:00.0", "0000:3b:00.0")],
)
def test_an_address_is_written_as_the_kernel_does(said: str, expected: str):
    assert pci_address(said) == expected


@pytest.mark.parametrize("said", ["", "NA", "a:b:c:d", "0000:??:00.0"])
def test_what_is_no_address_is_not_measured(said: str):
    with pytest.raises(NotMeasured, match="not understood"):
        pci_address(said)


@pytest.mark.parametrize(
    ("vendor", "tool", "command", "file"),
    [
        ("metax", "mx-smi", "table", "metax/2.2.9-8.txt"),
        ("metax", "mx-smi", "table", "metax/2.1.6-busy.txt"),
        ("metax", "mx-smi", "topology", "metax/topo-n-8.txt"),
        ("ascend", "npu-smi", "table", "ascend/910b.txt"),
        ("ascend", "npu-smi", "ecc 1", "ascend/ecc-1.txt"),
        ("amd", "amd-smi", "static", "amd/7.1-static.json"),
        ("amd", "amd-smi", "metric", "amd/7.1-metric.json"),
        ("amd", "rocm-smi", "memory", "amd/rocm-smi-memory.json"),
        ("hygon", "hy-smi", "power", "hygon/power-without-commas.json"),
    ],
)
def test_output_that_was_cut_anywhere_breaks_no_reader(vendor: str, tool: str, command: str, file: str):
    text = synthetic(file)
    first = next(iter(next(one for one in vendors.VENDORS[vendor].TOOLS if one.name == tool).commands))
    beside = {"metax": "metax/2.2.9-8.txt", "ascend": "ascend/910b.txt", "hygon": "hygon/memory.json",
              "amd": "amd/7.1-static.json"}  # fmt: skip
    for end in range(0, len(text), max(1, len(text) // 200)):
        node = found(vendor, tool, {first: synthetic(beside[vendor]), command: text[:end]})
        for read_it in (vendors.VENDORS[vendor].gpus, vendors.VENDORS[vendor].between):
            with contextlib.suppress(NotMeasured):
                assert read_it(node) is not None


@pytest.mark.parametrize(
    ("vendor", "tool", "files", "row"),
    [
        ("metax", "mx-smi", {"table": "metax/2.1.6-busy.txt"}, "MetaX MXC500"),
        ("metax", "mx-smi", {"table": "metax/2.2.9-8.txt"}, "MetaX MXC500"),
        ("amd", "amd-smi", {"static": "amd/7.1-static.json"}, "AMD Instinct MI300X"),
        ("ascend", "npu-smi", {"table": "ascend/910b.txt"}, "Ascend 910B3"),
        ("hygon", "hy-smi", {"memory": "hygon/memory.json", "place": "hygon/place.json"}, None),
    ],
)
def test_a_device_has_the_name_by_which_its_memory_and_links_are_known(
    vendor: str, tool: str, files: dict[str, str], row: str | None
):
    said = {command: synthetic(file) for command, file in files.items()}
    known = {hardware.row_of(gpu.name) for gpu in vendors.VENDORS[vendor].gpus(found(vendor, tool, said))}
    assert {one and one.name for one in known} == {row}
