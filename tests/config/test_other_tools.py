"""Words of other tools get the nearest right form."""

from __future__ import annotations

import pytest

from dlrun import cli
from dlrun.config.overrides.other_tools import KEYS, OPTIONS, VALUES, sweep_hint
from dlrun.config.schema.schema import config_dirs, read_schema


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("device=gpu", "Did you mean cuda?"),
        ("optimizer=AdamW", "Did you mean adamw?"),
        ("model=resnet18", "Did you mean model=torchvision model.arch=resnet18?"),
        ("scheduler=reduce_on_plateau", "Did you mean plateau?"),
        ("dataset=csv", "dataset=table dataset.path=FILE dataset.target=COLUMN"),
        ("logger=mlflow", "docs/loggers.md"),
        ("model=all", "dlrun -m 'model=glob(*)'"),
        ("optimizer=*", "dlrun -m 'optimizer=glob(*)'"),
        ("sweep.search=bayes", "Did you mean tpe?"),
        ("sweep.timeout=60", "Did you mean sweep.job_timeout?"),
        ("learning_rate=0.1", "Did you mean optimizer.lr?"),
        ("optimizer.lr=loguniform(1e-4,1e-1)", "dlrun -m 'optimizer.lr=tag(log, interval(0.0001, 0.1))'"),
        ("optimizer.lr=tune.qloguniform(1e-4,1e-1,1e-4)", "dlrun -m 'optimizer.lr=tag(log, interval(0.0001, 0.1))'"),
        ("seed=0:10:2", "dlrun -m 'seed=range(0, 10, 2)'"),
        ("--epochs 3", "trainer.epochs=3"),
        ("--learning-rate=0.5", "optimizer.lr=0.5"),
        ("--gpu", "device=VALUE"),
        ("train", "Training needs no command"),
    ],
)
def test_a_word_of_another_tool(words: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words.split()) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        ("uniform(0, 1)", "interval(0, 1)"),
        ("linspace(0, 1, 5)", "0,0.25,0.5,0.75,1"),
        ("logspace(-3, -1, 3)", "0.001,0.01,0.1"),
        ("1:5", "range(1, 5)"),
        ("0..4", "range(0,5)"),
        ("1-4", "range(1,5)"),
        ("{0.1, 0.2}", "0.1,0.2"),
        ("0.1|0.2|1e-3", "0.1,0.2,1e-3"),
        ("2024-01-01", ""),
        ("uniform(a, b)", ""),
        ("relu", ""),
        ("10:30 o'clock", ""),
    ],
)
def test_ranges_as_other_tools_write_them(text: str, ours: str) -> None:
    assert sweep_hint(text) == ours


def test_what_is_suggested_is_there() -> None:
    schema = read_schema(config_dirs(search_cwd=False))
    for group, options in OPTIONS.items():
        for words in options.values():
            for word in words.split():
                key, _, option = word.partition("=")
                assert option in schema.options(group) if key in schema.groups else schema.contract(key), word
    for key in KEYS.values():
        assert key in schema.groups or schema.contract(key), key
    for key, words in VALUES.items():
        contract = schema.contract(key)
        assert contract is not None
        assert set(words.values()) <= set(contract.words)
