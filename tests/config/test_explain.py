"""`dlrun explain` and the pages: what a key is, and who set it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlrun.config.compose import open_draft, read_draft
from dlrun.config.explain import Origin, explain, provenance
from dlrun.config.schema.completion import complete, script
from dlrun.config.schema.pages import help_page, list_page
from dlrun.config.schema.schema import GROUPS, config_dirs, read_schema
from dlrun.errors import ConfigError


def told(asked: str, *words: str, conf: Path | None = None) -> str:
    return explain(asked, open_draft(words, config_dir=conf))


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """An experiment that sets an lr, and settings that set another."""
    folder = tmp_path / "conf"
    (folder / "experiment").mkdir(parents=True)
    (folder / "dlrun.yaml").write_text("optimizer: {lr: 0.2}\n")
    (folder / "experiment/own.yaml").write_text(
        "# dlrun experiment=own\n# Own.\n# expect: 97 %\noptimizer: {lr: 0.3}\n"
    )
    return folder


def test_who_set_a_value_and_what_it_replaced(conf: Path) -> None:
    words = ["experiment=own", "optimizer.lr=0.4"]
    origins = provenance(open_draft(words, config_dir=conf))["optimizer.lr"]
    assert [(Path(o.source).name, o.value) for o in origins[:3]] == [
        ("adam.yaml", 0.001),
        ("dlrun.yaml", 0.2),
        ("own.yaml", 0.3),
    ]
    assert origins[3] == Origin("the command line: optimizer.lr=0.4", 0.4)
    text = told("optimizer.lr", *words, conf=conf)
    assert "optimizer.lr: learning rate" in text
    assert "value     0.4" in text
    assert "accepts   float > 0" in text
    assert "default   0.001  (dlrun:conf/optimizer/adam.yaml)" in text
    assert "own.yaml -> 0.3, replacing 0.2" in text
    assert "optimizer.lr=0.4 -> 0.4, replacing 0.3" in text


def test_a_key_that_no_file_sets_has_its_default(conf: Path) -> None:
    (conf / "model").mkdir()
    (conf / "model/mine.yaml").write_text("name: mlp\n")
    assert "  value     [512]\n" in told("model.hidden", "model=mine", conf=conf)


def test_what_a_key_changes_is_told_in_words() -> None:
    assert "effect    changes the result\n" in told("optimizer.lr")
    assert "tuned     1e-05 to 0.1, log (sweep.budget)\n" in told("optimizer.lr")
    assert "effect    changes only what is shown; may change on resume\n" in told("trainer.print_every")
    assert "effect    does not change the result; may change on resume\n" in told("dataset.workers", "dataset=digits")
    assert told("dataset=mnist").endswith("\n  speed     does not change the result; may change on resume")
    assert "change on resume" not in told("optimizer=sgd")


def test_a_variant_replaces_its_base() -> None:
    text = told("optimizer.momentum", "optimizer=momentum")
    assert "conf/optimizer/sgd.yaml -> 0.0" in text
    assert "conf/optimizer/momentum.yaml -> 0.9, replacing 0.0" in text


def test_whole_sections_on_the_command_line() -> None:
    assert "the command line: run={name: x} -> x, replacing null" in told("run.name", "run={name: x}")


def test_groups_options_and_sections() -> None:
    assert "now     optimizer=sgd" in told("optimizer", "optimizer=sgd")
    text = told("optimizer=momentum")
    assert "optimizer.momentum=0.9" in text
    assert "dlrun optimizer=momentum" in text
    assert "optimizer.lr=0.01" in text
    assert "trainer.early_stop.patience=null" in told("trainer.early_stop")
    assert "run.overwrite=false" in told("run")
    assert "the seed of everything random" in told("seed")


def test_a_key_of_another_option_is_explained(conf: Path) -> None:
    text = told("scheduler.step_size")
    assert "scheduler=step" in text
    assert "now scheduler=none" in text
    assert "must be" in told("trainer.epochs", "trainer.epochs=0")
    assert "override /optimizer" in told("experiment=own", conf=conf) or "lr: 0.3" in told("experiment=own", conf=conf)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("optimizer.lrr", "Did you mean optimizer.lr?"),
        ("optimizer=adm", "Did you mean adam"),
        ("x.y.z", "unknown key"),
        ("lr", "optimizer.lr"),
    ],
)
def test_what_is_nothing_is_said(asked: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        told(asked)


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_every_key_there_is_can_be_explained(stride: int) -> None:
    schema = read_schema(config_dirs())
    draft = read_draft([], schema)
    options = [(group, option) for group in GROUPS for option in schema.options(group).values()]
    words = [f"{group}={option.name}" for group, option in options]
    words += [f"{group}.{key}" for group, option in options if group != "experiment" for key in option.keys]
    assert all(explain(word, draft) for word in list(dict.fromkeys(words))[::stride])


def test_lists(conf: Path) -> None:
    schema = read_schema(config_dirs(conf))
    assert "mlp" in list_page("models", schema)
    assert "[takes: tabular, image]" in list_page("model", schema)
    assert "expect: 97 %" in list_page("experiments", schema)
    assert "classification" in list_page("metrics", schema)
    assert all(f"{plural}:" in list_page(None, schema) for plural in GROUPS.values())
    with pytest.raises(ConfigError, match="Did you mean datasets"):
        list_page("dataset_s", schema)


def test_help_names_every_group_option_and_common_key() -> None:
    schema = read_schema(config_dirs())
    text = help_page(schema, {"resume": "go on"}, {"--quiet": "say less"})
    for group in GROUPS:
        for name in schema.options(group):
            assert name in text
    for key in [*schema.primary, "trainer.early_stop.patience", "device.precision", "checkpoint.keep"]:
        assert f"  {key}=" in text
    assert "go on" in text
    assert "say less" in text


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("dlrun opt", ["optimizer=", "optimizer."]),
        (
            "dlrun optimizer=ada",
            ["optimizer=adadelta", "optimizer=adagrad", "optimizer=adam", "optimizer=adamax", "optimizer=adamw"],
        ),
        ("dlrun -m optimizer=sgd,rp", ["optimizer=sgd,rprop"]),
        ("dlrun optimizer.l", ["optimizer.lr="]),
        ("dlrun optimizer=sgd optimizer.m", ["optimizer.momentum=", "optimizer.maximize="]),
        ("dlrun trainer.shuffle=", ["trainer.shuffle=true", "trainer.shuffle=false"]),
        ("dlrun checkpoint.mode=m", ["checkpoint.mode=min", "checkpoint.mode=max"]),
        ("dlrun trainer.early_stop.p", ["trainer.early_stop.patience="]),
        ("dlrun ver", ["verify-resume"]),
        ("dlrun list op", ["optimizers"]),
        ("dlrun --ver", ["--version"]),
        ("dlrun model=mlp ver", []),
        ("dlrun nothing=", []),
        ("dlrun inspect hou", []),
        ("dlrun inspect x.csv dataset.par", []),
        ("dlrun 'open", []),
    ],
)
def test_completion(line: str, found: list[str]) -> None:
    words = complete("zsh", line, read_schema(config_dirs()), ["list", "verify-resume"], ["--version", "--quiet"])
    assert sorted(words) == sorted(found)


def test_completion_for_bash_replaces_what_follows_the_last_break() -> None:
    schema = read_schema(config_dirs())
    assert complete("bash", "dlrun trainer=sm", schema, [], []) == ["smoke "]
    assert complete("bash", "dlrun trainer.ep", schema, [], []) == ["trainer.epochs="]
    assert "model=" in complete("fish", "dlrun ", schema, ["list"], [])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_us(shell: str) -> None:
    assert f"dlrun --complete {shell}" in script(shell)
    with pytest.raises(ConfigError, match="there is no script"):
        script("csh")


def test_runs_are_offered_where_a_command_takes_one() -> None:
    schema = read_schema(config_dirs())
    assert complete("zsh", "dlrun resume la", schema, [], [], lambda: ["last", "other"]) == ["last"]
    assert "trainer.epochs=" in complete("zsh", "dlrun resume last trainer.ep", schema, [], [], lambda: ["trainer.ep"])
