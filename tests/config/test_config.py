"""The frozen configuration: access, copies, YAML and identity."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.config.compose import compose
from dlrun.config.config import Config, current_schema
from dlrun.config.schema import yamls
from dlrun.errors import ConfigError


def test_access() -> None:
    config = compose(["model.hidden=[3,4]"])
    assert config.model.hidden == (3, 4)
    assert config["optimizer"]["lr"] == config.optimizer.lr == config.get("optimizer.lr") == 0.001
    assert config.get("optimizer.none", 7) == 7
    assert config.get("seed.x") is None
    assert "trainer" in config
    assert "epochs" in config.trainer
    assert dict(**config.scheduler) == {"name": "none"}
    assert config.flat()["trainer.early_stop.patience"] is None
    assert config.flat()["sweep.params"] == {}
    with pytest.raises(AttributeError, match="no key 'lrr' here; it has: name, lr"):
        _ = config.optimizer.lrr


def test_frozen_and_copied() -> None:
    config = compose()
    with pytest.raises(AttributeError, match="frozen"):
        config.seed = 3
    with pytest.raises(AttributeError, match="frozen"):
        config.optimizer.lr = 3
    with pytest.raises(AttributeError, match="frozen"):
        del config.seed
    section = config.section("model")
    section["hidden"].append(9)
    config.to_dict()["optimizer"]["lr"] = 9
    assert config == compose()
    assert type(section["hidden"]) is list


def test_pickles_hashes_and_compares() -> None:
    config = compose(["seed=3"])
    again = pickle.loads(pickle.dumps(config))
    assert type(again) is Config
    assert again == config
    assert hash(again) == hash(config)
    assert again != compose()
    assert pickle.loads(pickle.dumps(config.optimizer)) == config.optimizer


def test_yaml_reads_back(tmp_path: Path) -> None:
    words = ["run.name=1e3", "freeze=['on', '${x}', 'a: b']", "optimizer.eps=1e-12", "trainer.clip_norm=1"]
    config = compose([word.replace("${x}", "\\${x}") for word in words])
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    again = Config.from_yaml(path)
    assert again == config
    assert again.identity == config.identity
    assert "optimizer:\n  name: adam\n  lr: 0.001\n" in config.to_yaml()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), PLAIN, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_plain_values_survive_yaml(values: dict[str, Any]) -> None:
    assert yamls.loads(yamls.dumps(values), "values") == values


FREEZE = "freeze=[body]"


MNIST = ["dataset=mnist", "model=cnn"]


@pytest.mark.parametrize(
    "word",
    ["run.name=x", "run.dir=y", "resume=auto", "logger=jsonl", "checkpoint.keep=5", "checkpoint.every_steps=3",
     "sweep.trials=3", "device=cpu", "device.threads=1", "device.fast=false", "device.deterministic=true",
     "device.compile=true", "trainer.print_every=1", "trainer.log_every=2", "trainer.detect_anomaly=true",
     "trainer.profile=true", "dataset.root=/elsewhere", "dataset.workers=2", "dataset.in_memory=false"],
)  # fmt: skip
def test_what_changes_no_result_is_no_part_of_the_identity(word: str) -> None:
    assert compose([*MNIST, word]).identity == compose(MNIST).identity


@pytest.mark.parametrize(
    "word",
    ["seed=1", "freeze=[head.*]", "init_from=experiment:digits_low", "optimizer.lr=0.1", "model=vgg",
     "trainer.epochs=3", "trainer.max_steps=7", "device.precision=bf16", "checkpoint.monitor=val_accuracy",
     "checkpoint.mode=max", "dataset.limit=5", "trainer.eval_every=2", "trainer.early_stop.patience=2"],
)  # fmt: skip
def test_what_changes_the_result_is_part_of_the_identity(word: str) -> None:
    words = [*MNIST, "dataset.val_fraction=0.1"]
    assert compose([*words, word]).identity != compose(words).identity


def test_the_identity_goes_by_values() -> None:
    assert compose(["optimizer.lr=1"]).identity == compose(["optimizer.lr=1.0"]).identity
    assert compose(["optimizer=momentum"]).identity == compose(["optimizer=sgd", "optimizer.momentum=0.9"]).identity
    typed = ["trainer.epochs=1", "trainer.batch_size=8", "trainer.max_batches=3"]
    assert compose(["trainer=smoke"]).identity == compose(typed).identity


def from_text(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config.from_yaml(path)
    return [str(problem) for problem in caught.value.problems]


def test_a_file_is_checked_in_full(tmp_path: Path) -> None:
    text = compose().to_yaml()
    found = from_text(tmp_path, text.replace("lr: 0.001", "lr: -1\n  lrr: 2").replace("seed: 0", "sede: 0"))
    assert found[0].startswith("optimizer.lr: must be float > 0, not -1")
    assert found[1].startswith("optimizer.lrr: unknown key. Did you mean optimizer.lr?")
    assert found[2].startswith("sede: unknown key. Did you mean seed?")
    assert "not valid YAML" in from_text(tmp_path, "a: [")[0]
    assert "is not a configuration" in from_text(tmp_path, "- 1")[0]
    assert from_text(tmp_path, "seed: 1")[0].startswith("model: is missing")
    with pytest.raises(ConfigError, match="cannot be read"):
        Config.from_yaml(tmp_path / "none.yaml")


def test_keys_that_came_later_take_their_defaults(tmp_path: Path) -> None:
    text = compose(["seed=4"]).to_yaml()
    path = tmp_path / "config.yaml"
    path.write_text("".join(line for line in text.splitlines(True) if "dropout" not in line and "keep" not in line))
    assert Config.from_yaml(path) == compose(["seed=4"])
    assert Config.from_yaml(path).identity == compose(["seed=4"]).identity


def test_a_stored_configuration_is_completed_as_far_as_its_plug_ins_are_known() -> None:
    values = compose(["seed=4"]).to_dict()
    del values["freeze"], values["model"]["dropout"]
    assert Config.stored(values, current_schema()) == compose(["seed=4"])
    values["model"]["name"] = "of_a_plug_in"
    assert Config.stored(values, current_schema()).to_dict() == values


def test_a_component_of_a_plugin_is_named(tmp_path: Path) -> None:
    text = compose().to_yaml().replace("name: mlp", "name: my_net").replace("plugins: []", "plugins: [mine.py]")
    (problem,) = from_text(tmp_path, text)
    assert "the model 'my_net' is not one of dlrun's" in problem
    assert "mine.py" in problem
    assert "--plugin FILE" in problem


@pytest.mark.parametrize(
    ("value", "text"), [("1e3", "k: '1e3'\n"), (1e-5, "k: 1.0e-05\n"), ([1, [2]], "k:\n- 1\n- [2]\n")]
)
def test_how_values_are_written(value: object, text: str) -> None:
    assert yamls.dumps({"k": value}) == text
    assert yamls.loads(text, "text") == {"k": value}


def test_dates_and_numbers_in_yaml() -> None:
    assert yamls.loads("{a: 1e-3, b: 2026-01-02, c: .5, d: 1_000}", "x") == {
        "a": 0.001,
        "b": "2026-01-02",
        "c": 0.5,
        "d": 1000,
    }
