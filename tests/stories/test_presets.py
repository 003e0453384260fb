"""The files of conf/experiment: all that are promised, each composes, and each says only what differs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlrun.assembly.assemble import build_data, build_model
from dlrun.config.compose import compose
from dlrun.config.config import Config
from dlrun.config.expand import Expansion, plan
from dlrun.config.schema import yamls
from dlrun.config.schema.schema import GROUPS, builtin_conf, config_dirs, read_schema
from dlrun.plain import flatten

FOLDER = builtin_conf() / "experiment"
PROMISED = re.findall(
    r"\w+",
    """
    manual_gd linear_regression logistic_regression breast_cancer_raw breast_cancer optimizer_comparison mnist_mlp
    mnist_mlp_decay_from_start mnist_fc mnist_cnn_small mnist_cnn mnist_inception mnist_googlenet mnist_resnet
    mnist_vgg mnist_autoencoder_unpool mnist_autoencoder_transposed mnist_autoencoder_interpolate hello_rnncell
    hello_rnn hello_embedding_rnn hello_embedding_lstm hello_embedding_gru names_gru names_bigru names_lstm
    digits_low finetune_digits optimizer_benchmark
""",
)
SWEEPS = {
    "linear_regression": ["sgd", "adagrad", "adam", "adamax", "asgd", "lbfgs", "rmsprop", "rprop"],
    "optimizer_comparison": ["sgd", "momentum", "rmsprop", "adam"],
}


def one(name: str, *words: str) -> Config:
    """The preset as one run."""
    return compose([f"experiment={name}", *words], search_cwd=False)


def own_values(name: str) -> dict[str, Any]:
    """The values that a preset's file states, by dotted key; lists and `sweep.params` are whole values."""
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    content.pop("defaults", None)
    params = content.get("sweep", {}).pop("params", None)
    flat = dict(flatten({key: value for key, value in content.items() if value != {}}))
    return flat | ({"sweep.params": params} if params else {})


def test_the_presets_are_those_promised() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_a_preset_says_its_command_what_it_shows_and_what_to_expect(name: str) -> None:
    option = read_schema(config_dirs(search_cwd=False)).options("experiment")[name]
    assert option.command.split() == ["dlrun", f"experiment={name}"]
    assert option.description.endswith(".")
    assert option.headers["expect"]
    assert Path(FOLDER / f"{name}.yaml").read_text(encoding="utf-8").startswith("# @package _global_\n")


@pytest.mark.parametrize("name", sorted({*PROMISED} - {"optimizer_benchmark"}))  # which is workloads alone
def test_a_preset_composes_and_states_differences_only(name: str) -> None:
    config, choices = one(name), read_schema(config_dirs(search_cwd=False))
    defaults = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))["defaults"]
    groups = {key.removeprefix("override /"): option for item in defaults for key, option in item.items()}
    assert set(groups) <= set(GROUPS)
    assert "trainer.epochs" in own_values(name)
    for dotted, value in own_values(name).items():
        group, _, key = dotted.partition(".")
        stated = config.section("sweep")["params"] if dotted == "sweep.params" else config.flat()[dotted]
        assert stated == value, f"{dotted} is lost"
        option = choices.options(group)[groups.get(group, "default")] if group in GROUPS else None
        usual = (choices.full(option).keys if option else choices.primary)[key if option else dotted].default
        if dotted == "trainer.epochs":
            continue  # every preset says its own length, whatever the default is today
        params = own_values(name).get("sweep.params", {})
        swept = any(group in grid for grid in (params if isinstance(params, list) else [params]))
        assert swept or yamls.loads(usual, dotted) != value, f"{dotted} is {value} without this line, too"


@pytest.mark.parametrize("name", SWEEPS)
def test_a_preset_of_several_runs(name: str) -> None:
    expansion = plan([f"experiment={name}"], search_cwd=False)
    assert isinstance(expansion, Expansion)
    assert expansion.swept["optimizer"] == SWEEPS[name]
    assert [job.problems for job in expansion.jobs] == [[] for _ in SWEEPS[name]]
    assert {job.config.optimizer.lr for job in expansion.jobs if job.config} == {0.01}
    fixed = plan([f"experiment={name}", f"optimizer={SWEEPS[name][-1]}"], search_cwd=False)
    assert isinstance(fixed, Config)
    assert fixed.optimizer.lr == 0.01


def test_t01_both_schedules_are_said() -> None:
    assert one("mnist_mlp").scheduler.first_epoch is None
    assert one("mnist_mlp_decay_from_start").scheduler.first_epoch == 0


def test_finetuning_takes_the_net_that_was_trained() -> None:
    before, after = one("digits_low"), one("finetune_digits")
    assert after.init_from == "experiment:digits_low"
    assert before.model == after.model
    assert not set(before.dataset.classes) & set(after.dataset.classes)


def test_the_comparison_of_optimizers_has_the_settings_of_the_notes() -> None:
    expansion = plan(["experiment=optimizer_comparison"], search_cwd=False)
    assert isinstance(expansion, Expansion)
    sgd, momentum, rmsprop, adam = [job.config.optimizer for job in expansion.jobs if job.config]
    assert (sgd.momentum, momentum.momentum, rmsprop.alpha, adam.betas) == (0.0, 0.9, 0.9, (0.9, 0.99))


def test_names_gru_has_the_parameters_of_the_notes(tmp_path: Path) -> None:
    config = one("names_gru", f"dataset.root={tmp_path}")
    data = build_data(config)
    model = build_model(config, data.spec)
    assert data.spec.vocab_size == 128
    # Embedding(128, 100), GRU(100, 100, 2 layers), Linear(100, 18)
    assert sum(p.numel() for p in model.parameters()) == 128 * 100 + 2 * (2 * 300 * 100 + 600) + 100 * 18 + 18
