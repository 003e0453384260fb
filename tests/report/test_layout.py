"""What figures look like once they are laid out: no text is cut, no legend hides a curve, no panel stays empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlrun.report import style
from dlrun.report.compare import compare
from dlrun.report.confusion import draw_confusion
from dlrun.report.curves import draw_curves
from dlrun.report.fits import draw_fit
from dlrun.report.layout import lay_out
from dlrun.report.mistakes import draw_mistakes, store_mistakes
from tests.helpers.runs_by_hand import make_config, make_run, make_sweep, write_csv

LONG = [f"Very long class name number {number} of the twenty" for number in range(20)]


def one_epoch(place: Path) -> None:
    draw_curves(make_run(place / "run", epochs=1, steps=30))


def failed_with_many_words(place: Path) -> None:
    draw_curves(make_run(place / "run", state="failed", error="WIDE WORDS OF AN ERROR " * 9))


def line(place: Path) -> None:
    (place / "fit.csv").write_text("x,y,prediction\n0,9,9\n1,5,5\n2,1,1\n0,1,\n2,9,\n1,1,\n1,9,\n")
    draw_fit(place)


def eight_optimizers(place: Path) -> None:
    for number, name in enumerate(("sgd", "momentum", "rmsprop", "adam") * 2):
        config = make_config(optimizer=name)
        config["optimizer"]["name"] = label = f"{name}_with_a_name_that_is_long_{number}"
        make_run(place / "runs" / label, config, floor=0.1 * (number + 1), steps=60, overrides=[f"optimizer={label}"])
    compare([place / "runs"], place / "out")


def rates_and_optimizers(place: Path) -> None:
    compare([make_sweep(place / "lrs", ("sgd", "adam"), (0.1, 0.01, 0.001), 2)], place / "out")


def long_settings(place: Path) -> None:
    for middle in (7, 8):
        widths = [1024, 512, 256, 128, 64, 32, 16, middle, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
        make_run(place / "runs" / str(middle), make_config(model__hidden=widths, trainer__batch_size=middle), epochs=1)
    compare([place / "runs"], place / "out")


def five_long_classes(place: Path) -> None:
    draw_confusion(place / "confusion.png", np.full((5, 5), 1000).tolist(), LONG[:5])


def twenty_long_classes(place: Path) -> None:
    draw_confusion(place / "confusion.png", np.full((20, 20), 3).tolist(), LONG)


def mistakes_of_wide_names(place: Path) -> None:
    names = ["W" * 12, "M" * 12]
    store_mistakes(place, np.zeros((40, 1, 8, 8)), np.arange(40) % 2, (np.arange(40) + 1) % 2, np.ones(40), names)
    draw_mistakes(place)


FIGURES = (
    one_epoch, failed_with_many_words, line, eight_optimizers, rates_and_optimizers, long_settings, five_long_classes,
    twenty_long_classes, mistakes_of_wide_names,
)  # fmt: skip


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_nothing_is_cut_hidden_or_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Callable[[Path], None]
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(style, "save", lambda figure, path: (seen.append(figure), path)[1])
    draw(tmp_path)
    figure = seen[-1]
    lay_out(figure)
    figure.draw_without_rendering()
    frame = figure.bbox
    for text in texts(figure):
        box = text.get_window_extent()
        assert frame.x0 - 1 <= box.x0 <= box.x1 <= frame.x1 + 1, text.get_text()
        assert frame.y0 - 1 <= box.y0 <= box.y1 <= frame.y1 + 1, text.get_text()
    for legend in [*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))]:
        assert not any(legend.get_window_extent().padded(-2).overlaps(axes.bbox) for axes in figure.axes)
    for axes in figure.axes:
        ticks = [label.get_text() for label in axes.get_yticklabels()]
        assert len(set(ticks)) == len(ticks), "two rows have one name"
        whole = axes.get_xlabel() in ("epoch", "step", "Steps")
        assert not whole or all("." not in label.get_text() for label in axes.get_xticklabels())
        assert axes.axison or axes.texts, "an empty panel"


def texts(figure: Any) -> list[Any]:
    """All visible text with words in it; ticks outside their axis are not drawn."""
    found = [*figure.texts, *([figure._suptitle] if figure._suptitle else [])]
    for axes in figure.axes:
        found += (
            [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
            if axes.axison
            else axes.texts
        )
        found += [
            label
            for label in axes.get_yticklabels()
            if axes.axison and axes.yaxis.get_major_locator().__class__.__name__ == "FixedLocator"
        ]
    for legend in [*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))]:
        found += legend.get_texts()
    return [text for text in found if text.get_text().strip()]


def test_captions_do_not_run_into_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(style, "save", lambda figure, path: (seen.append(figure), path)[1])
    mistakes_of_wide_names(tmp_path)
    first, second, *_ = (text.get_window_extent() for text in seen[0].texts)
    assert first.x1 < second.x0


def test_names_that_shortening_makes_the_same_are_numbered() -> None:
    assert style.told_apart(["cat", "dog"], 8) == ["cat", "dog"]
    short = style.told_apart(LONG, 16)
    assert len(set(short)) == 20
    assert short[7].startswith("7 Very")
    assert max(map(len, short)) == 16


def test_a_swept_list_is_labelled_with_its_key(tmp_path: Path) -> None:
    for widths in ([8, 8], [16]):
        words = [f"model.hidden={widths}".replace(" ", "")]
        make_run(tmp_path / "runs" / str(len(widths)), make_config(model__hidden=widths), overrides=words)
    comparison = compare([tmp_path / "runs"])
    assert {comparison.label(group) for group in comparison.groups} == {"hidden=[8,8]", "hidden=[16]"}


def test_a_title_stands_above_the_power_of_ten_of_an_axis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(style, "save", lambda figure, path: (seen.append(figure), path)[1])
    write_csv(tmp_path / "metrics.csv", [{"epoch": n, "train_loss": 3e9 / n, "lr": 0.1} for n in range(1, 6)])
    draw_curves(tmp_path)
    lay_out(seen[0])
    seen[0].draw_without_rendering()
    power, title = seen[0].axes[0].yaxis.get_offset_text(), seen[0].axes[0]._left_title
    assert power.get_text() == "1e9"
    assert not power.get_window_extent().overlaps(title.get_window_extent())
