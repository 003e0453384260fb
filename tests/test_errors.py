"""What errors say, in one line."""

from __future__ import annotations

import pytest

from dlrun.errors import first_line, in_words


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
