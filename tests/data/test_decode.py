"""Every kind of image file that people have becomes the pixels that it means, or is refused with the reason."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlrun.data import images as decoding
from dlrun.data.image_files import scan
from dlrun.data.image_folder import image_folder
from dlrun.data.images import NEEDS_HEIF, decode
from dlrun.errors import ConfigError, DataError

# What stands in the file for each EXIF orientation, so that the upright picture is always the same.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}
UPRIGHT = np.zeros((16, 24, 3), np.uint8)
UPRIGHT[:8, :12] = (250, 20, 20)  # red at the top left
UPRIGHT[8:, 12:] = (20, 20, 250)  # blue at the bottom right


def corners(pixels: torch.Tensor) -> list[str]:
    """The colour at the four corners: top left, top right, bottom left, bottom right."""
    names = {0: "red", 2: "blue"}
    found = [pixels[:, y, x] for y, x in ((2, 2), (2, -3), (-3, 2), (-3, -3))]
    return [names[int(p.argmax())] if int(p.max()) > 128 else "black" for p in found]


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "avif"])
@pytest.mark.parametrize("orientation", STORED)
def test_the_exif_orientation_is_undone(ending: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](UPRIGHT)))
    stored.save(tmp_path / f"a.{ending}", exif=exif)
    pixels = decode(tmp_path / f"a.{ending}", (16, 24), "RGB")
    assert corners(pixels) == ["red", "black", "black", "blue"]


def test_damaged_exif_data_lose_no_image(tmp_path: Path) -> None:
    Image.fromarray(UPRIGHT).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x09\xff\xff")
    assert corners(decode(tmp_path / "a.jpg", (16, 24), "RGB"))[0] == "red"


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    hidden = np.zeros((2, 3, 4), np.uint8)  # black pixels that nobody sees
    hidden[:, 1] = (200, 100, 50, 255)
    hidden[:, 2] = (0, 0, 0, 128)
    for ending in ("png", "webp"):
        Image.fromarray(hidden).save(tmp_path / f"a.{ending}", **({"lossless": True} if ending == "webp" else {}))
        pixels = decode(tmp_path / f"a.{ending}", (2, 3), "RGB")
        assert pixels[:, 0].T.tolist() == [[255, 255, 255], [200, 100, 50], [127, 127, 127]]
    Image.fromarray(hidden[..., [0, 3]]).save(tmp_path / "la.png")
    assert decode(tmp_path / "la.png", (2, 3), "L")[0, 0].tolist() == [255, 200, 127]
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=bytes([0, 255]))
    palette.save(tmp_path / "p.gif", transparency=0)
    for name in ("p.png", "p.gif"):
        assert decode(tmp_path / name, (1, 2), "RGB")[:, 0].T.tolist() == [[255, 255, 255], [200, 100, 50]]
    Image.fromarray(np.array([[7, 90]], np.uint8)).save(tmp_path / "key.png", transparency=7)
    assert decode(tmp_path / "key.png", (1, 2), "L").flatten().tolist() == [255, 90]


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_divided_by_65535(ending: str, tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    path = tmp_path / f"deep.{ending}"
    if ending == "pgm":
        path.write_bytes(b"P5 8 8 65535\n" + deep.astype(">u2").tobytes())
    else:
        Image.fromarray(deep).save(path)
    expected = np.round(deep / 65535 * 255).astype(np.uint8)
    assert np.array_equal(decode(path, (8, 8), "L")[0].numpy(), expected)
    assert np.array_equal(decode(path, (8, 8), "RGB").numpy(), np.stack([expected] * 3))


def test_floats_within_0_to_1_are_taken_and_others_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.25, 1]], np.float32)).save(tmp_path / "f.tif")
    assert decode(tmp_path / "f.tif", (1, 3), "L").flatten().tolist() == [0, 64, 255]
    for values, said in (([[0, 255]], "from 0 to 255"), ([[-1, 1]], "from -1 to 1"), ([[0, np.nan]], "nan")):
        Image.fromarray(np.array(values, np.float32)).save(tmp_path / "f.tif")
        with pytest.raises(DataError, match=rf"f\.tif: cannot be decoded \(float values .*{said}.*, not within 0 to 1"):
            decode(tmp_path / "f.tif", (1, 2), "L")


def test_integers_of_32_bits_are_refused_with_the_reason(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 70_000]], np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(DataError, match=r"i\.tif: .*integers of 32 bits.*nothing says which value is white"):
        decode(tmp_path / "i.tif", (1, 2), "L")


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_is_converted(name: str, tmp_path: Path) -> None:
    Image.fromarray(UPRIGHT).convert("CMYK").save(tmp_path / name)
    assert corners(decode(tmp_path / name, (16, 24), "RGB")) == ["red", "black", "black", "blue"]


NAMES = [
    *("a.gif", "a.webp", "a.avif", "a.jfif", "a.jpe", "a.jp2", "a.tga", "a.bmp", "a.dib", "a.ppm", "a.tiff"),
    *("A.JPG", "A.PNG", "A.TGA", "png without an ending", "a.dat", "a.mpo"),
]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_found_and_decoded(name: str, tmp_path: Path) -> None:
    form = {"jfif": "JPEG", "jpe": "JPEG", "dat": "WEBP"}.get(name.split(".")[-1].lower())
    with io.BytesIO() as file:
        image = Image.fromarray(UPRIGHT)
        image.save(file, format=form or Image.registered_extensions().get(f".{name.split('.')[-1].lower()}", "PNG"))
        content = file.getvalue()
    for label in ("x", "y"):
        (tmp_path / label).mkdir()
        (tmp_path / label / name).write_bytes(content)
    found = scan(tmp_path)
    assert [file.name for file in found.files] == [name, name]
    assert corners(decode(found.files[0], (16, 24), "RGB")) == ["red", "black", "black", "blue"]


def test_of_several_pictures_the_first_is_taken(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (255, 0)]
    for ending in ("gif", "tif", "webp", "png"):
        frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:])
        assert decode(tmp_path / f"a.{ending}", (2, 2), "L").unique().tolist() == [255]


def test_heic_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "find_spec", lambda name: None)
    decoding.reads_heic.cache_clear()
    folder = pictures(tmp_path / "p")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(40)
    (folder / "cat" / "IMG.HEIC").write_bytes(heic)
    found = scan(folder)
    assert found.remarks == [f"1 HEIC images of {folder} are not used. {NEEDS_HEIF}"]
    assert found.notes[1] == f"not used of {folder}: 1 .heic"
    with pytest.raises(DataError, match=r"IMG\.HEIC: cannot be decoded \(.*pip install pillow-heif"):
        decode(folder / "cat" / "IMG.HEIC", (2, 2), "L")
    (folder / "cow").mkdir()
    (folder / "cow" / "IMG.HEIC").write_bytes(heic)
    with pytest.raises(DataError, match=r"class cow is empty: .*Skipped there: 1 \.heic\. Pillow reads HEIC with"):
        scan(folder)
    decoding.reads_heic.cache_clear()


def test_images_that_are_too_large_are_refused_unread(tmp_path: Path) -> None:
    side = 12_000  # 144 megapixels of one bit, in a file of 20 kB
    Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match=r"bomb\.png: .*12000 x 12000 pixels are more than 134,217,728"):
        decode(tmp_path / "bomb.png", (8, 8), "L")
    with pytest.raises(DataError, match=r"cannot be decoded \(is a pipe or a device"):
        decode(Path("/dev/zero"), (8, 8), "L")


# --- folders


def pictures(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 4, start: int = 0) -> Path:
    """Small pictures, each with a grey of its own."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            grey = 10 * (start + number * count + i)
            Image.new("L", (6, 5), grey).save(folder / name / f"{i}.png")
    return folder


