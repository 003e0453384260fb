"""Arrays as a data set stores its rows, one for each input of the model, as rows to predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dlrun.data.files import open_data_file
from dlrun.data.transforms import Preparation, scale_of
from dlrun.data.vocabulary import Vocabulary
from dlrun.errors import DataError, count_of
from dlrun.inference.row import Row
from dlrun.spec import DataSpec

Arrays = tuple[np.ndarray, ...]


def file_rows(path: Path, spec: DataSpec) -> Iterator[Row]:
    """The rows of a .npy or .npz file: an array for each input of the model, in the order of the file."""
    with open_data_file(path) as file:
        try:
            found = np.load(file, allow_pickle=False)
            arrays = tuple(found[name] for name in found.files) if hasattr(found, "files") else (found,)
        except (ValueError, OSError, EOFError, KeyError) as error:
            what = str(error).split(". If you trust")[0]  # numpy advises to run what the file holds
            raise DataError(f"{path}: cannot be read as arrays ({what or type(error).__name__}).") from error
    yield from stored_rows(arrays, spec, str(path), f"{path.name} row ")


def stored_rows(arrays: Sequence[np.ndarray], spec: DataSpec, where: str, name: str = "") -> Iterator[Row]:
    """The rows of arrays (N, ...), called NAME and their number. A row that holds NaN or infinity has a fault.

    Raises `DataError` for arrays that are not as the data set stores them, which begins with `where`.
    """
    values = tuple(arrays)
    if any(array.dtype.kind not in "buif" for array in values):
        raise DataError(f"{where}: holds {', '.join(str(array.dtype) for array in values)}, not numbers.")
    if any(array.ndim == 0 for array in values):
        raise DataError(f"{where}: holds a single number, no rows.")
    if spec.input_kind == "text":
        values = codes_and_lengths(values, spec, where)
    else:
        check_shapes(values, spec, where)
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which is no number
        values = tuple(array.astype(np.float32) if array.dtype.kind == "f" else array for array in values)
    if len({len(array) for array in values}) > 1:
        raise DataError(f"{where}: its arrays have {', '.join(str(len(array)) for array in values)} rows.")
    check_pixels(values, spec, where)
    sound = np.logical_and.reduce([np.isfinite(array).all(axis=tuple(range(1, array.ndim))) for array in values])
    for i, finite in enumerate(sound):
        fault = "" if finite else "holds NaN or infinity."
        yield Row(f"{name}{i}", tuple(array[i] for array in values), f"{where} row {i}", fault)


def check_shapes(arrays: Arrays, spec: DataSpec, where: str) -> None:
    """Raise `DataError` for arrays of another number or shape than the model takes; sequences may have any length."""
    shapes = [tuple(spec.input_shape), *map(tuple, spec.other_shapes)]
    if len(arrays) != len(shapes):
        raise DataError(f"{where}: holds {count_of(len(arrays), 'array')}, but the model takes {len(shapes)}.")
    for array, shape in zip(arrays, shapes, strict=True):
        any_length = spec.input_kind == "sequence" and array.ndim == len(shape) + 1 and array.shape[1] > 0
        if array.shape[1:] != shape and not (any_length and array.shape[2:] == shape[1:]):
            raise DataError(f"{where}: rows of shape {array.shape[1:]}, but the model takes {shape}.")


def codes_and_lengths(arrays: Arrays, spec: DataSpec, where: str) -> Arrays:
    """Codes (N, T) and lengths (N,) of texts as int64; lengths that are not given are counted up to the padding."""
    if (
        len(arrays) > 2
        or [a.ndim for a in arrays] != [2, 1][: len(arrays)]
        or any(a.dtype.kind not in "iu" for a in arrays)
    ):
        raise DataError(f"{where}: texts as arrays are whole numbers: codes (N, T), and lengths (N,) beside them.")
    codes = arrays[0].astype(np.int64)
    padded = Vocabulary.of(spec).has_unknown
    counted = (codes != 0).sum(1) if padded else np.full(len(codes), codes.shape[1])
    lengths = arrays[1].astype(np.int64) if len(arrays) == 2 else counted
    if ((codes < 0) | (codes >= spec.vocab_size)).any():
        raise DataError(
            f"{where}: codes from {codes.min()} to {codes.max()}, but the model knows 0 to {spec.vocab_size - 1}."
        )
    if ((lengths < 1) | (lengths > codes.shape[1])).any():
        raise DataError(f"{where}: lengths from {lengths.min()} to {lengths.max()}, not within 1 to {codes.shape[1]}.")
    return codes, lengths


def check_pixels(arrays: Arrays, spec: DataSpec, where: str) -> None:
    """Raise `DataError` for fractions from 0 to 1 where the data set stores pixels that are yet to be divided."""
    for array, steps in zip(arrays, Preparation(spec).inputs, strict=False):
        white = scale_of(steps) or 1.0
        if white > 1 and array.dtype.kind == "f" and array.size and 0 < array.max() <= 1 and (array % 1).any():
            raise DataError(
                f"{where}: pixels from 0 to 1, but the data set stores 0 to {white:g}. Multiply them by {white:g}."
            )
