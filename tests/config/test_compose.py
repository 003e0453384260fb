"""Composition: words and files to a checked configuration, every problem at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dlrun.config.compose import compose, layers_of, open_draft, overlay, read_draft
from dlrun.config.config import Config
from dlrun.config.hydra.layers import merge
from dlrun.config.schema.schema import COMPONENTS, GROUPS, builtin_conf, config_dirs, read_schema
from dlrun.errors import ConfigError
from tests.helpers.contracts import without_contract


def problems(*words: str, **options: Any) -> dict[str, str]:
    """The problems of these words by key, as text."""
    with pytest.raises(ConfigError) as caught:
        compose(words, **options)
    return {problem.key: str(problem) for problem in caught.value.problems}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- words ---


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("trainer.epochs=1e3", "trainer.epochs", 1000),
        ("optimizer.lr=1", "optimizer.lr", 1.0),
        ("scheduler=null", "scheduler.name", "none"),
        ("~scheduler", "scheduler.name", "none"),
        ("logger=null", "logger.name", "default"),
        ("+seed=3", "seed", 3),
        ("++seed=3", "seed", 3),
        ("+trainer=smoke", "trainer.epochs", 1),
        ("trainer=smoke.yaml", "trainer.epochs", 1),
        ("device=cuda:1", "device.name", "cuda:1"),
        ("freeze=[^conv]", "freeze", ("^conv",)),
        ("freeze=[conv*, 'a b', (x)]", "freeze", ("conv*", "a b", "(x)")),
        ("init_from=price (usd)", "init_from", "price (usd)"),
        ("init_from=a/x=b", "init_from", "a/x=b"),
        ("init_from=zoë", "init_from", "zoë"),
        ("init_from=it's", "init_from", "it's"),
        ("init_from=experiment:names_gru", "init_from", "experiment:names_gru"),
        ("run.name=007", "run.name", "007"),
        ("run.name=1e3", "run.name", "1e3"),
        ("run.name=true", "run.name", "true"),
        ("run.name='null'", "run.name", "null"),
        ("run.name=null", "run.name", None),
        ('run.name="a,b"', "run.name", "a,b"),
        ("run.dir=~/x", "run.dir", os.path.expanduser("~/x")),
        ("run={name: x}", "run.name", "x"),
        ("optimizer.betas=[0.8, 0.9]", "optimizer.betas", (0.8, 0.9)),
        ("optimizer.betas.0=0.8", "optimizer.betas", (0.8, 0.999)),
        ("run.name=\\${x}", "run.name", "${x}"),
        ("run.name=${seed}-${optimizer.name}", "run.name", "0-adam"),
        ("trainer.max_steps=${trainer.batch_size}", "trainer.max_steps", 64),
    ],
)
def test_words_mean_what_they_say(word: str, key: str, value: object) -> None:
    assert compose([word]).get(key) == value


def test_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/there")
    assert compose(["run.dir=${oc.env:PLACE}/x"]).run.dir == "/there/x"
    monkeypatch.delenv("PLACE")
    assert "'PLACE' not found" in problems("run.dir=${oc.env:PLACE}", "seed=x")["run.dir"]
    assert compose(["run.dir=${oc.env:PLACE,/else}"]).run.dir == "/else"


@pytest.mark.parametrize(
    ("word", "key", "said"),
    [
        ("optimizer.lrr=1", "optimizer.lrr", "unknown key. Did you mean optimizer.lr?"),
        ("optmizer=adam", "optmizer", "Did you mean optimizer?"),
        ("lr=1", "lr", "Did you mean optimizer.lr?"),
        ("+new.key=1", "new.key", "unknown key"),
        ("++trainer.new={a: 1}", "trainer.new.a", "unknown key"),
        ("optimizer=adm", "optimizer", "Did you mean adam?"),
        ("optimizer=", "optimizer", "Allowed: "),
        ("optimizer=3", "optimizer", "there is no option '3'"),
        ("optimizer=null", "optimizer", "cannot be left out"),
        ("~model", "model", "cannot be left out"),
        ("~optimizer.lr", "optimizer.lr", "cannot be removed"),
        ("model=[mlp,gru]", "model", "dlrun -m model=mlp,gru"),
        ("model=mlp,gru", "model", "dlrun -m model=mlp,gru"),
        ("model={hidden: [3]}", "model", "model.hidden=[3]"),
        ("model.name=gru", "model.name", "Write model=gru"),
        ("model@x=mlp", "model@x", "Write model="),
        ("model/mlp=x", "model/mlp", "Write model=mlp"),
        ("optimizer.lr=fast", "optimizer.lr", "must be float > 0, not 'fast'"),
        ("optimizer.lr=0", "optimizer.lr", "must be float > 0, not 0"),
        ("optimizer.lr=nan", "optimizer.lr", "must be float > 0"),
        ("optimizer.lr=", "optimizer.lr", "must be float > 0, not ''"),
        ("optimizer.lr=[0.1", "optimizer.lr", "must be float > 0"),
        ("optimizer.lr=0,1", "optimizer.lr", "more than one value"),
        ("optimizer.lr=interval(1)", "optimizer.lr", "missing a required argument"),
        ("optimizer.lr=interval(0.1,1)", "optimizer.lr", "-m"),
        ("seed=range(0,10**9)", "seed", "not a sweep that can be read"),
        ("seed=1.5", "seed", "must be int"),
        ("seed.x=1", "seed.x", "unknown key"),
        ("trainer.early_stop=3", "trainer.early_stop", "is a section"),
        ("trainer.shuffle=yes", "trainer.shuffle", "Write true or false"),
        ("trainer.eval_every=outo", "trainer.eval_every", "Did you mean auto?"),
        ("model.hidden=64", "model.hidden", "model.hidden=[64]"),
        ("model.hidden=64,32", "model.hidden", "model.hidden=[64,32]"),
        ("run.name=a,b", "run.name", "run.name='\"a,b\"'"),
        ("scheduler.gamma=0.1", "scheduler.gamma", "scheduler=step"),
        ("device=cuda:x", "device", "there is no option 'cuda:x'"),
        ("device.name=coda", "device.name", "Did you mean cuda?"),
        ("run.name=${", "run.name", "not an interpolation"),
        ("run.name=${no.such}", "run.name", "'no.such' not found"),
        ("run.name=${run.name}", "run.name", "has no value"),
        ("run.name=???", "run.name", "needs a value"),
        ("seed=glob(*)", "seed", "glob(...) picks options"),
        ("=3", "=3", "no key"),
        ("a b=3", "a b", "not the name of a key"),
        ("1..2=3", "1..2", "not the name of a key"),
        ("hydra.run.dir=x", "hydra.run.dir", "run.dir does the same"),
        ("hydra.job.chdir=true", "hydra.job.chdir", "dlrun --help"),
        ("hydra/launcher=joblib", "hydra/launcher", "sweep.executor does the same"),
        ("+hydra.sweep.dir=x", "hydra.sweep.dir", "sweep.dir does the same"),
        ("plugins=[no_such_file.py]", "plugins", "there is no file no_such_file.py"),
        ("plugins=[no_such_module]", "plugins", "there is no module 'no_such_module'"),
        ("plugins=x.py", "plugins", "plugins=[x.py]"),
    ],
)
def test_wrong_words_are_named(word: str, key: str, said: str) -> None:
    found = problems(word)
    assert list(found) == [key]
    assert said in found[key]


def test_all_problems_at_once_and_none_twice() -> None:
    found = problems(
        "model=mpl", "optimizer.lrr=1", "trainer.epochs=0", "hydra.verbose=true", "lr=1", "seed=x", "model.hiddn=3"
    )
    assert list(found) == ["model", "hydra.verbose", "optimizer.lrr", "trainer.epochs", "seed", "lr"]


# --- what does not go together ---


@pytest.mark.parametrize(
    ("words", "key", "said"),
    [
        (["model=gru"], "model", "gru takes text or sequence; dataset=digits gives image data"),
        (["dataset=diabetes", "loss=cross_entropy"], "loss", "dataset=diabetes is regression"),
        (["checkpoint.monitor=val_loss", "dataset.val_fraction=0"], "checkpoint.monitor", "no validation part"),
        (["resume=auto", "run.overwrite=true"], "run.overwrite", "contradicts resume=auto"),
        (["loss=nll"], "model.output_activation", "wants log_softmax outputs"),
        (["model.output_activation=softmax"], "model.output_activation", "act twice"),
    ],
)
def test_contradictions(words: list[str], key: str, said: str) -> None:
    found = problems(*words)
    assert list(found) == [key]
    assert said in found[key]


def test_a_dataset_whose_key_decides_the_task(folder: Path) -> None:
    text = "# dlrun dataset=own\n# Own.\n# gives: tabular {task}\nname: own\ntask: auto  # (auto | regression)\n"
    write(folder / "conf/dataset/own.yaml", text)
    words = ["dataset=own", "loss=cross_entropy"]
    compose(words, config_dir=folder / "conf")
    assert "is regression" in problems(*words, "dataset.task=regression", config_dir=folder / "conf")["loss"]


def test_contradictions_are_told_beside_other_problems() -> None:
    found = problems("model=gru", "optimizer.lrr=1", "trainer=smok", "seed=x")
    assert set(found) == {"model", "optimizer.lrr", "trainer", "seed"}
    assert set(problems("model=gruu", "checkpoint.monitor=val_loss", "dataset.val_fraction=0")) == {
        "model",
        "checkpoint.monitor",
    }
    assert set(problems("trainer.batch_size=0", "model.batch_norm=true")) == {"trainer.batch_size"}


# --- precedence ---

EXPERIMENT = """\
# dlrun experiment=own
# An experiment.
defaults:
  - override /optimizer: sgd
