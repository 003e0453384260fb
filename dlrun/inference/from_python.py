"""`run.predict(inputs)`: what stands for inputs in Python, and the answers as a DataFrame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas
from torch import Tensor

from dlrun.data.table.columns import column_of
from dlrun.data.table.read import DataTable, json_text
from dlrun.engine.threads import threads_of
from dlrun.errors import DataError
from dlrun.inference.arrays import stored_rows
from dlrun.inference.encode import Encoder
from dlrun.inference.predict import options_for, predict
from dlrun.inference.row import Row
from dlrun.inference.rows import LINE, Given, by_names, text_column
from dlrun.inference.told import as_rows
from dlrun.inference.trained import load_trained
from dlrun.spec import DataSpec

WHERE = "predict"  # what a message about arrays begins with


Asked = tuple[int, int, str | Path | None, float | str | None, bool]  # top, batch size, folder, threshold, invert


def predict_frame(path: Path, inputs: object, checkpoint: str, device: str, asked: Asked) -> pandas.DataFrame:
    """The predictions of a run's model, a row an input. Raises `DataError` for inputs that are of no known kind."""
    trained = load_trained(path, checkpoint, device)
    options, encoder = options_for(trained, *asked), Encoder(trained.spec, asked[-1])
    with threads_of(trained.threads):
        answers = list(predict(trained.predictor(), python_rows(inputs, trained.spec), encoder, options))
    return pandas.DataFrame(as_rows(answers))


def python_rows(inputs: object, spec: DataSpec) -> Iterator[Row]:
    """The rows of a text or path, several of them, a DataFrame, or arrays."""
    if isinstance(inputs, str | Path):
        yield from Given(spec, [str(inputs)]).rows() if inputs != LINE else [Row(LINE, LINE)]
    elif isinstance(inputs, pandas.DataFrame):
        yield from (
            Given(spec, []).encoded(table_of(inputs), "the frame")
            if "table" in spec.preprocessing
            else frame_rows(inputs, spec)
        )
    elif isinstance(inputs, np.ndarray | Tensor) and as_array(inputs).dtype.kind in "buifc":
        yield from stored_rows([as_array(inputs)], spec, WHERE)
    elif isinstance(inputs, tuple) and inputs and all(isinstance(x, np.ndarray | Tensor) for x in inputs):
        yield from stored_rows([as_array(x) for x in inputs], spec, WHERE)
    elif isinstance(inputs, Sequence | Iterator | np.ndarray | pandas.Series) and not isinstance(inputs, bytes):
        yield from listed_rows(list(inputs), spec)
    else:
        raise DataError(
            f"predict: {type(inputs).__name__} stands for no inputs. Give texts, paths, an array or a frame."
        )


def as_array(values: np.ndarray | Tensor) -> np.ndarray:
    """The values as a numpy array, out of the graph and on the CPU."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def listed_rows(values: list[object], spec: DataSpec) -> Iterator[Row]:
    """The rows of a list of texts or paths, or of lists of numbers."""
    if values and spec.input_kind != "text" and not any(isinstance(value, str | Path) for value in values):
        try:
            array = np.asarray(values, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"{WHERE}: the list is no array of numbers ({error}).") from error
        yield from stored_rows([array], spec, WHERE)
        return
    for number, value in enumerate(values):
        if isinstance(value, str | Path):
            yield from [Row(str(value), str(value))] if spec.input_kind == "text" else Given(spec, [str(value)]).rows()
        else:
            yield Row(str(value), "", f"input {number}", f"{value!r:.50} is no text or path.")


def frame_rows(frame: pandas.DataFrame, spec: DataSpec) -> Iterator[Row]:
    """The rows of a DataFrame: its features by name, or its column of texts."""
    header = [str(column) for column in frame.columns]
    if spec.input_kind == "text":
        place, _ = text_column(header, "text")
        yield from listed_rows(frame.iloc[:, place].tolist() if header else [], spec)
        return
    columns = by_names(spec.feature_names, header, "the frame") if spec.feature_names else list(range(len(header)))
    for label, cells in zip(frame.index, frame.to_numpy(dtype=object)[:, columns].tolist(), strict=True):
        yield Row(str(label), [str(cell) for cell in cells], f"row {label}")


def table_of(frame: pandas.DataFrame) -> DataTable:
    """A DataFrame as a table that was read from a file."""
    return DataTable(
        [
            column_of(
                str(name), frame[name].map(lambda value: "" if pandas.isna(value) else json_text(value)).to_numpy()
            )
            for name in frame.columns
        ]
    )
