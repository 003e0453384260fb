"""`dlrun show`: what is printed, what is drawn, and that only the data matter."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dlrun.assembly.assemble import build_data
from dlrun.checks.show import ShownRows, captions, describe_data, draw_rows, image_layers, listing, show_command
from dlrun.cli import main
from dlrun.config.compose import compose
from dlrun.data.base import Data, Split
from dlrun.errors import ConfigError
from dlrun.report import style
from dlrun.spec import DataSpec


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and no data root of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "data"))
    return tmp_path


def png_size(path: Path) -> tuple[int, int]:
    """Width and height from the header."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def data_of(*words: str) -> Data:
    return build_data(compose(words, search_cwd=False))


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["show", *words]) == 0
    return capsys.readouterr().out


def test_images_become_a_file_that_is_named(folder: Path, mnist_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "dataset=mnist", f"dataset.root={mnist_root}", "--count", "6")
    path = folder / "outputs" / "show" / "mnist.png"
    assert "The first 6 of test: outputs/show/mnist.png" in out
    assert "900 train, 100 val, 200 test" in out
    width, height = png_size(path)
    assert width > height  # two lines of three


def test_the_first_six_are_two_by_three_with_their_labels(mnist_root: Path) -> None:
    """Grey images, the test part in file order, "Ground Truth: n"."""
    data = data_of("dataset=mnist", f"dataset.root={mnist_root}")
    assert data.test is not None
    rows = ShownRows(data.test, 6)
    digits = data.test.target[:6].tolist()
    assert captions(data.spec, rows) == [f"Ground Truth: {digit}" for digit in digits]
    (layer,) = image_layers(data.spec, rows)
    assert layer.shape == (6, 28, 28, 3)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (6, 3), (20, 6), (100, 8)])
def test_each_image_stands_under_its_caption(
    count: int, columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    save = style.save
    monkeypatch.setattr(style, "save", lambda figure, path: (drawn.append(figure), save(figure, path))[1])
    spec = DataSpec("d", "classification", "image", (1, 4, 4), 2, labels=("cat", "dog"))
    images, target = torch.zeros(count, 1, 4, 4, dtype=torch.uint8), torch.arange(count) % 2
    draw_rows(tmp_path / "b.png", spec, ShownRows(Split((images,), target), count))
    texts = [text for text in drawn[0].texts if text.get_text().startswith("Ground Truth")]
    assert [text.get_text() for text in texts][:2] == ["Ground Truth: cat", "Ground Truth: dog"][:count]
    boxes = [text.get_window_extent() for text in texts]
    assert len(texts) == count
    assert len({round(box.x0 + box.x1) for box in boxes}) == columns
    sheet = drawn[0].images[0].get_array()[::-1]  # from below, as the boxes are measured
    for box in boxes:
        middle = round((box.x0 + box.x1) / 2)
        assert not sheet[round(box.y0) - 10, middle].any(), "the image, which is black"
        assert sheet[round(box.y0) + 2 : round(box.y1), middle].all(), "nothing under the caption"


def test_several_inputs_and_a_map_of_classes_are_side_by_side() -> None:
    data = data_of("dataset=scenes", "model=fusion")
    rows = ShownRows(data.train, 3)
    layers = image_layers(data.spec, rows)
    assert len(layers) == 3
    assert all(layer.shape == (3, 16, 16, 3) and layer.max() <= 1 for layer in layers)


def test_names_print_with_their_country_and_no_padding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "dataset=names", "dataset.source=builtin", "--count", "3", "--output", "names.txt")
    data = data_of("dataset=names", "dataset.source=builtin", "model=gru")
    assert data.test is not None
    lines = out[out.index("3 of test, over all classes:") :].splitlines()
    assert lines[2].split() == ["text", "target"]
    countries = list(dict.fromkeys(data.spec.labels[number] for number in data.test.target.tolist()))[:3]
    assert [line.split()[-1] for line in lines[3:6]] == countries
    assert "\0" not in out
    polish = next(line for line in out.splitlines() if line.startswith("Polish"))
    number = data.spec.labels.index("Polish")
    counts = [int((part.target == number).sum()) for part in data.parts().values()]
    assert polish.split()[1:] == [str(count) for count in counts]
    assert (folder / "names.txt").read_text(encoding="utf-8").startswith("3 of test, over all classes:")


