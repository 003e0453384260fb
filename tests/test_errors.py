"""What errors say, in one line."""

from __future__ import annotations

import pytest

from dlrun.errors import did_you_mean, first_line, in_words


@pytest.mark.parametrize(
    ("error", "line", "words"),
    [
        (ValueError("boom\nand more"), "boom", "ValueError: boom"),
        (RuntimeError("\n  late\n"), "late", "RuntimeError: late"),
        (MemoryError(), "", "MemoryError"),
    ],
)
def test_an_error_is_told_by_its_first_line(error: Exception, line: str, words: str) -> None:
    assert first_line(error) == line
    assert in_words(error) == words


def test_letters_in_another_order_are_the_nearest_word() -> None:
    assert did_you_mean("adma", ["adam", "adamax", "adamw"]) == "Did you mean adam?"
    assert did_you_mean("adax", ["adam", "adamax", "sgd"]) == "Did you mean adamax?"
    assert did_you_mean("zzz", ["adam"]) == ""
