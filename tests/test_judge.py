"""What does judge make of a whole Snapshot, and is its pytest sealed off from everybody else's?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import diag.judge
from diag.errors import DiagError
from diag.facts.causes import CAUSES
from diag.facts.record import Missing
from diag.facts.snapshot import load
from diag.facts.verdict import OUTCOMES, Selection, Verdicts
from diag.judge import abouts, builtin_folder, catalogue, judge
from tests.checks.changes import both, having, item, named, of_cluster, on
from tests.checks.healthy import SNAPSHOTS, cpu_cluster, gpu_cluster

LOST = on("gpu02", reach=having(outcome="node_unreachable", summary="connection refused"), agent=Missing("-"))
FAULTY = on("gpu02", limits=having(nofile_hard=1024))
UNKNOWN = on("gpu02", limits=Missing("needs root"))
SLOW_UNKNOWN = on("gpu02", read_speed=Missing("busy: vllm runs there"))
ADVISED = on("gpu02", reach=having(login_noise_bytes=63))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda cluster: cluster, 0),
        (ADVISED, 0),
        (SLOW_UNKNOWN, 0),
        (UNKNOWN, 3),
        (LOST, 3),
        (FAULTY, 1),
        (both(FAULTY, LOST), 3),
        (both(on("gpu03", limits=having(nofile_hard=1024)), LOST), 1),
        (both(FAULTY, UNKNOWN), 3),
    ],
)
def test_the_exit_status_is_the_first_that_applies(change, status):
    assert judge(change(gpu_cluster())).exit_status == status


@pytest.mark.parametrize(
    ("change", "fail_on", "status"),
    [
        (FAULTY, "missing", 1),
        (SLOW_UNKNOWN, "missing", 3),
        (lambda cluster: cluster, "missing", 0),
        (FAULTY, "never", 0),
        (LOST, "never", 0),
    ],
)
def test_what_fails_can_be_chosen(change, fail_on, status):
    assert judge(change(gpu_cluster()), fail_on=fail_on).exit_status == status


@pytest.mark.parametrize("fail_on", ["failed", "missing", "never"])
def test_nothing_judged_is_status_2_whatever_fails(fail_on):
    assert judge(gpu_cluster(), keyword="no_such_check", fail_on=fail_on).exit_status == 2
    assert judge(cpu_cluster(), keyword="gpu_memory_is_free", fail_on=fail_on).exit_status == 2


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        ("", ""),
        ("def test_mine(node): assert False", "test_mine in mine.py"),
        ("class Mine:\n    def check_mine(self, node): assert False", "class Mine in mine.py"),
    ],
)
def test_a_folder_without_a_check_is_a_mistake_that_is_named(tmp_path, text, ignored):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(DiagError, match="holds no check") as error:
        judge(gpu_cluster(1), folders=[tmp_path])
    assert ignored in str(error.value)


def test_what_is_ignored_beside_a_check_is_named(tmp_path):
    (tmp_path / "mine.py").write_text("def check_mine(node): pass\ndef test_mine(node): assert False\n")
    assert judge(gpu_cluster(1), folders=[tmp_path]).selection.ignored == ("test_mine in mine.py",)


def test_a_file_that_ends_the_process_is_broken(tmp_path):
    (tmp_path / "mine.py").write_text("import sys; sys.exit(0)\n")
    judged = judge(gpu_cluster(1), folders=[tmp_path])
    (broken,) = [verdict for verdict in judged.verdicts if verdict.outcome == "broken"]
    assert (broken.check, judged.exit_status) == ("mine", 3)
    assert "SystemExit" in (broken.summary or "")


def test_a_broken_check_is_an_unanswered_question(tmp_path):
    (tmp_path / "mine.py").write_text("def check_mine(node): 1 / 0\n")
    assert judge(gpu_cluster(), folders=[tmp_path]).exit_status == 3


def test_a_node_lost_after_its_facts_is_still_not_reached():
    cluster = on("gpu02", reach=having(outcome="agent_silent", summary="no answer within 20 s"))(gpu_cluster())
    assert judge(cluster).exit_status == 3


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"fail_on": "always"}, "--fail-on: 'always': expected failed, missing, never"),
        ({"keyword": "a b ("}, "-k: a b (: at column 3"),
        ({"folders": [Path("no/such/folder")]}, "no such folder"),
        ({"folders": [Path(__file__)]}, "a file, not a folder"),
    ],
)
def test_what_is_asked_wrongly_is_one_clear_line(options, what, capfd):
    with pytest.raises(DiagError) as error:
        judge(gpu_cluster(1), **options)
    assert what in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_a_keyword_selects_as_pytest_users_expect():
    assert {v.check for v in judge(gpu_cluster(), keyword="memlock or process_limit").verdicts} == {
        "memlock_is_unlimited_where_there_is_rdma",
        "process_limit_is_high_enough",
    }
    files = {check.file for check in catalogue(keyword="limits.py")}
    assert files == {"checks/limits.py"}
    assert not {check.id for check in catalogue(keyword="not gpus")} & {check.id for check in catalogue(keyword="gpus")}


def test_exitfirst_ends_after_the_first_check_that_fails():
    change = both(FAULTY, on("gpu02", system=having(kernel="6.8.0")))
    verdicts = judge(change(gpu_cluster()), exitfirst=True).verdicts
    assert {v.check for v in verdicts if v.outcome == "failed"} == {"open_files_limit_is_high_enough"}
    assert verdicts[-1].check == "open_files_limit_is_high_enough"
    assert verdicts[-1].node == "gpu04"


def test_exitfirst_does_not_end_at_advice_or_at_what_is_not_known():
    verdicts = judge(both(ADVISED, UNKNOWN)(gpu_cluster()), exitfirst=True).verdicts
    assert {v.check for v in verdicts} == {check.id for check in catalogue()}


def test_the_verdicts_survive_their_form_for_machines():
    judged = judge(both(FAULTY, LOST)(gpu_cluster()))
    text = msgspec.json.encode(judged)
    assert msgspec.json.decode(text, type=Verdicts) == judged
    assert {verdict.outcome for verdict in judged.verdicts} <= set(OUTCOMES)
    assert judged.schema == 1
    assert [stage.name for stage in judged.stages] == ["reach", "facts", "measure", "links", "collectives"]
    assert judged.checks.keys() == {verdict.check for verdict in judged.verdicts}
    assert all(culprit.cause in CAUSES for culprit in judged.culprits)


def test_judging_twice_says_the_same_twice():
    cluster = both(FAULTY, ADVISED)(gpu_cluster())
    assert judge(cluster) == judge(cluster)


def test_a_saved_snapshot_is_judged_as_the_one_in_memory():
    assert judge(load(SNAPSHOTS / "healthy-gpu.json")) == judge(gpu_cluster())


def test_nothing_of_the_surroundings_reaches_the_checks(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only --no-such-option")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (tmp_path / "conftest.py").write_text("raise RuntimeError\n")
    monkeypatch.chdir(tmp_path)
    assert judge(gpu_cluster()).exit_status == 0
    assert capfd.readouterr() == ("", "")
    assert os.environ["PYTEST_PLUGINS"] == "no_such_plugin"
    assert "PYTEST_CURRENT_TEST" in os.environ


def test_nothing_of_the_checks_stays(tmp_path):
    (tmp_path / "json.py").write_text("def check_mine(node): pass\n")
    modules, path, environment = set(sys.modules), list(sys.path), dict(os.environ)
    judge(gpu_cluster(), folders=[tmp_path])
    assert set(sys.modules) == modules
    assert sys.path == path
    assert dict(os.environ) == environment
    assert not list(tmp_path.glob(".pytest_cache"))


def test_what_a_check_prints_does_not_mix_with_what_machines_read(tmp_path, capfd):
    (tmp_path / "mine.py").write_text("def check_mine(node): print('hello')\n")
    judge(gpu_cluster(), folders=[tmp_path])
    assert capfd.readouterr().out == ""


def test_a_changed_check_file_is_read_again(tmp_path):
    for expected in ("passed", "failed"):
        (tmp_path / "mine.py").write_text(f"def check_mine(cluster): assert {expected == 'passed'}\n")
        os.utime(tmp_path / "mine.py", (0, len(expected + expected) if expected == "passed" else 99))
        (verdict,) = judge(gpu_cluster(), folders=[tmp_path], keyword="mine").verdicts
        assert verdict.outcome == expected


def test_folders_of_the_same_name_do_not_mix(tmp_path):
    for parent, expected in (("one", "passed"), ("two", "failed")):
        folder = tmp_path / parent / "checks"
        folder.mkdir(parents=True)
        (folder / "gpus.py").write_text(f"def check_mine_{parent}(cluster): assert {expected == 'passed'}\n")
    folders = [tmp_path / "one" / "checks", tmp_path / "two" / "checks"]
    found = {v.check: v.outcome for v in judge(gpu_cluster(), folders=folders).verdicts}
    assert (found["mine_one"], found["mine_two"]) == ("passed", "failed")
    assert found["gpu_memory_is_free"] == "passed"


def test_an_interrupt_is_not_swallowed(tmp_path):
    (tmp_path / "mine.py").write_text("def check_mine(node): raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        judge(gpu_cluster(), folders=[tmp_path])


def test_abouts_are_those_of_the_catalogue():
    assert abouts() == {check.id: check.about for check in catalogue()}


def test_the_checks_of_the_source_tree_go_first():
    assert builtin_folder() == Path(diag.judge.__file__).parent.parent / "checks"


def test_an_installed_diag_finds_the_checks_that_were_installed_with_it(tmp_path):
    """As the wheel lays it out: no pyproject.toml beside the package, a foreign ``checks`` next to it."""
    root = Path(diag.judge.__file__).parent.parent
    (tmp_path / "site").mkdir()
    subprocess.run(["cp", "-r", str(root / "diag"), str(tmp_path / "site" / "diag")], check=True)
    subprocess.run(["cp", "-r", str(root / "checks"), str(tmp_path / "site" / "diag" / "checks")], check=True)
    (tmp_path / "site" / "checks").mkdir()
    (tmp_path / "site" / "checks" / "foreign.py").write_text("def check_foreign(node): assert False\n")
    code = (
        "import sys; from pathlib import Path; from diag.facts.snapshot import load; from diag.judge import judge\n"
        "judged = judge(load(Path(sys.argv[1]))); print(judged.exit_status, len(judged.checks))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(SNAPSHOTS / "healthy-gpu.json")],
        check=True, capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.stdout.split() == ["0", str(len(catalogue()))]


def test_a_culprit_is_named_with_its_evidence():
    cluster = on("gpu02", interfaces=item(named("bond0"), having(mtu_bytes=1500)))(gpu_cluster())
    (culprit,) = judge(cluster).culprits
    assert (culprit.kind, culprit.nodes, culprit.cause) == ("setting", ("gpu02",), "mtu_mismatch")
    assert culprit.evidence == ("data_mtu_is_the_same_on_all_nodes@gpu02",)


PASSIVE = both(
    of_cluster(level="passive", collective=Missing("level passive starts no collective")),
    on("*", read_speed=Missing("level passive reads no files at speed"), speed=Missing("level passive makes no load")),
)


def test_what_level_passive_was_not_to_look_at_is_not_measured_and_not_held_against_the_cluster():
    judged = judge(PASSIVE(gpu_cluster()))
    of = {verdict.check: verdict for verdict in judged.verdicts}
    assert judged.exit_status == 0
    for check in ("collective_finishes", "gpu_is_as_fast_as_its_peers", "path_passes_full_packets"):
        assert (of[check].outcome, of[check].asked) == ("not_measured", False), check
    assert judge(PASSIVE(gpu_cluster()), fail_on="missing").exit_status == 3


def test_what_is_not_there_is_not_applicable_whether_it_was_asked_for_or_not():
    of = {verdict.check: verdict for verdict in judge(PASSIVE(cpu_cluster())).verdicts}
    assert {of[check].outcome for check in ("gpu_is_as_fast_as_its_peers", "rails_carry_data")} == {"skipped"}


def test_pairs_that_nobody_wanted_are_not_measured():
    judged = judge(of_cluster(links=Missing("--pairs none"))(gpu_cluster()))
    unasked = {verdict.check for verdict in judged.verdicts if not verdict.asked}
    assert judged.exit_status == 0
    assert {"path_passes_full_packets", "rails_carry_data"} <= unasked


def test_where_nothing_was_asked_for_nothing_was_judged():
    assert judge(PASSIVE(gpu_cluster()), keyword="collective_finishes").exit_status == 2


def test_a_snapshot_without_any_node_is_nothing_judged():
    assert judge(of_cluster(nodes=())(gpu_cluster())).exit_status == 2


def test_the_verdicts_say_of_which_run_and_which_checks_they_are():
    cluster = gpu_cluster(2)
    judged = judge(cluster, keyword="busbw", fail_on="missing", exitfirst=True)
    assert (judged.run_id, judged.taken_at, judged.level) == (cluster.run_id, cluster.taken_at, cluster.level)
    assert (judged.hosts, judged.fail_on, judged.interrupted) == (("gpu01", "gpu02"), "missing", False)
    assert judged.selection == Selection(keyword="busbw", exitfirst=True, asked=1, known=len(catalogue()))
