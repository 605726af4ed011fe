"""Does ``diag plan`` end with the status of its verdict, and print what it is asked for?"""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import RECORDED

MODEL = "Qwen/Qwen3-0.6B"


def test_what_fits_ends_with_0_and_shows_its_command(diag):
    done = diag("plan", RECORDED)
    assert done.status == 0, done.out + done.err
    assert "vllm serve /models/Qwen3-32B" in done.out


def test_json_is_plan_json(diag):
    document = json.loads(diag("plan", RECORDED, "--json").out)
    assert list(document)[:4] == ["schema", "verdict", "reason", "lever"]
    assert document["recipe"]["argv"][:2] == ["vllm", "serve"]


def test_explain_shows_sources(diag):
    assert "\nsources\n" in diag("plan", RECORDED, "--explain").out


def test_hardware_that_is_not_here_can_be_planned_for(diag):
    assert diag("plan", "--hardware", "8xH100-80GB", "--model", MODEL).status == 0
    done = diag("plan", "--hardware", "1xNEW", "--gpu-memory", "1GiB", "--model", MODEL)
    assert done.status == 1
    assert done.out.splitlines()[1].startswith("NO  ")


def test_the_engine_may_be_pinned(diag):
    assert json.loads(diag("plan", RECORDED, "--json", "--engine", "vllm==0.33.0").out)["engine"] == {
        "name": "vllm",
        "version": "0.33.0",
    }
    assert diag("plan", RECORDED, "--engine", "vllm==0.1").status == 3


@pytest.mark.parametrize("version", ["0.33.0", "0.11.0rc1", "0.10.2.dev1+gabc123.cu129", "0.9.0.post1", "1.0"])
def test_every_version_that_a_package_may_have_is_one(diag, version):
    done = diag("plan", RECORDED, "--json", "--engine", f"vllm=={version}")
    assert json.loads(done.out)["engine"]["version"] == version


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--hardware", "many"], "diag: --hardware: 'many': expected e.g. 8xH100-80GB"),
        (["--gpu-memory", "80GiB"], "diag: --gpu-memory: says what a GPU of --hardware has; name --hardware too"),
        ([RECORDED, "--hardware", "8xH100"], "diag: --hardware: and a Snapshot ("),
        ([RECORDED, "--engine", "nosuch"], "diag: --engine: 'nosuch' is not known; known: vllm"),
        ([RECORDED, "--engine", "vllm=="], "diag: --engine: 'vllm==': no version after ==; expected e.g. vllm==0.33.0"),
        (
            [RECORDED, "--engine", "vllm==abc"],
            "diag: --engine: 'vllm==abc': 'abc' is no version; expected e.g. vllm==0.33.0",
        ),
        ([RECORDED, "--engine", "vllm==0.33.0 "], "diag: --engine: 'vllm==0.33.0 ': '0.33.0 ' is no version"),
        ([RECORDED, "--model", "/nosuch"], "diag: /nosuch: no model: "),
        ([], "diag: no run yet; "),
    ],
)
def test_what_was_asked_wrongly_is_one_line(diag, arguments, line):
    done = diag("plan", *arguments)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1
