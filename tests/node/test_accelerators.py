from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from diag.probes import vendors
from tests.node.asking import Refused, ask, interpreters, zipped
from tests.node.trees import H200, METAX, MI300X, VIRTIO_NET, pci_device, plant

HYGON = "pci:v00001D94d00006320sv00001D94sd00006320bc12sc00i00"
MTHREADS = "pci:v00001ED5d00000301sv00001ED5sd00000301bc12sc00i00"
TABLE = {name: msgspec.to_builtins(vendor.TOOLS) for name, vendor in vendors.VENDORS.items()}
Ask = Callable[..., Any]


@pytest.fixture
def tool(tmp_path: Path) -> Callable[[str, str], Path]:
    """Plant a program of the given name and shell script on the PATH that ``ask_tools`` gives."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def planted(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return planted


@pytest.fixture
def ask_tools(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Ask a node whose tree is given; only planted tools are found."""
    code = zipped(tmp_path_factory.mktemp("zip"))
    table = {name: [{**one, "places": []} for one in tools] for name, tools in TABLE.items()}

    def asked(tree: dict[str, str], seconds: float = 20, **more: Any) -> Any:
        root = plant(tmp_path / "root", tree)
        env = {"PATH": f"{tmp_path}/bin:{os.defpath}"}
        return ask("accelerators:tools", code=code, env=env, root=root, seconds=seconds, vendors=table, **more)

    return asked


def metax_node() -> dict[str, str]:
    link = {"current_link_speed": "16.0 GT/s PCIe\n", "current_link_width": "16\n"}
    return {**pci_device("0000:21:00.0", METAX, **link), "dev/mxcd": ""}


def test_without_an_accelerator_no_tool_is_started(ask_tools: Ask, tool, tmp_path: Path):
    tool("mx-smi", f"touch {tmp_path}/started")
    assert ask_tools({**pci_device("0000:00:01.0", VIRTIO_NET), "dev/null": ""}) == {"absent": True}
    assert not (tmp_path / "started").exists()


def test_nvidia_alone_is_read_elsewhere(ask_tools: Ask):
    assert ask_tools({**pci_device("0000:1b:00.0", H200), "dev/nvidia0": ""}) == {"absent": True}


def test_every_command_of_the_vendor_is_asked_and_answers_by_name(ask_tools: Ask, tool):
    tool("mx-smi", 'echo "asked: $*"; echo noise >&2')
    (found,) = ask_tools(metax_node())["vendors"]
    assert (found["vendor"], found["tool"]) == ("metax", "mx-smi")
    assert found["said"]["topology"] == {"status": 0, "stdout": "asked: topo -m\n", "stderr": "noise\n"}
    assert set(found["said"]) == set(TABLE["metax"][0]["commands"])


def test_its_link_is_read_from_sysfs(ask_tools: Ask, tool):
    tool("mx-smi", "true")
    (found,) = ask_tools(metax_node())["vendors"]
    assert found["devices"]["0000:21:00.0"] == {"current_link_speed": "16.0 GT/s PCIe", "current_link_width": "16"}


def test_what_its_slot_and_the_bridges_above_can_is_read_beside_it(ask_tools: Ask, tool):
    tool("mx-smi", "true")
    root, slot, bus = "0000:20:01.0", "0000:22:00.0", "sys/bus/pci/devices"
    tree = {
        f"{bus}/0000:23:00.0": f"-> ../../../devices/pci0000:20/{root}/{slot}/0000:23:00.0",
        f"sys/devices/pci0000:20/{root}/{slot}/0000:23:00.0/modalias": METAX,
        f"{bus}/{root}/max_link_speed": "16.0 GT/s PCIe\n",
        f"{bus}/{slot}/max_link_speed": "32.0 GT/s PCIe\n",
        f"{bus}/{slot}/max_link_width": "16\n",
        f"{bus}/{slot}/current_link_speed": "2.5 GT/s PCIe\n",
        "dev/mxcd": "",
    }
    (found,) = ask_tools(tree)["vendors"]
    nearest = {"max_link_speed": "32.0 GT/s PCIe", "max_link_width": "16"}
    assert found["above"] == {"0000:23:00.0": [{"max_link_speed": "16.0 GT/s PCIe"}, nearest]}


