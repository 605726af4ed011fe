"""Which nodes and GPUs does a text name, and what is said of one that names none?"""

from __future__ import annotations

import pytest

from diag.errors import DiagError
from diag.inventory.gpusets import Part, folded, parts


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("gpu03:5", (Part("gpu03", 5),)),
        ("gpu03", (Part("gpu03"),)),
        ("gpu[03-04]:[0-1]", (Part("gpu03", 0), Part("gpu03", 1), Part("gpu04", 0), Part("gpu04", 1))),
        ("gpu07, gpu03:11,gpu07", (Part("gpu07"), Part("gpu03", 11))),
        ("fe80::1:5", (Part("fe80::1:5"),)),
    ],
)
def test_a_gpu_stands_behind_its_node(text, named):
    assert parts(text, "--exclude") == named


@pytest.mark.parametrize("text", ["", " ", "gpu03:", "gpu03:x", "gpu[03:5", ":5", "gpu03:5,,gpu04"])
def test_what_names_nothing_is_refused_in_one_line(text):
    with pytest.raises(DiagError, match=r"^--exclude: [^\n]*expected"):
        parts(text, "--exclude")


def test_parts_are_written_as_they_can_be_typed():
    text = "gpu[01-02],gpu[03-04]:5,gpu07:[0-2]"
    assert folded(parts(text, "")) == text
