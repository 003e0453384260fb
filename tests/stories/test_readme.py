"""The README is true: its commands are commands, its groups are the groups, its files are what a run leaves."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from dlrun.cli import main
from dlrun.command_line import CommandLine
from dlrun.commands import COMMANDS
from dlrun.config.expand import plan
from dlrun.config.schema.schema import builtin_conf

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_RUNS = ("resume", "runs")  # their overrides are not of a whole configuration
LATER = ("plugins=", "NAME", "FOLDER", "FILE", "...", "DIR")  # needs what only the reader has


def commands_of(page: Path) -> list[str]:
    """Every `dlrun ...` line of the code blocks, without comments."""
    found = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("    dlrun ") and not line.startswith("    dlrun  "):
            words = re.split(r"\s{2,}", line.strip())[0]  # what follows two spaces explains
            found.append(words.split(" #")[0])
    return [command for command in found if not any(word in command for word in LATER)]


EVERY = sorted({command for page in PAGES for command in commands_of(page)})


def test_there_are_commands_to_check() -> None:
    assert len(EVERY) > 10


@pytest.mark.parametrize("command", EVERY)
def test_every_command_of_the_documents_is_one(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command, flags, words and overrides are taken; what it does is tested elsewhere."""
    called: list[CommandLine] = []

    def call(words: CommandLine) -> int:
        called.append(words)
        return 0

    for name, known in COMMANDS.items():
        monkeypatch.setitem(COMMANDS, name, replace(known, call=call))
    given = shlex.split(command)[1:]
    assert main(given) == 0
    for words in called:
        if words.command not in OF_RUNS:
            plan(words.overrides, multirun="--multirun" in words.flags, search_cwd=False)
    assert called or given[0].startswith("--")


def test_the_table_of_groups_names_every_option() -> None:
    table = README[README.index("## The groups") :]
    for group in ("model", "dataset", "scheduler", "loss", "trainer", "logger"):
        for path in (builtin_conf() / group).glob("*.yaml"):
            assert re.search(rf"\b{path.stem}\b", table), f"{group}={path.stem} is not in the README"


def test_the_readme_is_short_and_every_page_it_names_is_there() -> None:
    assert len(README.splitlines()) < 150
    for link in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (ROOT / link).is_file(), link


@pytest.mark.figures
def test_the_tree_of_a_run_is_what_a_run_leaves(tmp_path: Path) -> None:
    import dlrun

    run = dlrun.train(["trainer=smoke", "device=cpu", f"run.dir={tmp_path / 'run'}"])
    tree = README[README.index("## A run directory") : README.index("## What it does")]
    for path in run.path.iterdir():
        name = path.name.replace("confusion.png", "confusion.csv/png")
        name = "mistakes.*" if path.stem == "mistakes" else name
        assert name.startswith(".") or name in tree, f"{path.name} is not in the README"
