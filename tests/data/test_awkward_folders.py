"""A hundred awkward folders of images: a run of one step, or one error that names the file, within time and memory."""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.helpers.limited import some, trains_or_is_refused

TRAIN = [
    "device=cpu",
    "model=cnn",
    "model.channels=[4]",
    "trainer=smoke",
    "trainer.max_steps=1",
    "trainer.batch_size=4",
]
TRAIN = [*TRAIN, "dataset=image_folder", "dataset.size=8"]
Make = Callable[[Path], object]

pytestmark = pytest.mark.usefixtures("quick")


def sound(folder: Path, count: int = 10) -> None:
    """Two classes of plain images."""
    for number, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (12, 10), (200 * number, 20 * i, 0)).save(folder / name / f"{i}.png")


def pixels(mode: str = "RGB", size: tuple[int, int] = (12, 10)) -> Image.Image:
    """Noise, the same each time."""
    return Image.frombytes("RGB", size, random.Random(0).randbytes(size[0] * size[1] * 3)).convert(mode)


def png(width: int, height: int, data: bytes = b"", *extra: bytes) -> bytes:
    """A PNG of these parts, with sound checksums."""
    parts = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), *extra, b"IDAT" + data, b"IEND"]
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def saved(image: Image.Image, ending: str, **options: object) -> Callable[[Path], object]:
    """Another image in the class dog."""
    return lambda folder: image.save(folder / f"dog/odd{ending}", **options)


def written(data: bytes, name: str = "odd.png") -> Callable[[Path], object]:
    """Another file in the class dog."""
    return lambda folder: (folder / "dog" / name).write_bytes(data)


