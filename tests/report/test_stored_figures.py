"""The figures of a run are drawn from what it has stored, when it ends or when they are asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrun.errors import ConfigError
from dlrun.report import style
from dlrun.report.arrays import read_arrays, write_arrays
from dlrun.report.compare import compare
from dlrun.report.confusion import store_confusion
from dlrun.report.figures import draw_figures, forget_figures
from dlrun.report.html import report_command
from dlrun.report.mistakes import draw_mistakes, draw_reconstructions, store_mistakes, store_reconstructions
from dlrun.report.tables import FIGURES
from dlrun.store.files import write_json
from dlrun.store.rundir import RunDir
from dlrun.sweep import drawing
from dlrun.sweep.refusals import refuse_useless
from tests.helpers.quick_runs import begin
from tests.helpers.runs_by_hand import make_config, make_run, make_sweep


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the figures that were drawn, which are files of a few bytes."""
    names: list[str] = []

    def save(figure: Any, path: Path) -> Path:
        path.write_bytes(b"\x89PNG")
        names.append(path.name)
        return path

    monkeypatch.setattr(style, "save", save)
    return names


def make_values(run: Path) -> Path:
    """A run that has stored all that a figure can be drawn from, and has drawn none."""
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8)
    store_mistakes(run, images, [0, 1, 0, 1], [0, 0, 1, 1], [0.9, 0.8, 0.7, 0.6], ["cat", "dog"])
    store_reconstructions(run, images, images / 2)
    store_confusion(run, [[1, 1], [1, 1]], ["cat", "dog"])
    (run / "fit.csv").write_text("x,y,prediction\n1,2,2.1\n2,4,4.1\n")
    return run


def test_all_are_drawn_once_and_again_when_their_values_are_newer(tmp_path: Path, drawn: list[str]) -> None:
    run = make_values(make_run(tmp_path / "run", epochs=3))
    draw_figures(run)
    assert sorted(drawn) == sorted(FIGURES)
    draw_figures(run)
    assert len(drawn) == len(FIGURES), "they are newer than their values"
    later = (run / "mistakes.png").stat().st_mtime_ns + 10**9
    os.utime(run / "mistakes.npz", ns=(later, later))
    draw_figures(run)
    assert drawn[len(FIGURES) :] == ["mistakes.png"]
    forget_figures(run)
    assert not [*run.glob("*.png")]


def test_nothing_is_drawn_of_a_run_that_has_done_nothing(tmp_path: Path, drawn: list[str]) -> None:
    draw_figures(make_run(tmp_path / "run", epochs=0, state="failed"))
    assert not drawn


@pytest.mark.parametrize(
    "damage",
    [b"", b"PK no archive", {"images": np.zeros((2, 3, 3))}, {"images": np.zeros((3, 2, 2, 3), np.uint8)},
     {"labels": np.array(["cat"])}, {"predicted": np.array([5, 5])}, {"wrong": np.array([["x"]])}],
    ids=str,
)  # fmt: skip
def test_damaged_values_are_named_and_the_page_is_written(
    tmp_path: Path, drawn: list[str], capsys: pytest.CaptureFixture[str], damage: bytes | dict[str, Any]
) -> None:
    run = make_values(make_run(tmp_path / "run", epochs=3))
    whole = read_arrays(run / "mistakes.npz")
    if isinstance(damage, bytes):
        (run / "mistakes.npz").write_bytes(damage)
    else:
        write_arrays(run / "mistakes.npz", whole | damage)
    assert report_command(run) == 0
    assert "mistakes.png" not in drawn
    assert "note: mistakes.png cannot be drawn: mistakes.npz is damaged\n" in capsys.readouterr().err
    page = (run / "report.html").read_text()
    assert "mistakes.png cannot be drawn: mistakes.npz is damaged" in page
    assert 'src=""' not in page


def test_values_are_not_unpickled_and_read_within_bounds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    np.savez_compressed(tmp_path / "b.npz", x=np.zeros(80 * 2**20, np.uint8))
    assert read_arrays(tmp_path / "a.npz") == read_arrays(tmp_path / "b.npz") == {}
    assert draw_mistakes(tmp_path) is draw_reconstructions(tmp_path) is None


