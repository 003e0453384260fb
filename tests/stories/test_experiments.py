"""The reference experiments reach their figures: the table of tests/experiments, run.

The normal run takes those that need no data and little time to their ends, some shortened, and lets those that need
data learn one batch of small data by heart; `pytest -m slow` takes the longer ones, `pytest -m full` every row as it is
(DLRUN_DATA at MNIST and the real names), as `python -m tests.experiments` does.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import dlrun
from dlrun.config.expand import Expansion, plan
from dlrun.config.schema.schema import config_dirs, read_schema
from tests.experiments import figures, page, running
from tests.experiments.table import CASES, Case
from tests.helpers.cases import slow_where
from tests.helpers.traps import BASE, column, train

ROWS = {case.key: case for case in CASES}
SHORTER = {"breast_cancer": ("seed=0,1",), "breast_cancer_raw": ("trainer.epochs=2000",)}
LONG = (
    "logistic_regression",  # in the normal run, the page is written from it
    "manual_gd",
    "linear_regression",
    "breast_cancer_raw",
    "hello_rnn",
    "optimizer_comparison",
)  # seconds, as do all with names
QUICK = slow_where(lambda key: key in LONG or "names" in key, [case.key for case in CASES if not case.needs])
OTHERS = sorted({case.preset for case in CASES if case.needs})
DIFFERENT = ("digits_low", "finetune_digits", "mnist_autoencoder_unpool", "mnist_cnn", "mnist_mlp", "names_gru")
ONE_BATCH = (
    "trainer=overfit_one_batch",
    "trainer.epochs=20",
    "trainer.batch_size=16",
    "optimizer=adam",
    "optimizer.lr=0.01",
)


pytestmark = pytest.mark.figures  # fit.csv is read


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time of a short run."""
    monkeypatch.setattr("dlrun.run.closing.draw_figures", lambda *_: None)


def run_here(case: Case, place: Path) -> list[Path]:
    """Run a row in this process, job by job, where `runs_of` finds it."""
    words = [f"experiment={case.preset}", *(word.strip("'") for word in case.words), *BASE]
    planned = plan(words, multirun=case.seeds, search_cwd=False)
    if not isinstance(planned, Expansion):
        dlrun.train([*words, f"run.dir={place}"])
    for job in planned.jobs if isinstance(planned, Expansion) else []:
        name = "-".join(str(value) for value in job.swept.values())
        dlrun.train([*job.overrides, f"run.dir={place}/jobs/{name}"])
    return running.runs_of(case, place)


def check(case: Case, runs: list[Path]) -> None:
    for figure in case.figures:
        values = page.values_of(figure, runs)
        assert values
        assert page.in_band(figure, values), f"{case.key}: {figure.what} {values}, not {figure.low} to {figure.high}"


@pytest.mark.parametrize("key", QUICK)
def test_a_preset_reaches_its_figures(key: str, no_figures: None) -> None:
    case = replace(ROWS[key], words=SHORTER.get(key, ROWS[key].words))
    check(case, run_here(case, Path("runs")))


@pytest.mark.parametrize("preset", slow_where(lambda name: name not in DIFFERENT, OTHERS))
def test_a_preset_that_needs_data_learns_one_batch(preset: str, mnist_root: Path, no_figures: None) -> None:
    words = [f"experiment={preset}", *ONE_BATCH, f"dataset.root={mnist_root}", "scheduler=none"]
    run = train(*words, *(["init_from=null"] if preset == "finetune_digits" else []))
    losses = column(run, "train_loss")
    assert min(losses) < 0.8 * losses[0]


@pytest.mark.parametrize("seed", slow_where(bool, range(5)))
def test_the_default_experiment_passes_95_percent(seed: int, no_figures: None) -> None:
    run = train(f"seed={seed}")
    assert run.summary["test"]["accuracy"] > 0.95