def cut(ending: str, share: float) -> Callable[[Path], object]:
    """A file that ends early."""

    def make(folder: Path) -> None:
        path = folder / f"dog/odd{ending}"
        pixels(size=(64, 64)).save(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return make


def deep(folder: Path) -> None:
    """An image fifty folders down."""
    inside = folder / "dog" / "/".join(["in"] * 50)
    inside.mkdir(parents=True)
    pixels().save(inside / "odd.png")


def gray(values: list[float], kind: str) -> Image.Image:
    return Image.fromarray(np.array(values * 50, kind).reshape(10, -1))


def animated(folder: Path) -> None:
    pixels().save(folder / "dog/odd.gif", save_all=True, append_images=[pixels("L")] * 20)


def emptied(folder: Path) -> None:
    for path in (folder / "dog").iterdir():
        path.unlink()


def odd_text(folder: Path) -> None:
    """A PNG with a text that unpacks to 100 MiB."""
    packed = b"zTXtk\0\0" + zlib.compress(bytes(100 << 20))
    (folder / "dog/odd.png").write_bytes(png(2, 2, zlib.compress(bytes(14)), packed))


EXIF = b"Exif\0\0MM\0*\xff\xff\xff\xff"
INFO = PngImagePlugin.PngInfo()
INFO.add_text("Title", "\x1b[2J" * 9)
NOT_UTF_8 = os.fsdecode(b"d\xf6g")
# What is changed in a folder of two classes, and what the error says; "" where it can be trained.
KINDS: dict[str, tuple[Make, str]] = {
    "sound": (lambda folder: None, ""),
    "an empty file": (written(b""), "odd.png"),
    "a text": (written(b"no image"), "odd.png"),
    "a page": (written(b"<!DOCTYPE html><html>404</html>", "odd.jpg"), "odd.jpg"),
    "noise": (written(random.Random(0).randbytes(5000)), "odd.png"),
    "zeros": (written(bytes(5000), "odd.jpg"), "odd.jpg"),
    "a cut PNG": (cut(".png", 0.5), "odd.png"),
    "a cut JPEG": (cut(".jpg", 0.5), "odd.jpg"),
    "a cut TIFF": (cut(".tif", 0.7), "odd.tif"),
    "a cut GIF": (cut(".gif", 0.9), "odd.gif"),
    "a cut BMP": (cut(".bmp", 0.5), "odd.bmp"),
    "the first bytes": (cut(".webp", 0.01), "odd.webp"),
    "a bomb": (written(png(60_000, 60_000, zlib.compress(bytes(1000)))), "odd.png"),
    "a wide bomb": (written(png(2**31 - 1, 1, zlib.compress(bytes(1000)))), "odd.png"),
    "a large image of nothing": (written(png(10_000, 10_000, zlib.compress(bytes(1000)))), "odd.png"),
    "no pixels": (written(png(0, 0)), "odd.png"),
    "a text bomb": (odd_text, "odd.png"),
    "a damaged checksum": (written(png(2, 2, zlib.compress(bytes(14))).replace(b"IEND", b"IENE")), ""),
    "one pixel": (saved(pixels(size=(1, 1)), ".png"), ""),
    "a line of pixels": (saved(pixels(size=(1, 3000)), ".png"), ""),
    "a large photograph": (saved(Image.new("RGB", (6000, 4000)), ".png"), ""),
    "another ending": (saved(pixels(), ".jpg", format="PNG"), ""),
    "no ending": (saved(pixels(), "", format="PNG"), ""),
    "capitals": (saved(pixels(), ".PNG"), ""),
    "a GIF of many": (animated, ""),
    "CMYK": (saved(pixels("CMYK"), ".jpg"), ""),
    "gray with alpha": (saved(pixels("LA"), ".png"), ""),
    "a palette": (saved(pixels("P"), ".png", transparency=0), ""),
    "one bit": (saved(pixels("1"), ".png"), ""),
    "YCbCr": (saved(pixels("YCbCr"), ".tif"), ""),
    "16 bits": (saved(gray([0, 65535], "uint16"), ".png"), ""),
    "floats": (saved(gray([0, 0.5], "float32"), ".tif"), ""),
    "floats beyond 1": (saved(gray([0, 900], "float32"), ".tif"), "odd.tif"),
    "floats that are none": (saved(gray([0, np.nan], "float32"), ".tif"), "odd.tif"),
    "integers of 32 bits": (saved(gray([0, 900], "int32"), ".tif"), "odd.tif"),
    "damaged EXIF": (saved(pixels(), ".jpg", exif=EXIF), ""),
    "control characters in a text": (saved(pixels(), ".png", pnginfo=INFO), ""),
    "PostScript": (written(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "odd.png"),
    "a drawing": (written(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "odd.svg"), ""),
    "an array": (written(b"\x93NUMPY", "odd.npy"), ""),
    "notes beside": (lambda folder: (folder / "labels.csv").write_text("0.png,cat\n"), ""),
    "a long name": (written(b"", "x" * 250 + ".png"), "x.png"),
    "control characters in a name": (written(b"", "odd\x1b[2J.png"), "odd\\x1b[2J.png"),
    "line ends in a name": (written(b"", "odd\n.png"), ".png"),
    "a pipe": (lambda folder: os.mkfifo(folder / "dog/odd.png"), ""),
    "a folder like an image": (lambda folder: (folder / "dog/odd.png").mkdir(), ""),
    "a link to nothing": (lambda folder: (folder / "dog/odd.png").symlink_to("nothing"), ""),
    "a link to a class": (lambda folder: (folder / "wolf").symlink_to(folder / "dog"), ""),
    "links in a circle": (lambda folder: (folder / "dog/in").symlink_to(folder.absolute() / "dog"), ""),
    "fifty folders": (deep, ""),
    "an empty class": (emptied, "class dog is empty"),
    "a class without images": (lambda folder: (folder / "owl").mkdir(), "class owl is empty"),
    "one class": (lambda folder: (folder / "dog").rename(folder / ".dog"), "but has only cat"),
    "hidden folders": (lambda folder: (folder / "dog/.ipynb_checkpoints").mkdir(), ""),
    "a name in other letters": (lambda folder: (folder / "dog").rename(folder / "собака 犬 😀"), ""),
    "control characters in a class": (lambda folder: (folder / "dog").rename(folder / "dog\x1b[2J"), ""),
    "a class that is not UTF-8": (lambda folder: (folder / "dog").rename(folder / NOT_UTF_8), "UTF-8"),
    "parts beside a class": (
        lambda folder: [sound(folder / part) for part in ("train", "test")],
        "which are parts and not classes",
    ),
    "one image": (
        lambda folder: [path.unlink() for path in (folder / "dog").glob("[1-9]*")],
        "there is only one row in dog",
    ),
    "many classes": (lambda folder: [sound(folder / f"{i}", 5) for i in range(150)], ""),
}
VARIATIONS = {
    "path": ["dataset.path=images"],
    "on disk": ["dataset.path=images", "dataset.in_memory=false"],
    "gray": ["dataset.path=images", "dataset.color=grey", "model.channels=[2]"],
}


@pytest.mark.parametrize(("kind", "variation"), some([(kind, each) for kind in KINDS for each in VARIATIONS], 23))
def test_a_folder_of_images(kind: str, variation: str) -> None:
    change, message = KINDS[kind]
    sound(Path("images"))
    change(Path("images"))
    trains_or_is_refused([*TRAIN, *VARIATIONS[variation]], message, r"images|dataset\.test_fraction|the label")


@pytest.mark.parametrize(
    "make", [lambda path: None, Path.touch, Path.mkdir, os.mkfifo], ids=["none", "file", "empty", "pipe"]
)
def test_no_folder_of_classes(make: Make) -> None:
    make(Path("images"))
    trains_or_is_refused([*TRAIN, "dataset.path=images"], "should hold a folder of images for each class", "images")