def load(path: Path | None = None, **options: Any) -> Any:
    options = {"size": 4, "val_fraction": 0.25, "test_fraction": 0.25} | options
    return image_folder(seed=0, root=Path("unused"), path=None if path is None else str(path), **options)


def test_what_is_no_image_is_counted_and_named(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    (folder / "cat" / "notes.txt").write_text("P6 no picture")
    (folder / "cat" / "more.txt").write_text("no picture")
    (folder / "dog" / "plain").write_text("no picture")
    (folder / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(folder / "dog" / "pipe.png")
    (folder / "labels.csv").write_text("a,b")
    found, skipped = load(folder).notes
    assert found == f"8 images of 2 classes from {folder}"
    counts = "2 .txt, 1 beside the class folders, 1 broken link, 1 pipe or device, 1 without an ending"
    assert skipped == f"not used of {folder}: {counts}"


def test_hidden_folders_and_files_are_no_images(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    shutil.copytree(folder / "cat", folder / "cat" / ".ipynb_checkpoints")
    shutil.copytree(folder / "cat", folder / ".thumbnails")
    shutil.copytree(folder / "cat", folder / "__MACOSX" / "cat")
    (folder / "dog" / "._0.png").write_bytes(b"\0\5\x16\7 no picture")
    data = load(folder)
    assert sum(part.samples for part in data.parts().values()) == 8
    assert data.spec.labels == ("cat", "dog")
    assert data.notes[1] == f"not used of {folder}: 1 hidden .ipynb_checkpoints, 1 hidden file"


def test_links_to_folders_and_files_are_followed(tmp_path: Path) -> None:
    real = pictures(tmp_path / "real")
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "cat").symlink_to(real / "cat")
    (folder / "dog").mkdir()
    (folder / "dog" / "inside").symlink_to(real / "dog")
    (folder / "dog" / "again").symlink_to(folder / "dog")  # a circle
    (folder / "dog" / "one.png").symlink_to(real / "dog" / "0.png")
    found = scan(folder)
    assert found.numbers == [0] * 4 + [1] * 5
    assert load(folder, test_fraction=0, val_fraction=0).train.samples == 9


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "VALID", "Testing")])
def test_a_folder_of_parts_is_those_parts(names: tuple[str, ...], tmp_path: Path) -> None:
    for number, name in enumerate(names):
        pictures(tmp_path / name, count=4 - number, start=8 * number)
    data = load(tmp_path)
    assert {name: part.samples for name, part in data.parts().items()} == {"train": 8, "val": 6, "test": 4}
    assert data.spec.labels == ("cat", "dog")
    assert f"6 images of 2 classes from {tmp_path / names[1]}" in data.notes
    shutil.rmtree(tmp_path / names[1])
    data = load(tmp_path)
    assert {name: part.samples for name, part in data.parts().items()} == {"train": 6, "val": 2, "test": 4}