def test_a_sequence_of_labels_reads_as_a_word() -> None:
    data = data_of("dataset=hello", "model=gru")
    assert listing(data.spec, ShownRows(data.train, 1))[1].split() == ["hello", "ohlol"]


def test_tables_print_the_first_features(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "dataset=wine", "--count", "2")
    assert "alcohol" in out
    assert "(5 more)" in out
    last = out.splitlines()[-1].split()
    assert len(last) == 9
    assert last[-1].startswith("class_")
    assert not (folder / "outputs").exists()


def test_labels_and_numbers() -> None:
    tags = data_of("dataset=tags")
    lines = listing(tags.spec, ShownRows(tags.train, 5))
    for line, target in zip(lines[1:], tags.train.target[:5], strict=True):
        names = [tags.spec.labels[k] for k in range(len(target)) if target[k] == 1]
        assert line.endswith(", ".join(names) or "none")
    line = data_of("dataset=line")
    rows = [text.split() for text in listing(line.spec, ShownRows(line.train, 3))[1:]]
    assert rows == [["1", "2"], ["2", "4"], ["3", "6"]]
    assert describe_data(line)[-1].split() == ["y", "4", "1.633", "2", "6"]


def test_many_classes_are_cut_short() -> None:
    labels = tuple(f"c{i}" for i in range(100))
    spec = DataSpec("many", "classification", "tabular", (1,), 100, labels=labels)
    lines = describe_data(Data(spec, Split((torch.zeros(100, 1),), torch.arange(100))))
    assert lines[-2].split() == ["c29", "1"]
    assert lines[-1] == "..."


class OnDisk:
    """A map-style data set of two grey images."""

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return torch.full((1, 4, 4), float(row)), row + 5


def test_rows_on_disk_are_read() -> None:
    rows = ShownRows(Split((), torch.tensor([5, 6]), OnDisk()), 2)  # type: ignore[arg-type]
    assert rows.inputs[0].shape == (2, 1, 4, 4)
    assert rows.target.tolist() == [5, 6]


def test_only_the_data_matter(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The default model takes no text: for a look at it that is no error; a misspelt key is."""
    assert main(["show", "dataset=hello"]) == 0
    assert main(["show", "dataset=hello", "model=mlpp"]) == 2
    assert main(["show", "dataset=hello", "optimizer.lrr=1"]) == 2
    error = capsys.readouterr().err
    assert "mlpp" in error
    assert "optimizer.lrr" in error


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(ConfigError, match="--count"):
        show_command(compose([], search_cwd=False), count=0, output=None)


def test_names_are_shown_over_all_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is sorted by country would show one country alone."""
    rows = [f"{letter}{i},{country}" for country in ("Here", "There", "Where") for i, letter in enumerate("abcdef")]
    (folder / "a.csv").write_text("\n".join(rows))
    words = ["dataset=names", "model=gru", f"dataset.train_path={folder}/a.csv", "dataset.test_fraction=0"]
    out = shown(capsys, *words, "dataset.val_fraction=0", "--count", "6")
    listed = out.partition("6 of train, over all classes:")[2].split("\n")[3:]
    assert [line.split()[-1] for line in listed if line] == ["Here"] * 2 + ["There"] * 2 + ["Where"] * 2


def test_many_samples_of_several_images_are_no_tower(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown(capsys, "dataset=scenes", "model=fusion", "--count", "20")
    with Image.open(folder / "outputs" / "show" / "scenes.png") as image:
        assert 0.75 < image.width / image.height < 2
