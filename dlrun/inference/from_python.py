"""`run.predict(inputs)`: what stands for inputs in Python, and the answers as a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas
from torch import Tensor

from dlrun.data.table.columns import column_of
from dlrun.data.table.read import Table, json_text
from dlrun.errors import DataError
from dlrun.inference.encode import Encoder
from dlrun.inference.predict import Options, predict
from dlrun.inference.rows import Given, Row, by_names
from dlrun.inference.told import as_rows
from dlrun.inference.trained import load_trained
from dlrun.spec import DataSpec

OPTIONS = ("top", "threshold", "batch_size", "folder")


def predict_frame(
    path: Path, inputs: object, checkpoint: str, device: str, options: Mapping[str, object]
) -> pandas.DataFrame:
    """The predictions of a run's model, a row an input. Raises `DataError` for inputs that are of no known kind."""
    unknown = sorted(set(options) - {*OPTIONS, "invert"})
    if unknown:
        raise TypeError(f"predict() got an unexpected keyword argument {unknown[0]!r}")
    trained = load_trained(path, checkpoint, device)
    chosen = {"folder": path / "predictions"} | {key: value for key, value in options.items() if key in OPTIONS}
    encoder = Encoder(trained.spec, bool(options.get("invert", False)))
    rows = python_rows(inputs, trained.spec)
    answers = list(predict(trained.predictor(), rows, encoder, Options(**chosen)))  # type: ignore[arg-type]
    return pandas.DataFrame(as_rows(answers))


def python_rows(inputs: object, spec: DataSpec) -> Iterator[Row]:
    """The rows of a text or path, several of them, a DataFrame, or arrays."""
    if isinstance(inputs, str | Path):
        yield from Given(spec, [str(inputs)]).rows()
    elif isinstance(inputs, pandas.DataFrame):
        yield from (
            Given(spec, []).encoded(table_of(inputs), "the frame")
            if "table" in spec.preprocessing
            else frame_rows(inputs, spec)
        )
    elif isinstance(inputs, np.ndarray | Tensor) and np.asarray(inputs).dtype.kind in "buif":
        yield from stored_rows((inputs,), spec)
    elif isinstance(inputs, tuple) and inputs and all(isinstance(x, np.ndarray | Tensor) for x in inputs):
        yield from stored_rows(inputs, spec)
    elif isinstance(inputs, Sequence | np.ndarray | pandas.Series):
        values = list(inputs)
        if values and not all(isinstance(value, str | Path) for value in values):
            yield from stored_rows((np.asarray(values, dtype=np.float32),), spec)
        for value in values if values and isinstance(values[0], str | Path) else []:
            yield from [Row(str(value), str(value))] if spec.input_kind == "text" else Given(spec, [str(value)]).rows()
    else:
        raise DataError(
            f"predict: {type(inputs).__name__} stands for no inputs. Give texts, paths, an array or a frame."
        )


def frame_rows(frame: pandas.DataFrame, spec: DataSpec) -> Iterator[Row]:
    """The rows of a DataFrame: its features by name, or its only column of texts."""
    header = [str(column) for column in frame.columns]
    columns = by_names(spec.feature_names, header, "the frame") if spec.feature_names else list(range(len(header)))
    for label, cells in zip(frame.index, frame.to_numpy(dtype=object)[:, columns].tolist(), strict=True):
        if spec.input_kind == "text":
            yield Row(str(cells[0]), str(cells[0]))
        else:
            yield Row(str(label), [str(cell) for cell in cells], f"row {label}")


def table_of(frame: pandas.DataFrame) -> Table:
    """A DataFrame as a table that was read from a file."""
    return Table(
        [
            column_of(
                str(name), frame[name].map(lambda value: "" if pandas.isna(value) else json_text(value)).to_numpy()
            )
            for name in frame.columns
        ]
    )


def stored_rows(arrays: Sequence[np.ndarray | Tensor], spec: DataSpec) -> Iterator[Row]:
    """The rows of arrays (N, ...), one for each input of the model, as the data set stores them."""
    values = tuple(np.asarray(array) for array in arrays)
    shapes = [tuple(spec.input_shape), *map(tuple, spec.other_shapes)]
    if spec.input_kind != "text" and [value.shape[1:] for value in values] != shapes:
        raise DataError(f"predict: rows of shape {[v.shape[1:] for v in values]}, but the model takes {shapes}.")
    for i in range(len(values[0])):
        yield Row(str(i), tuple(value[i] for value in values))
