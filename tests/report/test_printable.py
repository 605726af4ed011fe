"""Is a terminal sent letters only, whatever a node says?"""

from __future__ import annotations

from diag.report.printable import printable


def test_control_characters_of_every_kind_are_shown_not_sent():
    assert printable("a\x9b2J\x85b\x7f\u2028c\ufeff\u00a0d") == "a\\x9b2J\\x85b\\x7f\\u2028c\\ufeff d"


def test_letters_of_every_language_stay_and_what_breaks_a_line_is_a_blank():
    assert printable("Zürich\t日本…\n") == "Zürich 日本… "
