"""Text of data is shown as what it is."""

import pytest

from bequest.study.visible import LONGEST, one_line, visible, visible_values


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("\u202e83 %", "\\u202e83 %"),
        ("\u2066a\u2069\u200f", "\\u2066a\\u2069\\u200f"),
        ("a\ud800b\0", "a\\ud800b\\x00"),
        ("\x85\x9b31m", "\\x85\\x9b31m"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("שלום é 漢 👨‍👩‍👧 <b> \\x1b", "שלום é 漢 👨‍👩‍👧 <b> \\x1b"),
    ],
)
def test_what_harms_is_shown_as_its_number_and_nothing_else_is_changed(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown
    visible(text).encode()


def test_one_line_is_one_line_and_has_an_end():
    assert one_line("  a\n\tb\r\n c\u2028d ") == "a b c\\u2028d"
    assert one_line(ValueError("x\ny")) == "x y"
    long = one_line("a" * 4_000 + "; the way out")
    assert len(long) == LONGEST and long.endswith("; the way out") and " … " in long
    assert one_line("a" * LONGEST) == "a" * LONGEST


def test_all_texts_of_a_value_are_shown():
    assert visible_values({"a\0": ["\x1b", (1, 2.5, None, True)]}) == {"a\\x00": ["\\x1b", [1, 2.5, None, True]]}
