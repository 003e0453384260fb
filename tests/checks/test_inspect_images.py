"""`dlrun inspect` on folders of images: sizes, modes, broken ones, balance, images that are there twice."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlrun.checks import inspect_images
from dlrun.cli import main
from dlrun.config.compose import compose


def draw(path: Path, seed: int, size: tuple[int, int] = (12, 10), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert("L").convert(mode).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five cats, two dogs; a cat as PNG is there again as BMP and in RGB, and one among the dogs."""
    for i in range(3):
        draw(tmp_path / f"cat/{i}.png", i)
    draw(tmp_path / "cat/again.bmp", 0)
    draw(tmp_path / "cat/color.png", 0, mode="RGB")
    draw(tmp_path / "dog/1.png", 7)
    draw(tmp_path / "dog/2.png", 2)
    return tmp_path


def found(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["inspect", *words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_sizes_modes_balance_and_duplicates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = found(capsys, str(folder))
    part = facts["parts"]["train"]
    assert (part["images"], part["classes"]) == (7, {"cat": 5, "dog": 2})
    assert (part["sizes"], part["modes"]) == ({"12x10": 7}, {"L": 6, "RGB": 1})
    assert part["formats"] == {"PNG": 6, "BMP": 1}
    assert (part["duplicates"], facts["two_classes"], part["broken"]) == (3, 1, [])
    assert compose(shlex.split(facts["command"])[1:], search_cwd=False).section("dataset")["size"] == [10, 12]
    assert "color" not in facts["command"]


def test_on_the_screen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"7 images of 2 classes from {folder}\n" in out
    assert "cat       5  71.4%" in out
    assert "remark: 3 images (42.9%) repeat the pixels of another\n" in out
    assert "remark: in two classes: 1 picture\n" in out
    assert f"dlrun model=cnn dataset=image_folder dataset.path={folder} " in out


def test_a_shape_is_part_of_the_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, size in (("a/1.png", (4, 9)), ("a/2.png", (9, 4)), ("b/1.png", (6, 6))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", size, 5).save(tmp_path / name)
    assert found(capsys, str(tmp_path))["parts"]["train"]["duplicates"] == 0


def test_broken_images_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "dog/bad.png").write_bytes(b"no image")
    whole = (folder / "cat/color.png").read_bytes()
    (folder / "cat/short.png").write_bytes(whole[: len(whole) // 2])
    facts = found(capsys, str(folder))
    broken = facts["parts"]["train"]["broken"]
    assert sorted(Path(text.split(" (")[0]).name for text in broken) == ["bad.png", "short.png"]
    assert any(line.startswith("cannot be decoded") and "2 images" in line for line in facts["remarks"])


def test_images_of_test_that_are_in_train(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "parts"
    for part, seeds in (("train", range(4)), ("val", [4, 5]), ("test", [1, 9])):
        for seed in seeds:
            draw(root / part / f"{'ab'[seed % 2]}/{seed}.{'bmp' if part == 'test' else 'png'}", seed)
    for part in ("val", "test"):
        draw(root / part / "a/x.png", 50 + len(part))
    facts = found(capsys, str(root))
    assert facts["in_both"] == {"train and val": 0, "train and test": 1, "val and test": 0}
    assert "in train and test: 1 image" in facts["remarks"]
    assert facts["parts"]["test"]["images"] == 3
    assert facts["command"].endswith("dataset.color=grey")


def test_what_is_not_looked_at_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(inspect_images, "MOST_PIXELS", 360)
    assert "of 7 images, the headers of 7 and the pixels of 3 were looked at" in found(capsys, str(folder))["remarks"]
    monkeypatch.setattr(inspect_images, "CHECKED", 4)
    assert "of 7 images, the headers of 4 and the pixels of 3 were looked at" in found(capsys, str(folder))["remarks"]


@pytest.mark.parametrize("names", [["cat/1.png"], ["cat/1.png", "dog/x.txt"], ["1.png", "2.png"]])
def test_folders_that_are_no_data_set_are_one_error(
    names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in names:
        draw(tmp_path / name.replace(".txt", ".png"), 1)
        if name.endswith(".txt"):
            (tmp_path / name.replace(".txt", ".png")).rename(tmp_path / name)
            (tmp_path / name).write_text("no image")
    assert main(["inspect", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error:\n  image_folder: ")