def test_parts_that_are_unclear_are_not_trained_as_classes(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p", ("train", "test"))
    with pytest.raises(DataError, match=r"p/test should hold a folder .*dataset\.train_path"):
        load(folder)
    shutil.rmtree(folder / "train")
    pictures(folder / "train")
    with pytest.raises(DataError, match=r"test should hold a folder of images for each class, but has none"):
        load(folder)
    pictures(folder / "extra")
    with pytest.raises(DataError, match=r"holds test, train, which are parts and not classes, and also extra"):
        load(folder)
    assert load(pictures(tmp_path / "q", ("train", "bus"))).spec.labels == ("bus", "train")


def test_validation_may_be_a_folder_of_its_own(tmp_path: Path) -> None:
    train, val = pictures(tmp_path / "a", count=6), pictures(tmp_path / "b", count=2, start=1)
    data = load(train_path=str(train), val_path=str(val), test_fraction=0)
    assert {name: part.samples for name, part in data.parts().items()} == {"train": 12, "val": 4}
    assert data.remarks == ("4 of 4 val images (100.0%) are also in train: val is not pure generalization",)
    with pytest.raises(ConfigError, match=r"dataset\.val_path: goes with dataset\.train_path"):
        load(train, val_path=str(val))


def test_twelve_bits_in_sixteen_are_said(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.fromarray(np.full((4, 4), 4000 + i, np.uint16)).save(tmp_path / name / f"{i}.png")
    said = "images of 16 bits are divided by 65,535, but the first 8 reach 4,005 at most: they come out dark"
    assert load(tmp_path).remarks[0].startswith(said)
    Image.fromarray(np.full((4, 4), 60_000, np.uint16)).save(tmp_path / "x" / "0.png")
    assert not any("dark" in remark for remark in load(tmp_path).remarks)


def test_a_class_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p")
    os.rename(os.fsencode(folder / "cat"), os.fsencode(folder) + b"/caf\xe9")
    with pytest.raises(DataError, match=r"the label 'caf\\udce9' is not UTF-8. Rename it"):
        load(folder)


def test_classes_that_differ_in_case_alone_are_said(tmp_path: Path) -> None:
    data = load(pictures(tmp_path, ("Cat", "cat", "dog")), val_fraction=0)
    assert "the labels 'Cat' and 'cat' differ in case or spacing alone, but are classes of their own" in data.remarks


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere is no folder that can be read \(No such file or directory\)"):
        scan(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file is no folder that can be read"):
        scan(tmp_path / "file")
    with pytest.raises(DataError, match=r"is no folder that can be read \(.*embedded null"):
        scan(Path("a\0b"))
