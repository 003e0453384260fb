"""A run that somebody else made is plain values: nothing is resolved in it, and what it says is shown as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import dlrun
from dlrun import cli
from dlrun.config.config import Config
from dlrun.run import initial
from tests.helpers.folders import contents
from tests.helpers.quick_runs import QUICK, begin, interrupt, status

pytestmark = pytest.mark.usefixtures("quick")
NAMES = [*QUICK, "model=gru", "dataset=names"]
SECRET = "correct horse battery staple"


def change_config(**changes: Any) -> None:
    """Set keys of a/config.yaml by hand."""
    path = Path("a/config.yaml")
    values = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        section, _, name = key.partition("__")
        values[section][name] = value
    path.write_text(yaml.safe_dump(values))


@pytest.mark.parametrize("words", [[], ["trainer.epochs=3"], ["logger=jsonl", "device.threads=1"]])
def test_no_variable_of_the_environment_gets_into_a_foreign_run(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    begin(on_epoch=interrupt())
    change_config(run__name="${oc.env:SECRET}")
    with open("a/overrides.txt", "a") as file:
        file.write("run.name=${oc.env:SECRET}\n")
    assert cli.main(["resume", "a", *words]) == 0
    assert status()["state"] == "finished"
    assert not any(SECRET.encode() in text for text in contents("a").values())
    assert SECRET not in capsys.readouterr().out
    assert dlrun.load_run("a").config.run.name == "${oc.env:SECRET}"


def test_the_run_that_a_foreign_one_starts_from_takes_values_and_not_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    config = dlrun.compose([*NAMES, "seed=7", "dataset.root=data"])
    words = ["seed=${oc.env:SECRET}", "dataset.root=${oc.env:SECRET}", "device=${oc.env:SECRET}", "trainer=smoke"]
    shared = initial.shared_words(words, config, config)
    assert shared == ["seed=7", "dataset.root=data", "trainer=smoke"]


def test_a_value_that_looks_resolvable_is_handed_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    values = dlrun.compose(NAMES).to_dict()
    values["dataset"]["root"] = "${oc.env:SECRET}/x"
    config = Config.checked(values)
    shared = initial.shared_words(["dataset.root=x"], config, config)
    assert dlrun.compose([*NAMES, *shared]).dataset.root == "${oc.env:SECRET}/x"
