"""YAML files with a line of JSON for each job: both parsers read the same, and what is not ours is read as YAML."""

from typing import Any

import pytest

from dlrun.config.schema import entries, yamls
from dlrun.errors import ConfigError

HEAD: dict[str, Any] = {"format": 1, "base": {"a": 1e-3, "b": "1e-3", "c": [1, None], "d": {"e": "${x}"}}}
PLAIN: dict[str, Any] = {
    "a": 1e-08,
    "b": "1e-08",
    "c": [1, 2.5, "x, y: z"],
    "d": {"e": None, "f": "no"},
    "g": "é 2020-01-01",
}
ODD: list[Any] = [
    float("inf"),
    float("-inf"),
    "a\nb",
    "\x7f",
    "\u2028",
    "😀 \ue000",
    {0: "a", None: "b"},
    {"k" * 2000: 1},
]


@pytest.mark.parametrize("odd", [None, *ODD])
def test_both_parsers_read_what_was_written(odd: Any) -> None:
    jobs = {"0.1": PLAIN, "null": {"x": odd}, "b": {}}
    text = entries.dump_entries(HEAD, jobs)
    assert entries.load_entries(text, "s") == yamls.loads(text, "s") == {**HEAD, "jobs": jobs}
    assert list(entries.load_entries(text, "s")["jobs"]) == list(jobs)


def test_lines_of_json_need_no_yaml_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    text = entries.dump_entries(HEAD, {"a": PLAIN, "b": PLAIN})
    seen: list[str] = []
    monkeypatch.setattr(yamls, "loads", lambda text, name: seen.append(text) or HEAD)
    assert entries.load_entries(text, "s")["jobs"] == {"a": PLAIN, "b": PLAIN}
    assert "2020-01-01" not in seen[0]


def test_a_line_whose_appending_was_interrupted_is_dropped() -> None:
    text = entries.dump_entries(HEAD, {"a": PLAIN})
    more = entries.line_of("b", PLAIN)
    assert list(entries.load_entries(text + more, "s")["jobs"]) == ["a", "b"]
    for end in range(1, len(more)):
        assert list(entries.load_entries(text + more[:end], "s")["jobs"]) == ["a"]


@pytest.mark.parametrize(
    "line", ['  "a": {"x": 1}', '  "b": {"x": 1, "x": 2}', '  "b": [', "  b: *x", "  " + '{"a":' * 9999]
)
def test_a_file_that_is_not_as_it_was_written_is_checked_by_the_yaml_parser(line: str) -> None:
    text = entries.dump_entries(HEAD, {"a": {"x": 1}})
    with pytest.raises(ConfigError):
        entries.load_entries(f"{text}{line}\n", "s")
    assert entries.load_entries(f"{text}  b: {{x: 1}}\n", "s")["jobs"] == {"a": {"x": 1}, "b": {"x": 1}}


def test_jobs_in_block_style_are_read_as_before() -> None:
    values = {**HEAD, "jobs": {"a": PLAIN}}
    assert entries.load_entries(yamls.dumps(values), "s") == values
