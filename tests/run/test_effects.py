"""What a key changes decides what may change on resume, and which words are shared or repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

import dlrun
from dlrun import cli
from dlrun.errors import RunError
from dlrun.run.initial import of_identity, shared_words
from dlrun.run.resume import Asked, refuse_changes
from dlrun.store.files import write_json
from dlrun.store.reader import StoredRun
from dlrun.store.reading import read_json
from dlrun.store.rundir import RunDir

MNIST = ["dataset=mnist", "model=cnn", "dataset.val_fraction=0.1"]


@pytest.mark.parametrize(
    "word",
    ["device=cpu", "device.threads=2", "device.precision=bf16", "device.compile=true", "dataset.workers=2",
     "dataset.root=/elsewhere", "dataset.in_memory=false", "trainer.print_every=1", "trainer.log_every=3",
     "trainer.detect_anomaly=true", "trainer.profile=true", "logger=jsonl", "checkpoint.keep=3",
     "checkpoint.monitor=val_accuracy", "checkpoint.mode=max", "run.name=x", "resume=auto", "sweep.slurm={a: 1}",
     "trainer.epochs=30", "trainer.early_stop.patience=null"],
)  # fmt: skip
def test_may_change_in_the_middle_of_a_run(word: str) -> None:
    refuse_changes(dlrun.compose(MNIST), dlrun.compose([*MNIST, word]))


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("seed=1", "seed: 0 in the run, 1 now"),
        ("freeze=[a*]", r"freeze: \[\] in the run, \[a\*\] now"),
        ("dataset.limit=3", "dataset.limit: null in the run, 3 now"),
        ("trainer.batch_size=8", "trainer.batch_size: 64 in the run"),
        ("trainer.epochs=3", "trainer.epochs: 20 in the run, 3 now"),
        ("trainer.max_steps=3", "trainer.max_steps: null in the run"),
        ("model.dropout=0.3", "model.dropout"),
    ],
)
def test_may_not_change_in_the_middle_of_a_run(word: str, told: str) -> None:
    own, config = dlrun.compose(MNIST), dlrun.compose([*MNIST, word])
    with pytest.raises(RunError, match=told):
        refuse_changes(own, config)
    refuse_changes(own, config, Asked(frozenset({word.partition("=")[0]})))


def test_plugins_may_be_named_otherwise(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    refuse_changes(dlrun.compose(), dlrun.compose([f"plugins=[{tmp_path / 'mine.py'}]"]))


# --- what is repeated -------------------------------------------------------------------------------------------------


def test_a_command_is_repeated_without_its_place_and_its_moment(tmp_path: Path) -> None:
    words = ["model=mlp", "+run.dir=x", "run.overwrite=true", "run.name=n", "resume=auto", "sweep.name=s",
             "sweep.slurm={a:1}", "checkpoint.keep=3", "trainer.print_every=1", "~scheduler"]  # fmt: skip
    (tmp_path / "overrides.txt").write_text("\n".join(words))
    run = StoredRun(tmp_path)
    assert run.command == "dlrun model=mlp checkpoint.keep=3 trainer.print_every=1 '~scheduler'"
    assert run.overridden is not None
    assert "run.dir" in run.overridden


# --- the run that another starts from ---------------------------------------------------------------------------------


def test_what_changes_the_speed_alone_is_shared_with_the_run_that_it_starts_from() -> None:
    words = ["trainer=smoke", "trainer.max_batches=2", "seed=3", "device=cpu", "+device.threads=1",
             "device.precision=fp32", "dataset.workers=0", "trainer.detect_anomaly=true", "trainer.epochs=9",
             "model.dropout=0.1", "checkpoint.keep=1", "run.name=x", "trainer.print_every=1"]  # fmt: skip
    config = dlrun.compose([*MNIST, *words])
    shared = [word.lstrip("+") for word in words[:8]]
    assert shared_words(words, config, config) == shared
    assert shared_words(words, config, dlrun.compose()) == shared[:6] + shared[7:8]  # digits have no workers


def test_a_run_of_an_older_version_is_known_by_its_configuration(tmp_path: Path) -> None:
    runs = []
    for name, words in (("other", ["seed=1"]), ("same", ["trainer.print_every=3"]), ("strange", [])):
        run = RunDir(tmp_path / name)
        run.path.mkdir()
        text = dlrun.compose(words).to_yaml()
        run.config.write_text(text.replace("name: mlp", "name: of_a_plug_in") if name == "strange" else text)
        write_json(run.environment, {"identity": f"of {name}, by older rules"})
        runs.append(run)
    missing = RunDir(tmp_path / "missing")
    identity = dlrun.compose().identity
    assert of_identity([missing, *reversed(runs)], identity) == runs[1]
    assert of_identity([missing, runs[0], runs[2]], identity) is None
    write_json(runs[0].environment, {"identity": identity})
    assert of_identity(runs, identity) == runs[0]  # of this version: not computed again


def test_an_experiment_is_not_trained_again_for_another_print_every(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "dlrun.yaml").touch()
    base = tmp_path / "conf" / "experiment" / "base.yaml"
    base.write_text("dataset: {name: iris}\ndefaults: [{override /dataset: iris}]\ntrainer: {epochs: 1}\n")
    words = ["dataset=iris", "init_from=experiment:base", "trainer.epochs=1", "device=cpu"]
    assert cli.main([*words, "run.dir=outputs/a"]) == 0
    identity = read_json(Path("outputs/a/init/environment.json"))["identity"]
    base.write_text(base.read_text().replace("epochs: 1", "epochs: 1, print_every: 7"))
    assert cli.main([*words, "device.threads=1", "run.dir=outputs/b"]) == 0
    assert "start: outputs/a/init/checkpoints/best.pt" in capsys.readouterr().out
    assert not Path("outputs/b/init").exists()
    base.write_text(base.read_text().replace("epochs: 1", "epochs: 2"))
    assert cli.main([*words, "run.dir=outputs/c"]) == 0
    assert read_json(Path("outputs/c/init/environment.json"))["identity"] != identity