def test_an_old_run_without_values_keeps_its_figures_or_says_what_is_missing(
    tmp_path: Path, drawn: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", epochs=3)
    summary = {"data": {"task": "classification", "input_kind": "image"}}
    write_json(run / "summary.json", summary)
    write_json(run / "mistakes.json", {"wrong": 4})
    (run / "confusion.png").write_bytes(b"of an earlier time")
    assert report_command(run) == 0
    why = "there is no mistakes.npz, which runs of earlier versions did not keep"
    assert capsys.readouterr().err == f"note: mistakes.png cannot be drawn: {why}\n"
    assert (run / "confusion.png").read_bytes() == b"of an earlier time"


@pytest.mark.figures
@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    ("words", "alone", "in_a_sweep"),
    [([], True, False), (["run.figures=all"], True, True), (["run.figures=none"], False, False)],
)
def test_a_run_draws_at_its_end_and_a_job_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], alone: bool, in_a_sweep: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep" / "jobs").mkdir(parents=True)
    (tmp_path / "sweep" / "sweep.yaml").touch()
    for place, draws in ((Path("run"), alone), (Path("sweep/jobs/a"), in_a_sweep)):
        begin(*words, f"run.dir={place}")
        assert sorted(path.name for path in place.glob("*.png")) == (
            ["confusion.png", "curves.png", "mistakes.png"] if draws else []
        )
        log = (place / "train.log").read_text()
        assert (f"figures    dlrun report {place}" in log) != draws
        assert (f"{place}/: curves.png" in log) == draws


def test_the_best_three_and_the_failed_of_a_sweep_are_drawn(tmp_path: Path) -> None:
    comparison = compare([make_sweep(tmp_path / "lrs", ("sgd", "adam"), (0.1, 0.01, 0.001), 2)])
    names = [path.name for path in drawing.chosen(comparison)]
    leaders = [comparison.label(group) for group in comparison.groups[:3]]
    assert leaders == ["adam lr=0.01", "adam lr=0.001", "adam lr=0.1"]
    assert [name.rsplit("-", 1)[0] for name in names] == ["adam-0.01", "adam-0.001", "adam-0.1", "sgd-0.1", "sgd-0.1"]
    config = tmp_path / "lrs" / "jobs" / names[0] / "config.yaml"
    config.write_text(config.read_text().replace("run:\n", "run:\n  figures: none\n"))
    comparison = compare([tmp_path / "lrs"])
    assert [path.name for path in drawing.chosen(comparison)] == names[1:]


@pytest.mark.slow
@pytest.mark.figures
def test_they_are_drawn_in_processes_of_their_own(tmp_path: Path) -> None:
    comparison = compare([make_sweep(tmp_path / "lrs", ("adam",), (0.1, 0.01), 1)])
    figures = drawing.Drawing()
    figures.begin(comparison)
    figures.finish()
    assert len([*tmp_path.glob("lrs/jobs/*/curves.png")]) == 2


def test_a_sweep_takes_one_value_of_the_key() -> None:
    refuse_useless(["run.figures=all"], [])
    with pytest.raises(ConfigError, match=r"run\.figures"):
        refuse_useless([], ["run.figures"])


@pytest.mark.parametrize(("form", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_figures_are_drawn_as_vector_graphics_too(form: str, begins: bytes, tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, make_config() | {"report": {"format": form}}, epochs=3) for name in ("a", "b")]
    for run in runs:
        store_confusion(run, [[1, 1], [1, 1]], ["cat", "dog"])
        draw_figures(run)
    for name in ("curves", "confusion"):
        first, second = ((run / f"{name}.{form}").read_bytes() for run in runs)
        assert first.startswith(begins)
        assert (runs[0] / f"{name}.png").exists()
        assert first == second or name == "curves", "equal figures give equal files"
    if form == "svg":
        assert ">predicted<" in (runs[0] / "confusion.svg").read_text(), "texts stay texts"
    assert RunDir(runs[0]).foreign_files() == []
    forget_figures(runs[0])
    assert not [*runs[0].glob("*.png"), *runs[0].glob(f"*.{form}")]
