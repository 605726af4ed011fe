"""Does ``diag list`` say of every check why it matters and what to do?"""

from __future__ import annotations


def test_every_check_is_explained(diag):
    done = diag("list")
    assert done.status == 0
    assert "limits.py\n" in done.out
    assert "  open_files_limit_is_high_enough  (node)\n    Each connection of an engine" in done.out
    assert done.out.count("$ ") >= 25


def test_a_keyword_selects(diag):
    done = diag("list", "-k", "memlock")
    assert done.out.count("  (") == 1
    assert diag("list", "-k", "nosuch").status == 2


def test_what_cannot_be_asked_is_named_and_the_rest_is_listed(diag, tmp_path):
    (tmp_path / "mine.py").write_text(
        "async def check_mine(node): pass\ndef check_other(node): pass\ndef test_x(): pass\n"
    )
    done = diag("list", "--checks", tmp_path)
    assert done.status == 2
    assert "  other  (node)" in done.out
    assert "is no plain function" in done.out
    assert "ignored      test_x in mine.py: a check is a function" in done.out


def test_a_file_is_told_from_a_folder(diag, tmp_path):
    (tmp_path / "mine.py").write_text("def check_mine(node): pass\n")
    done = diag("list", "--checks", tmp_path / "mine.py")
    assert (done.status, done.out) == (2, "")
    assert f"a file, not a folder; name its folder: --checks {tmp_path}" in done.err