def test_a_tool_that_fails_is_told_with_its_words(ask_tools: Ask, tool):
    tool("mx-smi", "echo no driver >&2; exit 3")
    (found,) = ask_tools(metax_node())["vendors"]
    assert found["said"]["table"] == {"status": 3, "stdout": "", "stderr": "no driver\n"}
    assert "torch" not in found["said"]


def test_after_a_command_that_hangs_no_other_is_tried(ask_tools: Ask, tool, tmp_path: Path):
    tool("mx-smi", f'case "$1" in -L) sleep 600;; topo) touch {tmp_path}/tried;; *) echo table;; esac')
    began = time.monotonic()
    (found,) = ask_tools(metax_node(), seconds=1.5)["vendors"]
    assert time.monotonic() - began < 10
    assert found["said"]["table"]["stdout"] == "table\n"
    assert "was still running" in found["said"]["list"]["why"]
    assert found["said"]["topology"]["why"] == "not asked after `mx-smi -L` hung"
    assert not (tmp_path / "tried").exists()


def test_what_hung_is_ended(ask_tools: Ask, tool, tmp_path: Path):
    tool("mx-smi", f"echo $$ > {tmp_path}/pid; exec sleep 600")
    ask_tools(metax_node(), seconds=1)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


def test_the_older_tool_is_asked_where_the_newer_one_is_missing_or_fails(ask_tools: Ask, tool):
    tree = {**pci_device("0000:1d:00.0", MI300X), "dev/kfd": "", "dev/dri/renderD128": ""}
    tool("rocm-smi", "echo old")
    assert ask_tools(tree)["vendors"][0]["tool"] == "rocm-smi"


def test_a_newer_tool_that_fails_hands_on_to_the_older(ask_tools: Ask, tool):
    tool("amd-smi", "exit 1")
    tool("rocm-smi", "echo old")
    tree = {**pci_device("0000:1d:00.0", MI300X), "dev/kfd": "", "dev/dri/renderD128": ""}
    assert ask_tools(tree)["vendors"][0]["tool"] == "rocm-smi"


def test_a_missing_tool_is_told_with_where_it_was_looked_for(ask_tools: Ask, tmp_path: Path):
    (found,) = ask_tools(metax_node())["vendors"]
    assert (found["tool"], found["looked_for"]) == (None, ["mx-smi"])
    assert f"{tmp_path}/bin" in found["places"]


@pytest.mark.torch
def test_without_a_tool_torch_is_asked_in_a_process_of_its_own(ask_tools: Ask):
    pytest.importorskip("torch")
    (found,) = ask_tools({**pci_device("0000:41:00.0", MTHREADS)}, seconds=60, python=sys.executable)["vendors"]
    assert (found["vendor"], found["said"]["torch"]["status"]) == ("mthreads", 0)
    assert '"devices":[]' in found["said"]["torch"]["stdout"]


def test_torch_is_not_asked_beside_nvidia_of_which_it_would_speak(ask_tools: Ask):
    tree = {**pci_device("0000:1b:00.0", H200), **pci_device("0000:41:00.0", MTHREADS)}
    assert ask_tools(tree)["vendors"][0]["said"] == {}


def test_torch_is_not_asked_of_graphics_without_its_device_file(ask_tools: Ask):
    assert ask_tools(pci_device("0000:c5:00.0", MI300X))["vendors"][0]["said"] == {}


def test_a_container_without_the_bus_is_told_by_its_device_files_and_tools(ask_tools: Ask, tool):
    tool("hy-smi", "true")
    tree = {"sys/bus/pci/devices/": "", "dev/kfd": "", "dev/dri/renderD128": ""}
    assert ask_tools(tree)["vendors"][0]["vendor"] == "hygon"