optimizer:
  lr: 0.5
trainer:
  epochs: 77
  early_stop: {patience: 3}
seed: 5
"""


def test_a_group_of_the_command_line_wins_as_a_whole_over_the_experiment(folder: Path) -> None:
    write(folder / "conf/experiment/own.yaml", EXPERIMENT)
    options = {"config_dir": folder / "conf"}
    alone = compose(["experiment=own"], **options)
    assert (alone.optimizer.name, alone.optimizer.lr, alone.trainer.epochs, alone.seed) == ("sgd", 0.5, 77, 5)
    assert alone.trainer.early_stop.patience == 3
    mixed = compose(["experiment=own", "optimizer=adam", "trainer=smoke"], **options)
    assert mixed.section("optimizer") == compose(["optimizer=adam"]).section("optimizer")
    assert mixed.section("trainer") == compose(["trainer=smoke"]).section("trainer")
    assert mixed.seed == 5
    keyed = compose(["experiment=own", "optimizer.lr=0.7", "optimizer=momentum"], **options)
    assert (keyed.optimizer.lr, keyed.optimizer.momentum) == (0.7, 0.9)


def test_an_experiment_that_sweeps_a_group_means_its_values_for_every_option(folder: Path) -> None:
    write(folder / "conf/experiment/own.yaml", EXPERIMENT + "sweep: {params: {optimizer: [sgd, adam]}}\n")
    fixed = compose(["experiment=own", "optimizer=adam"], config_dir=folder / "conf")
    assert (fixed.optimizer.name, fixed.optimizer.lr) == ("adam", 0.5)


def test_experiments_may_build_on_each_other_and_lie_in_folders(folder: Path) -> None:
    write(folder / "conf/experiment/own.yaml", EXPERIMENT)
    write(folder / "conf/experiment/more/next.yaml", "defaults: [/experiment/own, _self_]\nseed: 6\n")
    config = compose(["experiment=more/next"], config_dir=folder / "conf")
    assert (config.seed, config.trainer.epochs) == (6, 77)


def test_settings_of_the_user(folder: Path) -> None:
    text = "model: cnn\ndefaults:\n  - override /optimizer: sgd\noptimizer: {lr: 0.3, momentum: 0.5}\n"
    write(folder / "conf/dlrun.yaml", text + "trainer: {batch_size: 32, clip_norm: 1}\ndevice: {threads: 1}\n")
    plain = compose()
    assert (plain.model.name, plain.optimizer.lr, plain.trainer.batch_size) == ("cnn", 0.3, 32)
    assert compose(search_cwd=False).model.name == "mlp"
    smoke = compose(["trainer=smoke", "device=cpu"])
    assert (smoke.trainer.batch_size, smoke.trainer.clip_norm) == (8, 1.0)  # what smoke says itself holds
    assert (smoke.device.name, smoke.device.threads) == ("cpu", 1)
    adam = compose(["optimizer=adam"])
    assert (adam.optimizer.name, adam.optimizer.lr) == ("adam", 0.001)  # what was set for sgd means nothing
    momentum = compose(["optimizer=momentum"])
    assert (momentum.optimizer.lr, momentum.optimizer.momentum) == (0.3, 0.9)
    write(folder / "conf/experiment/own.yaml", EXPERIMENT.replace("sgd", "adam"))
    assert compose(["experiment=own"]).optimizer.name == "adam"


def test_wrong_settings_name_their_file(folder: Path) -> None:
    write(folder / "conf/dlrun.yaml", "optimizer: {lrr: 3}\n")
    assert "Did you mean optimizer.lr?" in problems()["optimizer.lrr"]
    write(folder / "conf/dlrun.yaml", "model: gruu\n")
    assert "Did you mean gru?" in problems()["conf/dlrun.yaml"]
    write(folder / "conf/dlrun.yaml", "a: [1\n")
    assert "is not valid YAML" in next(iter(problems().values()))
    write(folder / "conf/dlrun.yaml", "a: 1\na: 2\n")
    assert "twice" in next(iter(problems().values()))
    write(folder / "conf/dlrun.yaml", "- 1\n")
    assert "key: value" in problems()["conf/dlrun.yaml"]
    write(folder / "conf/dlrun.yaml", "defaults: [other]\n")
    assert "may only choose options" in problems()["conf/dlrun.yaml"]


def test_a_conf_of_another_program_is_left_alone(folder: Path) -> None:
    write(folder / "conf/config.yaml", "defaults: [db: mysql]\n")
    write(folder / "conf/model/mlp.yaml", "name: theirs\n")
    assert compose() == compose(search_cwd=False)
    assert config_dirs() == (builtin_conf(),)


def test_options_of_the_user_add_and_hide(folder: Path) -> None:
    write(folder / "conf/dlrun.yaml", "")
    write(folder / "conf/optimizer/fast.yaml", "defaults: [adam, _self_]\nlr: 0.1\n")
    write(folder / "conf/model/mlp.yaml", "name: mlp\nhidden: [7]\n")
    config = compose(["optimizer=fast"])
    assert (config.optimizer.name, config.optimizer.lr) == ("adam", 0.1)
    assert config.model.hidden == (7,)
    assert config.model.dropout == 0.0  # what a file leaves out has its usual value
    assert "float >= 0, < 1" in problems("model.dropout=2")["model.dropout"]


def test_files_that_cannot_be_followed(folder: Path) -> None:
    options = {"config_dir": folder / "conf"}
    write(folder / "conf/experiment/own.yaml", "defaults:\n  - override /model: gruu\n")
    assert "Did you mean gru?" in next(iter(problems("experiment=own", **options).values()))
    write(folder / "conf/experiment/own.yaml", "defaults: {model: gru}\n")
    assert "must be a list" in next(iter(problems("experiment=own", **options).values()))
    write(folder / "conf/experiment/own.yaml", "defaults: [/experiment/own, _self_]\n")
    assert "cannot be followed" in next(iter(problems("experiment=own", **options).values()))
    write(folder / "conf/experiment/own.yaml", "trainer: {epochs: ten}\nsede: 3\n")
    found = problems("experiment=own", **options)
    assert list(found) == ["trainer.epochs", "sede"]
    write(folder / "conf/experiment/own.yaml", "seed: ${oc.env:NOT_THERE_AT_ALL}\n")
    assert "NOT_THERE_AT_ALL" in problems("experiment=own", **options)["seed"]
    assert "not a folder" in problems(config_dir=folder / "nowhere")["--config-dir"]


def test_files_are_read_again_when_they_change(folder: Path) -> None:
    path = write(folder / "conf/trainer/mine.yaml", "defaults: [default, _self_]\nepochs: 3\n")
    assert compose(["trainer=mine"], config_dir=folder / "conf").trainer.epochs == 3
    path.write_text("defaults: [default, _self_]\nepochs: 44\n")
    assert compose(["trainer=mine"], config_dir=folder / "conf").trainer.epochs == 44


# --- Hydra ---


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["trainer=smoke", "optimizer=momentum", "optimizer.lr=0.3", "model.hidden=[3,4]", "run.name=x"],
        ["model=cnn", "device=cpu", "scheduler=step", "loss=cross_entropy", "trainer.early_stop.patience=3"],
    ],
)
def test_equals_hydras_own_composition(words: list[str]) -> None:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    with initialize_config_dir(str(builtin_conf()), version_base="1.3"):
        theirs = OmegaConf.to_container(hydra_compose("dlrun_primary", words))
    GlobalHydra.instance().clear()
    assert open_draft(words).values() == theirs


def test_hydras_global_state_is_left_alone() -> None:
    from hydra import version
    from hydra.core.global_hydra import GlobalHydra

    base = version.VersionBase.instance()
    before = base.version_base
    base.version_base = version.Version("1.2")
    try:
        compose(["model=linear", "trainer=overfit_one_batch", "run.name=(never read before)"])
        assert base.version_base == version.Version("1.2")
        assert not GlobalHydra.instance().is_initialized()
    finally:
        base.version_base = before


# --- the real files ---


def test_every_file_states_a_contract_for_every_key() -> None:
    assert without_contract(read_schema(config_dirs())) == []


def test_every_file_begins_with_its_command_and_a_line_on_what_it_is() -> None:
    schema = read_schema(config_dirs())
    for group in GROUPS:
        for name, option in schema.options(group).items():
            assert option.command.startswith("dlrun"), option.source
            assert option.description, option.source
            if group == "experiment":
                assert f"experiment={name}" in option.command, option.source


def test_every_option_composes_with_the_values_that_its_file_states() -> None:
    schema = read_schema(config_dirs())
    for group in GROUPS:
        for name in schema.options(group):
            values = merge(layers_of(schema, {group: name}))
            draft = read_draft([f"{group}={name}"], schema)
            clean, found = draft.checked()
            apart = {"model", "loss", "model.output_activation"}  # may not go with the usual data set
            assert [str(problem) for problem in found if problem.key not in apart] == []
            if group in COMPONENTS:
                assert clean[group] == values[group]


def test_every_key_of_a_component_may_be_set_to_its_default() -> None:
    config = compose()
    words = [
        f"{key}={value}"
        for key, value in config.flat().items()
        if isinstance(value, (int, float)) and value is not True and value is not False
    ]
    assert compose(words) == config


# --- overlay ---


def test_words_on_a_finished_configuration() -> None:
    own = compose(["trainer=smoke", "seed=3"])
    changed = overlay(own, ["trainer.epochs=9", "device=cpu", "run.name=007"])
    assert (changed.trainer.epochs, changed.trainer.batch_size, changed.seed) == (9, 8, 3)
    assert (changed.device.name, changed.run.name) == ("cpu", "007")
    with pytest.raises(ConfigError, match="optimizer\\.lrr"):
        overlay(own, ["optimizer.lrr=9"])


def test_what_a_configuration_says_itself_is_never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hush")
    values = compose(["seed=3", "optimizer=sgd"]).to_dict()
    values["run"]["name"] = "${oc.env:SECRET} ${seed} \\${ {${"
    values["plugins"] = []
    values["freeze"] = ["${oc.env:SECRET}"]
    own = Config.checked(values)
    changed = overlay(own, ["optimizer.momentum=${optimizer.lr}", "run.dir=a-${run.name}-${seed}", "trainer=smoke"])
    assert changed.run.name == own.run.name
    assert changed.freeze == ("${oc.env:SECRET}",)
    assert changed.optimizer.momentum == own.optimizer.lr
    assert changed.run.dir == f"a-{own.run.name}-3"


@pytest.mark.parametrize("key", ["dataset.path", "run.dir", "run.name"])
def test_text_that_is_not_utf8_is_refused(key: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`caf\\xe9` as Python has it from a command line in UTF-8: no file of a run could hold it."""
    word = f"{key}=caf\udce9"
    found = problems("dataset=image_folder", word)
    assert found[key] == rf"{key}: 'caf\udce9' is not UTF-8, so no file of a run can hold it."
    monkeypatch.setenv("ODD", "caf\udce9")
    assert "not 'caf\\udce9'" in problems("dataset=image_folder", f"{key}=${{oc.env:ODD}}")[key]
