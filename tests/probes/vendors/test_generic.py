from __future__ import annotations

import json

import pytest

from diag.facts.record import Missing, NotMeasured, peek
from diag.probes.vendors import generic
from diag.probes.vendors.vendor import Printed
from tests.probes.vendors.printed import found


def seen(*devices: dict[str, object], kind: str | None = "npu") -> str:
    return json.dumps({"version": "2.7.1", "kind": kind, "devices": devices})


def test_torch_names_devices_and_their_size_but_not_what_is_free():
    (gpu,) = generic.gpus(found("cambricon", None, {"torch": seen({"name": "MLU590", "total": 1 << 36})}))
    assert (gpu.index, gpu.name, gpu.vendor, gpu.total_bytes) == (0, "MLU590", "cambricon", 1 << 36)
    for field in ("used_bytes", "free_bytes", "processes", "utilisation"):
        assert peek(gpu, field) == Missing(
            "no tool for cambricon is read; torch tells it only with a context on the device"
        )


def test_a_missing_tool_is_named_with_where_it_was_looked_for():
    node = found("metax", None, {"torch": seen(kind=None)}, looked_for=("mx-smi",), places=("/bin", "/opt/x", "/bin"))
    with pytest.raises(NotMeasured, match=r"^no mx-smi in /bin:/opt/x; torch 2.7.1 sees no accelerator$"):
        generic.gpus(node)


def test_two_tools_that_are_missing_are_both_named():
    node = found("amd", None, looked_for=("amd-smi", "rocm-smi"), places=("/bin",))
    with pytest.raises(NotMeasured, match=r"^no amd-smi and no rocm-smi in /bin$"):
        generic.gpus(node)


def test_without_torch_its_words_are_told():
    said = {"torch": Printed(status=1, stderr="torch cannot be imported: ImportError: No module named 'torch'\n")}
    with pytest.raises(NotMeasured, match="No module named 'torch'"):
        generic.gpus(found("metax", None, said, looked_for=("mx-smi",), places=("/bin",)))


@pytest.mark.parametrize("text", ["", "x", "[]", '{"devices": 7}'])
def test_what_torch_never_printed_is_quoted(text: str):
    with pytest.raises(NotMeasured, match="printed what is not understood"):
        generic.gpus(found("intel", None, {"torch": text}))