def test_the_same_files_without_a_tool_are_taken_for_the_commoner_vendor(ask_tools: Ask):
    tree = {"sys/bus/pci/devices/": "", "dev/kfd": "", "dev/davinci0": "", "dev/davinci_manager": ""}
    assert [one["vendor"] for one in ask_tools(tree, seconds=0)["vendors"]] == ["amd", "ascend"]


def test_the_bus_decides_between_vendors_that_share_a_device_file(ask_tools: Ask, tool):
    tool("amd-smi", "true")
    tree = {**pci_device("0000:0a:00.0", HYGON), "dev/kfd": ""}
    assert [one["vendor"] for one in ask_tools(tree, seconds=0)["vendors"]] == ["hygon"]


def test_a_bus_that_cannot_be_read_proves_no_absence(ask_tools: Ask):
    with pytest.raises(Refused, match="FileNotFoundError"):
        ask_tools({"sys/": ""})


def test_a_command_for_each_id_is_asked_for_those_that_the_table_names(ask_tools: Ask, tool):
    row = "| {}     910B3               | {}            | 92.1        41                0    / 0             |"
    rows = "\\n".join(row.format(npu, health) for npu, health in ((0, "OK"), (10, "Not Ready")))
    tool("npu-smi", f'[ "$*" = info ] && printf "{rows}\\n" || echo "$*"')
    tree = {"sys/bus/pci/devices/": "", "dev/davinci0": ""}
    said = ask_tools(tree)["vendors"][0]["said"]
    assert said["ecc 0"]["stdout"] == "info -t ecc -i 0\n"
    assert said["ecc 10"]["stdout"] == "info -t ecc -i 10\n"
    assert "ecc {id}" not in said


def test_json_goes_out_without_blanks_and_serial_numbers_without_their_head(ask_tools: Ask, tool):
    tool("amd-smi", """echo '[ { "asic_serial": "0x6F1F0A2B3C4D5E6F",\n "gpu": 0 } ]'""")
    tree = {**pci_device("0000:1d:00.0", MI300X), "dev/kfd": ""}
    said = ask_tools(tree)["vendors"][0]["said"]
    assert said["static"]["stdout"] == '[{"asic_serial":"…5E6F","gpu":0}]'


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Serial Number                  : 1025A6785593", "Serial Number                  : …5593"),
        ('"PCI Bus": "0000:09:00.0 --> SN: 01-000206-07SCC2 --> OAM ID: 1"',
         '"PCI Bus": "0000:09:00.0 --> SN: …SCC2 --> OAM ID: 1"'),
        ('"Serial Number": "N/A"', '"Serial Number": "N/A"'),
    ],
)  # fmt: skip
def test_a_serial_number_is_masked_in_every_form(ask_tools: Ask, tool, text: str, masked: str):
    tool("mx-smi", f"echo '{text}'")
    assert ask_tools(metax_node())["vendors"][0]["said"]["table"]["stdout"].strip() == masked


def test_device_files_that_are_closed_are_named_with_their_group(tmp_path: Path):
    root = plant(tmp_path, {"dev/kfd": "", "dev/dri/renderD128": "", "dev/dri/card0": ""})
    (tmp_path / "dev/kfd").chmod(0)
    (closed,) = ask("accelerators:closed", unprivileged=True, vendor="amd", files=["/dev/kfd"], root=root)
    assert closed.startswith("/dev/kfd: permission denied (group ")


def test_open_device_files_are_no_finding(tmp_path: Path):
    root = plant(tmp_path, {"dev/mxcd": ""})
    assert ask("accelerators:closed", vendor="metax", files=["/dev/mxcd"], root=root) == []


@pytest.mark.parametrize("python", interpreters())
def test_it_runs_under_every_python(python: str, ask_tools: Ask, tool):
    tool("mx-smi", "echo table")
    assert ask_tools(metax_node(), python=python)["vendors"][0]["said"]["table"]["stdout"] == "table\n"
