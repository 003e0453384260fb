"""The figures of a run: what is drawn is looked up in the figure itself, and the file is a PNG of a sensible size."""

from __future__ import annotations

import csv
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrun.report import style
from dlrun.report.confusion import shares, store_confusion
from dlrun.report.confusion_table import draw_stored
from dlrun.report.curves import draw_curves, metric_names
from dlrun.report.fits import boundaries, draw_fit
from dlrun.report.mistakes import draw_mistakes, draw_reconstructions, store_mistakes, store_reconstructions
from dlrun.report.tiles import GAP, TILE_INCHES, to_pixels
from tests.helpers.runs_by_hand import make_config, make_run, to_yaml, write_csv


def read_confusion(run: Path) -> tuple[np.ndarray, list[str]]:
    """The counts and the labels in confusion.csv."""
    header, *rows = csv.reader((run / "confusion.csv").read_text().splitlines())
    return np.array([[int(cell) for cell in row[1:]] for row in rows]), header[1:]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that were drawn, in order. They are not rendered: that takes the time."""
    seen: list[Any] = []

    def keep(figure: Any, path: Path) -> Path:
        seen.append(figure)
        return path

    monkeypatch.setattr(style, "save", keep)
    return seen


def lines(axes: Any) -> dict[str, Any]:
    """The named lines of a panel."""
    return {line.get_label(): line for line in axes.get_lines() if not str(line.get_label()).startswith("_")}


def words(figure: Any) -> str:
    """All text of a figure that is no tick."""
    found = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
    for axes in figure.axes:
        found += [axes.get_title(loc="left"), axes.get_title(), *(text.get_text() for text in axes.texts)]
    return "\n".join(found)


def dark_tiles(figure: Any) -> int:
    """How many images of nothing but 0 stand in a figure of tiles."""
    (sheet,) = figure.images
    across, down = style.DPI * TILE_INCHES, int((sheet.get_array() == 0).all(axis=-1).sum())
    return round(down / across**2)


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG file in pixels."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return struct.unpack(">II", head[16:24])  # type: ignore[return-value]


def test_curves_bridge_epochs_that_were_not_evaluated(tmp_path: Path, figures: list[Any]) -> None:
    path = draw_curves(make_run(tmp_path / "run", epochs=20, every=5))
    loss, accuracy, _ = figures[0].axes
    assert list(lines(loss)["validation"].get_xdata()) == [5, 10, 15, 20]
    assert len(lines(loss)["train"].get_xdata()) == 20
    assert accuracy.get_ylabel() == "accuracy"
    assert path == tmp_path / "run" / "curves.png"


def test_curves_mark_the_best_epoch(tmp_path: Path, figures: list[Any]) -> None:
    run = make_run(tmp_path / "run", epochs=12)
    best = json.loads((run / "summary.json").read_text())["best"]
    draw_curves(run)
    loss = figures[0].axes[0]
    assert f"at the best epoch ({best['epoch']})" in words(figures[0])
    assert any(list(line.get_xdata()) == [best["epoch"]] * 2 for line in loss.get_lines())
    (run / "summary.json").unlink()  # found again from metrics.csv
    draw_curves(run)
    assert words(figures[1]) == words(figures[0])


@pytest.mark.parametrize(("final", "scale"), [(1e-4, "log"), (0.5, "linear")])
def test_a_loss_over_many_powers_of_ten_is_drawn_on_a_log_scale(
    tmp_path: Path, figures: list[Any], final: float, scale: str
) -> None:
    rows = [{"epoch": n + 1, "train_loss": final ** (n / 9), "lr": 0.1} for n in range(10)]
    (tmp_path / "run").mkdir()
    write_csv(tmp_path / "run" / "metrics.csv", rows)
    draw_curves(tmp_path / "run")
    assert figures[0].axes[0].get_yscale() == scale


def test_few_epochs_are_drawn_by_step(tmp_path: Path, figures: list[Any]) -> None:
    draw_curves(make_run(tmp_path / "run", epochs=2, steps=60))
    loss, accuracy, rate = figures[0].axes
    assert [axes.get_xlabel() for axes in (loss, accuracy, rate)] == ["step"] * 3
    assert "train, by step (mean)" in lines(loss)
    assert list(lines(loss)["train"].get_xdata()) == [30, 60]


def test_regression_draws_r2_and_a_changing_rate(tmp_path: Path, figures: list[Any]) -> None:
    rows = [
        {"epoch": n, "train_loss": 1 / n, "val_loss": 1 / n, "val_mae": 2 / n, "val_r2": 1 - 1 / n, "lr": 0.1**n}
        for n in range(1, 6)
    ]
    (tmp_path / "run").mkdir()
    write_csv(tmp_path / "run" / "metrics.csv", rows)
    draw_curves(tmp_path / "run")
    assert figures[0].axes[1].get_ylabel() == "r2"
    assert figures[0].axes[2].get_yscale() == "log"
    assert metric_names({"train_loss": [], "val_mae": [], "val_r2": []}) == ["r2", "mae"]


@pytest.mark.parametrize("damage", ["empty", "header", "cut", "nan", "nothing"])
def test_curves_of_damaged_runs_are_drawn_as_far_as_they_go(tmp_path: Path, figures: list[Any], damage: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    text = {
        "empty": "",
        "header": "epoch,train_loss,lr\n",
        "cut": "epoch,train_loss,lr\n1,0.5,0.1\n2,0.25,0.1\n3,0.1",
        "nan": "epoch,train_loss,lr\n1,0.5,0.1\n2,0.25,0.1\n3,nan,0.1\n4,inf,x\n",
    }
    if damage in text:
        (run / "metrics.csv").write_text(text[damage])
        (run / "status.json").write_text("{ this is no json")
        (run / "config.yaml").write_text("model: [")
    draw_curves(run)
    train = lines(figures[0].axes[0]).get("train")
    assert (train is None) == (damage in ("empty", "header", "nothing"))
    if train is not None:
        assert list(train.get_ydata()) == [0.5, 0.25]
    else:
        assert "no loss yet" in words(figures[0])


def test_a_failed_run_says_so_in_its_figure(tmp_path: Path, figures: list[Any]) -> None:
    draw_curves(make_run(tmp_path / "run", state="failed", error="the loss costs $5 and $6"))
    assert r"failed: the loss costs \$5 and \$6" in words(figures[0])


@pytest.mark.parametrize("classes", [2, 10, 18, 100])
def test_confusion_is_readable_for_any_number_of_classes(tmp_path: Path, figures: list[Any], classes: int) -> None:
    matrix = np.eye(classes, dtype=int) * 7
    matrix[0, 1] = 3
    names = [f"class {i}" for i in range(classes)]
    store_confusion(tmp_path, matrix, names)
    draw_stored(tmp_path)
    counts, labels = read_confusion(tmp_path)
    assert (counts == matrix).all()
    assert labels == names
    axes = figures[0].axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == names
    pixels_a_class = axes.get_window_extent().height / classes
    font = axes.get_yticklabels()[0].get_fontsize() * style.DPI / 72
    assert font < pixels_a_class, "the names must not overlap"
    assert font >= 9, "pixels: smaller cannot be read"
    written = {text.get_text() for text in axes.texts}
    assert written == ({"7", "3"} if classes <= 30 else set())
    assert f"{7 * classes} of {7 * classes + 3} right" in words(figures[0])
    assert max(figures[0].get_size_inches()) * style.DPI < 2000


def test_confusion_colours_are_shares_of_the_true_class() -> None:
    found = shares(np.array([[3, 1], [0, 0]]))
    assert found[0].tolist() == [0.75, 0.25]
    assert np.isnan(found[1]).all()


def test_confusion_takes_tensors_and_odd_names(tmp_path: Path) -> None:
    import torch

    store_confusion(tmp_path, torch.tensor([[1, 0], [2, 3]]), ["a, b", "$x_{1}$ $"])
    counts, labels = read_confusion(tmp_path)
    assert counts.tolist() == [[1, 0], [2, 3]]
    assert labels == ["a, b", "$x_{1}$ $"]


def test_a_line_is_drawn_with_its_points(tmp_path: Path, figures: list[Any]) -> None:
    (tmp_path / "fit.csv").write_text("x,y,prediction\n3,6,6.1\n1,2,2.1\n2,4,4.1\n4,,8.1\n")
    assert draw_fit(tmp_path) == tmp_path / "fit.png"
    drawn = lines(figures[0].axes[0])
    assert sorted(drawn["data"].get_xdata()) == [1, 2, 3]
    assert list(drawn["prediction"].get_xdata()) == [1, 2, 3, 4]


def test_a_logistic_curve_has_the_half_line_and_its_boundary(tmp_path: Path, figures: list[Any]) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(make_config()))
    (tmp_path / "fit.csv").write_text("x,y,prediction\n1,0,0.2\n2,0,0.4\n3,1,0.6\n")
    draw_fit(tmp_path)
    drawn = lines(figures[0].axes[0])
    assert list(drawn["0.5"].get_ydata()) == [0.5, 0.5]
    assert "x = 2.5" in words(figures[0])
    assert boundaries([(0, 0.0), (1, 1.0), (2, 0.0)]) == [0.5, 1.5]
    assert boundaries([(0, 0.0), (1, 0.5), (2, 1.0)]) == [1]


@pytest.mark.parametrize("text", [None, "", "x,y\n1,2\n", "x,y,prediction\n"])
def test_without_a_fit_nothing_is_drawn(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "fit.csv").write_text(text)
    assert draw_fit(tmp_path) is None
    assert not (tmp_path / "fit.png").exists()


def test_the_surest_mistakes_come_first(tmp_path: Path, figures: list[Any]) -> None:
    images = np.zeros((5, 1, 8, 8), dtype=np.uint8)
    true, predicted = np.array([0, 1, 2, 0, 1]), np.array([0, 2, 1, 1, 0])
    store_mistakes(tmp_path, images, true, predicted, [0.99, 0.5, 0.9, 0.7, 0.6], ["cat", "dog", "$"], limit=3)
    path = draw_mistakes(tmp_path)
    assert path is not None
    said = [text.get_text() for text in figures[0].texts[:3]]
    assert said == ["said dog (90%)\nis \\$", "said dog (70%)\nis cat", "said cat (60%)\nis dog"]
    assert "4 of 5 wrong" in words(figures[0])
    assert dark_tiles(figures[0]) == 3


def test_no_mistakes_leave_no_figure(tmp_path: Path) -> None:
    (tmp_path / "mistakes.png").write_bytes(b"of an earlier time")
    assert not store_mistakes(tmp_path, np.zeros((2, 1, 4, 4)), [0, 1], [0, 1], [1.0, 1.0])
    assert draw_mistakes(tmp_path) is None
    assert not (tmp_path / "mistakes.png").exists()


def test_reconstructions_stand_below_their_inputs(tmp_path: Path, figures: list[Any]) -> None:
    inputs = np.stack([np.full((3, 4, 4), -1.0), np.full((3, 4, 4), 1.0)])
    store_reconstructions(tmp_path, inputs, inputs * 0.5)
    draw_reconstructions(tmp_path)
    sheet = figures[0].images[0].get_array()
    size, step = style.DPI * TILE_INCHES, style.DPI * TILE_INCHES * (1 + GAP)
    first, top = step - size / 2, len(sheet) - 2 * step + size / 2  # the middle of the first tile
    places = [(round(top + row * step), round(first + column * step)) for row in (0, 1) for column in (0, 1)]
    assert [sheet[place].mean() / 255 for place in places] == pytest.approx([0.0, 1.0, 0.25, 0.75], abs=1 / 255)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pixels_of_any_images(channels: int) -> None:
    bytes_ = np.full((2, channels, 3, 5), 51, dtype=np.uint8)
    assert to_pixels(bytes_).shape == (2, 3, 5, 3)
    assert to_pixels(bytes_) == pytest.approx(0.2)
    assert to_pixels(bytes_ / 255) == pytest.approx(0.2)
    assert to_pixels(np.array([[[[0, 16]]]], dtype=np.uint8), 16)[0, 0, :, 0].tolist() == [0.0, 1.0]


def test_floats_are_scaled_only_if_they_leave_0_to_1() -> None:
    stretched = to_pixels(np.array([[[[-3.0, 5.0, 1.0, np.nan]]]]))
    assert stretched[0, 0, :, 0].tolist() == [0.0, 1.0, 0.5, 0.0]
    kept = to_pixels(np.array([[[0.25, 0.5, np.nan]]]))
    assert kept[0, 0, :, 0].tolist() == [0.25, 0.5, 0.0]


def test_a_figure_is_a_small_png_and_the_same_each_time(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    path = draw_curves(run)
    first = path.read_bytes()
    assert 1000 < size(path)[0] < 1600
    assert len(first) < 150_000
    assert draw_curves(run).read_bytes() == first
    assert not list(run.glob(".curves*")), "no temporary file is left"


def test_plain_text_and_scales() -> None:
    assert style.plain("a\nb $c$", 20) == r"a b \$c\$"
    assert len(style.plain("x" * 500, 30)) == 30
    assert style.prefers_log([1, 2, 100])
    assert not style.prefers_log([0, 2, 100])
    assert style.running_mean([1, 2, 3, 4], 3) == [1.5, 2, 3, 3.5]
    assert style.finite_points([1, 2, 3], [1, float("nan"), 3]) == ([1, 3], [1, 3])


def test_a_figure_is_drawn_once_and_equal_figures_give_equal_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    drawn, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, renderer: (drawn.append(self), draw(self, renderer))[1])
    run = make_run(tmp_path / "run", epochs=4)
    first = draw_curves(run).read_bytes()
    assert len(drawn) == 1
    assert draw_curves(run).read_bytes() == first
    assert first[25] == 2, "the kind of pixels in a PNG's header: 2 is RGB"
