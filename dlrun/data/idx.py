"""The IDX format of MNIST and its relatives, read with numpy.

Big-endian: two zero bytes, the type (0x08 = unsigned byte), the number of dimensions, an int32 for each,
then the values (http://yann.lecun.com/exdb/mnist/, "the IDX file format"). Compressed files (.gz) are read
as well.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from hashlib import md5 as new_md5
from pathlib import Path

import numpy as np

from dlrun.data.files import open_data_file
from dlrun.errors import DataError

UNSIGNED_BYTE = 0x08
CHUNK = 1 << 24  # bytes unpacked at a time


def read_idx(path: Path, dimensions: int, known: tuple[int, str] | None = None) -> np.ndarray:
    """The uint8 values of the file, in the shape that its header tells.

    The header is always held against the length of the file. `known` is the length in bytes and the MD5 of
    the original, uncompressed: a file of that length must be it. Raises `DataError` naming the file.
    """
    try:
        with open_data_file(path) as file:
            if path.suffix == ".gz":
                shape, content = _unpack(gzip.GzipFile(fileobj=file), path, dimensions)
            else:
                shape = _header(file.read(4 + 4 * dimensions), path, dimensions)
                _check_size(path, shape, path.stat().st_size)
                content = np.fromfile(path, np.uint8)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}). Delete it to download it again.") from error
    if known is not None and content.size == known[0]:
        found = new_md5(content.data, usedforsecurity=False).hexdigest()
        if found != known[1]:
            raise DataError(
                f"{path}: damaged, or not the original: its MD5 is {found} instead of {known[1]}. "
                "Delete it to download it again."
            )
    return content[4 + 4 * dimensions :].reshape(shape)


def _header(head: bytes, path: Path, dimensions: int) -> tuple[int, ...]:
    """The shape that the header announces."""
    wanted = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if head[:4] != wanted:
        found = head[:4].hex(" ") or "nothing"
        raise DataError(f"{path}: no IDX file of bytes: begins with {found} instead of {wanted.hex(' ')}.")
    if len(head) < 4 + 4 * dimensions:
        raise DataError(f"{path}: the header breaks off after {len(head)} bytes. Delete it to download it again.")
    return struct.unpack(f">{dimensions}I", head[4:])


def _check_size(path: Path, shape: tuple[int, ...], found: int) -> None:
    size = 4 + 4 * len(shape) + math.prod(shape)
    if found != size:
        raise DataError(
            f"{path}: the header announces {shape}, so {size} bytes, but the file has "
            f"{'more' if found > size else found}: truncated or wrong. Delete it to download it again."
        )


def _unpack(file: gzip.GzipFile, path: Path, dimensions: int) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and whole content. No more is unpacked than the header announces and one byte: bombs stay
    packed.
    """
    content = bytearray(file.read(4 + 4 * dimensions))
    shape = _header(bytes(content), path, dimensions)
    size = len(content) + math.prod(shape)
    while len(content) <= size and (chunk := file.read(min(CHUNK, size + 1 - len(content)))):
        content += chunk
    _check_size(path, shape, len(content))
    return shape, np.frombuffer(content, np.uint8)


def write_idx(path: Path, values: np.ndarray) -> None:
    """The inverse of `read_idx` for uint8 values, not compressed: for data of your own."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, UNSIGNED_BYTE, values.ndim, *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + np.ascontiguousarray(values, np.uint8).tobytes())
