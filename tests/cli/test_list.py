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
