"""Every question of the facts' frame, asked under every interpreter found, from the zip that travels."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from diag import probes
from diag.facts.record import Missing, is_known
from diag.probes.verbs import Answer
from tests.node.asking import interpreters, zipped
from tests.node.models import write_model

ASKED = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import verbs
for request in json.loads(sys.stdin.read()):
    try:
        value = verbs.answer(request["verb"], time.monotonic() + 20, "test")
        print(json.dumps({"name": request["name"], "value": value}))
    except OSError as error:
        print(json.dumps({"name": request["name"], "why": str(error)}))
"""


@pytest.mark.parametrize("python", interpreters())
def test_every_topic_is_answered_and_read(python: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory):
    model = write_model(tmp_path / "Qwen3")
    requests = [
        *probes.requests_for(model_path=str(model), names=("localhost",)),
        probes.read_speed_request("/dev/null", limit_bytes=0, seconds=0),
    ]
    done = subprocess.run(
        [python, "-B", "-W", "error", "-c", ASKED, zipped(tmp_path_factory.mktemp("zip"))],
        input=msgspec.json.encode(requests[:-1]).decode(), env={"PATH": os.defpath}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = [msgspec.convert(json.loads(line), Answer) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests) - 1
    topics = probes.facts_from(answers)
    unknown = {topic: found.why for topic, found in topics.items() if isinstance(found, Missing)}
    assert unknown == {}
    assert is_known(topics["model"], "digest")
