"""One image file becomes pixels: the only place that decodes, so that training and prediction see the same.

What a file means is decided here by stated rules:

    orientation     as the EXIF data say
    transparency    laid on white
    palettes, CMYK  converted to RGB; of a GIF, WebP or TIFF of several images the first
    16 bits         divided by 65,535 (12-bit data in them come out dark: `darkness` says so)
    float           between 0 and 1, anything else is refused
    32-bit integers refused: nothing says which value is white

HEIC needs the package pillow-heif. Formats that run other programs (EPS) or that are no images are not opened.
torch is imported where a tensor is made, for `dlrun inspect` does without.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dlrun.data.files import open_data_file
from dlrun.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
HEIC_ENDINGS = (".heic", ".heif", ".hif")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
NEEDS_HEIF = "Pillow reads HEIC with the package pillow-heif: pip install pillow-heif"
WHITE = (255, 255, 255)
DEEP = 65535.0  # the white of 16 bits
DARK = 2**14  # 16-bit values that all lie below are said: 12 or 14 bits in 16
MOST_PIXELS = 2**27  # of one file; a photograph of 108 megapixels fits, a bomb of some kilobytes does not
TURNED = {  # EXIF orientation to what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(file: Path, size: tuple[int, int], mode: str) -> Tensor:
    """One image as (C, H, W) uint8, of `size` (height, width), PIL `mode` RGB or L. Raises `DataError` naming it."""
    import torch

    with open_image(file) as image:
        picture = pixels_of(image, mode).resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.array(picture)
    if picture.mode == "F":
        pixels = pixels.round().clip(0, 255).astype(np.uint8)
        pixels = pixels if mode == "L" else np.stack([pixels] * 3, axis=-1)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())


@contextmanager
def open_image(file: Path) -> Iterator[Image.Image]:
    """The image, its header read. What fails inside raises `DataError` with the file's name; warnings are not shown."""
    try:
        with open_data_file(file) as source, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on odd headers and large images
            head = source.read(12)
            source.seek(0)
            with Image.open(source, formats=_formats(head, file.suffix.lower())) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels are more than {MOST_PIXELS:,}")
                if _is_integer(image):
                    raise ValueError(
                        "integers of 32 bits or with a sign: nothing says which value is white; save 8 or 16 bits"
                    )
                yield image
    except Exception as error:  # whatever a damaged file makes Pillow stumble over
        raise DataError(f"{file}: cannot be decoded ({_reason(error, file)}). Remove or replace it.") from error


@cache
def reads_heic() -> bool:
    """Is pillow-heif there? Then Pillow is told of it."""
    if find_spec("pillow_heif") is None:
        return False
    import_module("pillow_heif").register_heif_opener()
    return True


def darkness(files: Sequence[Path]) -> list[str]:
    """A note where images of 16 bits use a small part of them only. Raises `DataError` as `decode` does."""
    deep, most = 0, 0.0
    for file in files:
        with open_image(file) as image:
            if _is_deep(image):
                deep, most = deep + 1, max(most, float(np.asarray(image).max(initial=0)))
            elif image.mode == "F":
                _float_values(image)
    if not deep or most >= DARK:
        return []
    return [
        f"images of 16 bits are divided by 65,535, but the first {deep} reach {most:,.0f} at most: they come out dark. "
        "If they hold 12 bits, multiply them by 16"
    ]


def needs_look(image: Image.Image) -> bool:
    """Can its header alone not tell whether `darkness` has something to say?"""
    return _is_deep(image) or image.mode == "F"


def _formats(head: bytes, suffix: str) -> tuple[str, ...]:
    """What the content may be. TGA files have no mark of their own, so they are known by their name."""
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        if not reads_heic():
            raise ValueError(NEEDS_HEIF)
        return ("HEIF",)
    return (*FORMATS, "TGA") if suffix == ".tga" else FORMATS


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG"))


def _is_integer(image: Image.Image) -> bool:
    return image.mode.startswith("I") and not _is_deep(image)


def pixels_of(image: Image.Image, mode: str) -> Image.Image:
    """The whole image, upright, in `mode`; deep and float ones as grey floats from 0 to 255."""
    image.load()
    if _is_deep(image):
        ready = Image.fromarray(np.asarray(image).astype(np.float32) * (255 / DEEP))
    elif image.mode == "F":
        ready = Image.fromarray(_float_values(image) * 255)
    else:
        ready = _opaque(image).convert(mode)
    turn = TURNED.get(_orientation(image))
    return ready if turn is None else ready.transpose(turn)


def _float_values(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # true for NaN, too
        raise ValueError(f"float values from {low:g} to {high:g}, not within 0 to 1")
    return values


def _opaque(image: Image.Image) -> Image.Image:
    """Laid on white where it has an alpha channel, a palette with alpha, or one transparent color."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    ground = Image.new("RGB", image.size, WHITE)
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, after loading (TIFF is turned then); 1 where the data are damaged."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # no reason to lose the image
        return 1


def _reason(error: Exception, file: Path) -> str:
    text = str(error).removeprefix(f"{file}: ").split(" <")[0]
    return text.rstrip(". ") or type(error).__name__
