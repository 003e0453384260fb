"""Keys that were renamed: the former spelling is taken wherever words and files are read, and nothing becomes stale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import dlrun
from dlrun import cli
from dlrun.components.registry import DATASETS
from dlrun.config import compose as composing
from dlrun.config.config import Config, current_schema
from dlrun.config.expand import expand
from dlrun.config.schema.schema import all_keys, text_schema
from dlrun.config.schema.words import respelled, respelled_word
from dlrun.report.compare import compare
from dlrun.store.reader import StoredRun
from tests.helpers.contracts import without_contract
from tests.helpers.sweep_fakes import FakeSweep, read_sweep

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
PAIRS = {
    "dataset.standardise": ("dataset.standardize", "dataset=iris"),
    "dataset.standardise_target": ("dataset.standardize_target", "dataset=diabetes"),
    "dataset.colour": ("dataset.color", "dataset=image_folder"),
}
VALUES = {"dataset.colour": "grey"}
IRIS = ["device=cpu", "device.threads=1", "dataset=iris", "model.hidden=[8]"]
PLUGIN = """
import dlrun

@dlrun.register.dataset("shades")
def shades(*, seed, root, colour: int = 3): ...
"""


@pytest.fixture(autouse=True)
def anew() -> None:
    """The notes are given once in a process."""
    composing.say_spelling.cache_clear()


@pytest.mark.parametrize(("old", "new", "group"), [(old, *pair) for old, pair in PAIRS.items()])
def test_both_spellings_are_taken_and_the_former_is_noted_once(
    old: str, new: str, group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    value = VALUES.get(old, "false")
    config = dlrun.compose([group, f"{new}={value}"])
    assert capsys.readouterr().err == ""
    assert dlrun.compose([group, f"+{old}={value}"]) == dlrun.compose([group, f"{old}={value}"]) == config
    assert capsys.readouterr().err == f"note: {old} is spelled {new} now\n"
    assert old not in all_keys(current_schema())
    assert new in all_keys(current_schema())
    assert cli.main(["explain", old, group]) == 0
    assert capsys.readouterr().out.startswith(f"{new}: ")


def test_the_last_word_counts_whatever_its_spelling() -> None:
    words = ["dataset=iris", "dataset.standardise=false", "dataset.standardize=true"]
    assert dlrun.compose(words).dataset.standardize
    assert not dlrun.compose([words[0], *reversed(words[1:])]).dataset.standardize


def test_a_sweep_over_a_former_key_is_one_over_todays() -> None:
    old, new = (expand(["dataset=iris", f"dataset.{key}=true,false"]) for key in ("standardise", "standardize"))
    assert old.jobs == new.jobs
    assert old.swept == new.swept == {"dataset.standardize": [True, False]}


def test_files_of_the_user_may_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "dlrun.yaml": "dataset: iris\n",
        "dataset/plain.yaml": "defaults: [iris, _self_]\nstandardise: false\n",
        "dataset/wine.yaml": "name: wine\nstandardise: false   # my copy (bool)\ntest_fraction: 0.3\n",
        "experiment/old.yaml": "defaults: [{override /dataset: iris}]\ndataset: {standardise: false}\n",
        "experiment/swept.yaml": "defaults: [{override /dataset: iris}]\n"
                                 "sweep: {params: {dataset.standardise: [true, false]}}\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    for words in (["dataset=plain"], ["dataset=wine"], ["experiment=old"]):
        assert not dlrun.compose(words).dataset.standardize, words
        assert dlrun.compose([*words, "dataset.standardize=true"]).dataset.standardize, words
    wine = current_schema().section("dataset", "wine")
    assert wine is not None
    assert list(wine.keys) == ["name", "standardize", "test_fraction", "val_fraction", "split_seed"]
    assert (wine.keys["standardize"].default, wine.keys["test_fraction"].default) == ("false", "0.3")
    assert without_contract(current_schema()) == []
    assert expand(["experiment=swept"]).swept == {"dataset.standardize": [True, False]}
    (tmp_path / "conf" / "dlrun.yaml").write_text("dataset: {standardise: false}\ndefaults: [{dataset: iris}]\n")
    assert not dlrun.compose().dataset.standardize


def test_a_key_of_a_plug_in_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DATASETS, "plugins", dict(DATASETS.plugins))
    (tmp_path / "shades.py").write_text(PLUGIN)
    words = [f"plugins=[{tmp_path / 'shades.py'}]", "dataset=shades", "dataset.colour=5"]
    config = dlrun.compose(words)
    assert config.dataset.colour == 5
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert Config.from_yaml(tmp_path / "config.yaml") == config
    pictures = dlrun.compose(["dataset=image_folder", "dataset.color=grey"])
    (tmp_path / "config.yaml").write_text(pictures.to_yaml().replace("color:", "colour:"))
    assert Config.from_yaml(tmp_path / "config.yaml") == pictures


def test_values_and_words_are_respelled_by_the_component_that_they_name() -> None:
    schema = text_schema()
    values = {"dataset": {"name": "iris", "standardise": False, "colour": 1}, "model": {"opts": {"a.b": {"colour": 2}}}}
    assert respelled(values, schema) == {
        "dataset": {"name": "iris", "standardize": False, "colour": 1},
        "model": {"opts": {"a.b": {"colour": 2}}},
    }
    assert respelled({"dataset": {"colour": 1}}, schema) == {"dataset": {"color": 1}}
    unknown = {"dataset": {"name": "of_a_plug_in"}}
    assert respelled_word("+dataset.colour=colour", schema) == "+dataset.color=colour"
    assert respelled_word("dataset.colour=3", schema, unknown) == "dataset.colour=3"
    for word in ("~scheduler", "=x", "seed=1", "dataset=colour", "model.hidden=[1]"):
        assert respelled_word(word, schema) == word


# --- old runs and sweeps ----------------------------------------------------------------------------------------------


def test_the_configuration_of_an_old_run_is_that_of_today() -> None:
    for name, words in (
        ("diabetes", ["dataset=diabetes", "dataset.standardize_target=false", "optimizer.lr=0.1"]),
        ("pictures", ["dataset=image_folder", "dataset.path=pictures", "dataset.size=8", "dataset.color=grey"]),
    ):
        path = FIXTURES / "runs" / name
        old = Config.from_yaml(path / "config.yaml")
        more = {"diabetes": ["model.hidden=[8]", "trainer.epochs=3"],
                "pictures": ["model.hidden=[4]", "trainer.epochs=2", "trainer.batch_size=8"]}[name]  # fmt: skip
        assert old.identity == dlrun.compose([*words, *more]).identity
        stored = StoredRun(path)
        assert words[-2 if name == "diabetes" else -1].partition("=")[0] in (stored.overridden or ())
        assert {"dataset.standardize_target", "dataset.color"} & stored.flat.keys()
        assert not any("standardise" in key or "colour" in key for key in stored.flat)
        assert "standardise" not in stored.command


def test_runs_and_comparisons_know_a_former_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FIXTURES / "runs" / "diabetes", "outputs/old")
    shutil.copytree(FIXTURES / "runs" / "diabetes", "outputs/new")
    for file in ("config.yaml", "overrides.txt"):
        path = Path("outputs/new", file)
        path.write_text(path.read_text().replace("standardise", "standardize"))
    assert compare(["outputs/old", "outputs/new"]).keys == []
    for key in ("standardise_target", "standardize_target"):
        assert cli.main(["runs", f"dataset.{key}=false", "--sort", f"-dataset.{key}"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[1:]] == ["new", "old"] or len(lines) == 3
        assert "dataset.standardize_target" in lines[0]


def test_an_old_sweep_trains_nothing_again_in_either_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = FakeSweep(monkeypatch)
    place = "standardisetrue-iris-threads1-cpu-hidden_8-sgd-epochs-6add94"  # that dlrun 0.1 gave these words
    shutil.copytree(FIXTURES / "runs/sweeps/grid", f"outputs/sweeps/{place}")
    words = [*IRIS, "optimizer=sgd", "optimizer.lr=0.1,0.01,1e30", "trainer.epochs=2", "sweep.retry_failed=false"]
    for key in ("standardise", "standardize"):
        for more in ([f"sweep.name={place}"], [], ["trainer.print_every=1"]):
            sweep([*words, f"dataset.{key}=true", *more], quiet=False)
            printed = capsys.readouterr().out
            assert "3 jobs, 0 to run" in printed
            assert "changed since: configuration" not in printed
    assert sweep.executors == []
    (job, *_) = read_sweep(sweep.folder.path).jobs.values()
    assert "dataset.standardize=true" in job.fixed
    assert job.config.dataset.standardize


def test_a_search_over_a_former_key_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = FakeSweep(monkeypatch)
    words = ["dataset=iris", "dataset.standardize=true,false", "sweep.search=random", "sweep.trials=2", "sweep.name=s"]
    assert sweep(words) == 0
    path = sweep.folder.file
    path.write_text(path.read_text().replace("dataset.standardize", "dataset.standardise"))
    assert sweep(words) == 0
    assert sweep([word.replace("standardize", "standardise") for word in words]) == 0
    assert len(sweep.executors) == 1
    assert json.dumps(sweep.folder.search).count("standardize") == 1


def test_resume_takes_a_former_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["dataset=iris", "trainer.epochs=1", "device=cpu", "run.dir=a", "model.hidden=[4]"]
    dlrun.train(words)
    path = tmp_path / "a" / "config.yaml"
    path.write_text(path.read_text().replace("standardize", "standardise"))
    assert cli.main(["resume", "a", "trainer.epochs=2"]) == 0
    assert "standardize: true" in path.read_text()
    assert cli.main(["resume", "a", "dataset.standardise=false", "trainer.epochs=3"]) == 2
    assert "dataset.standardize: true in the run, false now" in capsys.readouterr().err
    assert cli.main(["resume", "a", "trainer.epochs=3", "--force", "dataset.standardise=false"]) == 0
