"""Pages whose commands are run: what they print today is what stands on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.documents import alike, differences, steps_of

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["using-a-model.md", "own-data.md", "comparing.md", "leaving.md"])
def test_a_page_shows_what_its_commands_print(page: str, tmp_path: Path) -> None:
    found = differences(DOCS / page, tmp_path)
    assert not found, "\n\n".join(found)


def test_pages_are_compared_by_their_words_and_nearly_by_their_numbers() -> None:
    text = "Text\n\n    $ dlrun a\n    one 0.93\n    two\n\nMore\n\n    >>> 1 + 1\n    2\n    $ dlrun b\n"
    assert [(step.text, step.printed) for step in steps_of(text)] == [
        ("$ dlrun a", ["one 0.93", "two", ""]), (">>> 1 + 1", ["2"]), ("$ dlrun b", []),
    ]  # fmt: skip
    assert alike(["accuracy 0.93 in outputs/2026-01-01/10-00-00-a"], ["accuracy 0.91 in outputs/2027-02-02/11-11-11-a"])
    assert not alike(["accuracy 0.93"], ["accuracy 0.53"])
    assert not alike(["Japanese 94%"], ["Polish 94%"])
