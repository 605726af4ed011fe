"""Does CONTRIBUTING.md name the facts that are there, and does its example do what it says?"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from diag.facts.snapshot import load
from diag.judge import judge

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
RECORDED = ROOT / "tests" / "data" / "snapshots" / "healthy-gpu.json"


def test_files_of_facts_that_are_named_are_there():
    table = TEXT.partition("| file | what it knows |")[2].partition("\n\n")[0]
    named = re.findall(r"`(\w+\.py)`", table)
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / "diag" / "facts" / name).is_file()]


def test_the_check_that_can_be_copied_works_and_optional_does_not_soften_its_failure(tmp_path):
    example = "    import pytest\n" + TEXT.partition("    import pytest\n")[2].partition("\nAsk it")[0]
    code = textwrap.dedent(example).replace("CPUS_FLOOR = 8", "CPUS_FLOOR = 100_000")
    (tmp_path / "cpus.py").write_text(code)
    judged = judge(load(RECORDED), folders=(tmp_path,), keyword="cpus_enough")
    assert {verdict.outcome for verdict in judged.verdicts} == {"failed"}
    assert all(verdict.found and verdict.expected for verdict in judged.verdicts)
    assert judged.exit_status == 1