@pytest.mark.full
@pytest.mark.parametrize("key", ROWS)
def test_a_whole_experiment_reaches_its_figures(key: str) -> None:
    case = ROWS[key]
    assert running.run(case, Path("runs").absolute()) == 0
    check(case, running.runs_of(case, Path("runs")))


@pytest.mark.full
def test_the_raw_breast_cancer_net_has_the_range_of_the_notes(no_figures: None) -> None:
    """81.6 to 93.0 %, mean 88.3, over ten seeds; two of ten may end in the majority class."""
    case = replace(ROWS["breast_cancer_raw"], words=("seed=range(0,10)",))
    values = page.values_of(case.figures[0], run_here(case, Path("runs")))
    assert 0.83 < sum(values) / len(values) < 0.93
    assert min(values) > 0.77


# --- the page ---------------------------------------------------------------------------------------------------------


def test_every_preset_has_a_row() -> None:
    from dlrun.config.schema.schema import builtin_conf

    presets = {path.stem for path in (builtin_conf() / "experiment").glob("*.yaml")}
    assert {case.preset for case in CASES} == presets - {"optimizer_benchmark"}, "whose result is in docs/comparing.md"
    assert len(ROWS) == len(CASES)


def test_the_page_is_written_from_the_runs(tmp_path: Path) -> None:
    case = ROWS["logistic_regression"]
    place = tmp_path / "runs"
    run_here(replace(case, words=("seed=0,1",)), place / case.key)
    check(case, running.runs_of(case, place / case.key))
    text = page.write_page(tmp_path / "docs", place).read_text(encoding="utf-8")
    values = page.values_of(case.figures[0], running.runs_of(case, place / case.key))
    assert len(values) == 2
    row = next(line for line in text.splitlines() if "logistic_regression" in line)
    assert f"{sum(values) / 2:.3f}; {min(values):.3f} to {max(values):.3f} with 2 seeds" in row
    assert row.endswith("yes |")
    assert "not run" in next(line for line in text.splitlines() if "`mnist_mlp`" in line)
    assert "dlrun -m experiment=logistic_regression seed=0,1,2" in text
    assert (tmp_path / "docs" / "experiments" / "logistic_regression-fit.png").stat().st_size < 40_000


def test_a_figure_outside_its_band_is_said(tmp_path: Path) -> None:
    case = ROWS["names_gru"]
    summary = {"last": {"test_accuracy": 0.5}, "test": {"of": "best", "accuracy": 0.6}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert "| 50.00 % |" in page.row(case, case.figures[0], [tmp_path])
    assert "**no**" in page.row(case, case.figures[0], [tmp_path])


def test_a_changed_preset_is_run_again(no_figures: None) -> None:
    case = ROWS["hello_embedding_gru"]
    place = Path("runs")
    assert not running.is_stale(case, place)
    dlrun.train([f"experiment={case.preset}", "trainer.epochs=2", "run.dir=runs"])
    assert running.is_stale(case, place)
    dlrun.train([f"experiment={case.preset}", "run.dir=runs", "run.overwrite=true"])
    assert not running.is_stale(case, place)


def test_the_word_is_learnt_from_the_epoch_on_that_stays(tmp_path: Path) -> None:
    rows = [(1, 0.2), (2, 1.0), (3, 0.8), (4, 1.0), (5, 1.0)]
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,train_accuracy\n" + "".join(f"{epoch},{share}\n" for epoch, share in rows))
    assert figures.learnt_at(tmp_path) == 4
    path.write_text("epoch,train_accuracy\n1,0.5\n")
    assert figures.learnt_at(tmp_path) == float("inf")


def test_every_heading_of_the_page_is_an_experiment(tmp_path: Path) -> None:
    path = page.write_page(tmp_path, tmp_path / "none")
    headings = [line.removeprefix("## ") for line in path.read_text().splitlines() if line.startswith("## ")]
    assert headings == list(dict.fromkeys(case.preset for case in CASES))
    assert set(headings) <= set(read_schema(config_dirs(search_cwd=False)).options("experiment"))
