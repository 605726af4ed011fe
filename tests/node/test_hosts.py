from __future__ import annotations

import os
import time

from tests.node.asking import ask


def test_the_own_name_is_the_kernels():
    assert ask("hosts:hostname")["name"] == os.uname().nodename


def test_names_resolve_or_are_known_not_to():
    found = ask("hosts:resolve", names=["localhost", "127.0.0.9", "no-such-name.invalid"], seconds=20)
    assert "127.0.0.1" in found["localhost"]
    assert found["127.0.0.9"] == ["127.0.0.9"]
    assert found["no-such-name.invalid"] in ([], None)  # None: this machine's name server does not answer


def test_a_resolver_that_does_not_answer_in_time_leaves_the_name_unknown():
    began = time.monotonic()
    found = ask("hosts:resolve", names=["slow.invalid"], seconds=0, env={"RES_OPTIONS": "timeout:30"})
    assert time.monotonic() - began < 10
    assert found["slow.invalid"] in (None, [])


def test_no_names_are_no_question():
    assert ask("hosts:resolve", names=[], seconds=5) == {}
