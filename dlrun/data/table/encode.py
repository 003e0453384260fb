"""From typed columns to one matrix of floats: fitted on the training rows, plain values in the spec.

    number     the value, or the median of train where it is missing, which a column of 0 and 1 says if train has such
               rows
    boolean    0 or 1, likewise
    date       year, month, day of week (Monday is 0) and days since 1970, likewise with one column for missing
    category   a column of 0 and 1 for each level, in order; of more than `LEVELS` the commonest with `RARE` rows or
               more and one for all others; a missing cell is a level of its own; a level that train lacks is among the
               others (without such a column: all zeros), and counted

Numbers and dates are then standardized, columns of 0 and 1 are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from dlrun.data.table.cells import NumberFormat, is_missing, parse_date
from dlrun.data.table.columns import Column
from dlrun.data.table.types import Typed, left_out
from dlrun.errors import DataError
from dlrun.plain import Values

LEVELS, RARE = 32, 10
MISSING_LEVEL, OTHER = "missing", "other"
DATE_PARTS = ("year", "month", "day of week", "days")
DAY = 86_400.0


@dataclass
class Oddities:
    """Cells that the encoder did not expect, by column: levels that train lacks, and cells that do not fit the type."""

    unseen: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)

    def remarks(self, part: str) -> list[str]:
        """A line for each kind."""
        lines = []
        kinds = {"have a level that train lacks": self.unseen, "do not fit their column and are missing": self.unfit}
        for what, found in kinds.items():
            if found:
                names = ", ".join(f"{count} of {name!r}" for name, count in found.most_common(5))
                lines.append(f"{found.total()} cells of {part} {what}: {names}")
        return lines


@dataclass(frozen=True)
class FittedColumn:
    """How one column becomes columns of the matrix."""

    typed: Typed
    fill: tuple[float, ...] = ()  # for missing cells: a value for each part
    indicator: bool = False  # is there a column that says whether the cell is missing?
    levels: tuple[str, ...] = ()  # of a category; "" is the missing one
    other: bool = False  # is there a column for all other levels?

    @property
    def features(self) -> list[str]:
        """The names of its columns in the matrix."""
        name = self.typed.name
        if self.typed.type == "category":
            shown = [f"{name}={level or MISSING_LEVEL}" for level in self.levels]
            return [*shown, *([f"{name}={OTHER}"] if self.other else [])]
        parts = [f"{name} {part}" for part in DATE_PARTS] if self.typed.type == "date" else [name]
        return [*parts, *([f"{name} is {MISSING_LEVEL}"] if self.indicator else [])]

    @property
    def scaled(self) -> list[bool]:
        """Which of its columns are standardized."""
        if self.typed.type in ("category", "boolean"):
            return [False] * len(self.features)
        return [True] * len(self.fill) + [False] * self.indicator

    def apply(self, column: Column, odd: Oddities) -> np.ndarray:
        """Its part of the matrix (N, columns)."""
        if self.typed.type == "category":
            return self.one_hot(column, odd)
        parts = values_of(column, self.typed, odd)
        absent = np.isnan(parts[:, :1])
        filled = np.where(absent, np.array(self.fill), parts) if absent.any() else parts
        return np.hstack([filled, absent]) if self.indicator else filled

    def one_hot(self, column: Column, odd: Oddities) -> np.ndarray:
        """A column for each level."""
        texts, codes = level_codes(column)
        place = {level: i for i, level in enumerate(self.levels)}
        strange = len(self.levels)
        lookup = np.array([place.get(text, strange) for text in texts] or [strange])
        chosen = lookup[codes]
        if not self.other or any(text not in place for text in texts):
            known = set(self.typed.missing)  # of a category: all levels that train has
            for text, count in zip(texts, np.bincount(codes, minlength=len(texts)).tolist(), strict=True):
                if text not in place and text not in known and count:
                    odd.unseen[column.name] += count
        out = np.zeros((len(chosen), strange + 1), np.float32)
        out[np.arange(len(chosen)), chosen] = 1.0
        return out if self.other else out[:, :strange]

    def state(self) -> Values:
        """Plain values."""
        values = asdict(self)
        values["typed"] = {**values["typed"], "missing": list(self.typed.missing), "notes": []}
        return values | {"fill": list(self.fill), "levels": list(self.levels)}

    @classmethod
    def from_state(cls, values: Mapping[str, object]) -> FittedColumn:
        """The inverse of `state`."""
        typed: Values = dict(values["typed"])  # type: ignore[call-overload]
        typed |= {"number": NumberFormat(**typed["number"]), "missing": tuple(typed["missing"]), "notes": ()}
        rest: Values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**rest | {"typed": Typed(**typed)})


def level_codes(column: Column) -> tuple[list[str], np.ndarray]:
    """The levels of a category, stripped, and the number of each row's level."""
    if column.numbers is not None:
        values, codes = np.unique(np.where(np.isnan(column.numbers), np.inf, column.numbers), return_inverse=True)
        return ["" if np.isinf(value) else f"{value:.15g}" for value in values], codes
    return [text.strip() for text in column.texts], column.codes


def values_of(column: Column, typed: Typed, odd: Oddities | None = None) -> np.ndarray:
    """The numbers of a column (N, parts), NaN where a cell is missing or does not fit."""
    if column.numbers is not None:
        return column.numbers[:, None] if typed.type != "date" else date_parts(column.numbers)
    read = [value_of(text, typed) for text in column.texts]
    if odd is not None:
        counts = column.counts()
        for text, value, count in zip(column.texts, read, counts.tolist(), strict=True):
            if value != value and count and text.strip() and text not in typed.missing and not is_missing(text.strip()):
                odd.unfit[column.name] += count
    values = np.array([*read, np.nan])[column.codes]
    return date_parts(values) if typed.type == "date" else values[:, None]


def value_of(text: str, typed: Typed) -> float:
    """The number that a cell stands for."""
    if not text.strip() or text in typed.missing:
        return float("nan")
    if typed.type == "boolean":
        known = {key.strip().casefold(): value for key, value in typed.truth.items()}
        return known.get(text.strip().casefold(), float("nan"))
    if typed.type == "date" and typed.dates != "epoch":
        seconds = parse_date(text, typed.dates)
        return float("nan") if seconds is None else seconds
    return typed.number.parse(text)


def date_parts(seconds: np.ndarray) -> np.ndarray:
    """Year, month, day of week and days since 1970 of seconds since 1970 (N, 4); NaN stays NaN."""
    absent = np.isnan(seconds)
    days = np.floor(np.where(absent, 0, seconds) / DAY)
    moment = days.astype("datetime64[D]")
    month = moment.astype("datetime64[M]")
    year = month.astype("datetime64[Y]")
    parts = np.stack([year.astype(int) + 1970, (month - year.astype("datetime64[M]")).astype(int) + 1, (days + 3) % 7,
                      np.where(absent, 0, seconds) / DAY], 1).astype(float)  # fmt: skip
    parts[absent] = np.nan
    return parts


def fit_column(column: Column, typed: Typed) -> FittedColumn:
    """Fit the encoding of one column on the training rows."""
    if typed.type == "category":
        texts, codes = level_codes(column)
        counted: Counter[str] = Counter()
        for text, count in zip(texts, np.bincount(codes, minlength=len(texts)).tolist(), strict=True):
            counted[text] += count
        levels = sorted(level for level, count in counted.items() if count)
        known = replace(typed, missing=tuple(levels))
        if len(levels) <= LEVELS:
            return FittedColumn(known, levels=tuple(levels))
        often = sorted(levels, key=lambda level: (-counted[level], level))[: LEVELS - 1]
        kept = sorted(level for level in often if counted[level] >= RARE)
        return FittedColumn(known, levels=tuple(kept), other=True)
    values = values_of(column, typed)
    absent = np.isnan(values[:, 0])
    if absent.all():
        raise DataError(
            f"column {typed.name!r}: no training row has a value that can be read as {typed.type}. Drop it."
        )
    return FittedColumn(typed, tuple(map(median, values.T)), indicator=bool(absent.any()))


def median(values: np.ndarray) -> float:
    """`numpy.nanmedian`, in a fifth of its time: one place is sought, not three."""
    known = values[~np.isnan(values)]
    middle = len(known) // 2
    parted = np.partition(known, middle)
    upper = parted[middle]
    return float(upper if len(known) % 2 else (parted[:middle].max() + upper) / 2)


@dataclass(frozen=True)
class TableEncoder:
    """How the rows of a table become rows of the matrix."""

    columns: tuple[FittedColumn, ...]
    copied: tuple[str, ...] = ()  # columns that predictions repeat, to know the rows by

    name = "table"

    @classmethod
    def fit(cls, columns: Sequence[Column], typed: Sequence[Typed], copied: Sequence[str] = ()) -> TableEncoder:
        """Fit on the training rows; columns that are left out are not among the features."""
        kept = [pair for pair in zip(columns, typed, strict=True) if not left_out(pair[1])]
        if not kept:
            raise DataError("no column is left to learn from: all of them are left out.")
        return cls(tuple(fit_column(column, type) for column, type in kept), tuple(copied))

    @property
    def features(self) -> list[str]:
        """The names of the columns of the matrix."""
        return [feature for column in self.columns for feature in column.features]

    @property
    def scaled(self) -> np.ndarray:
        """Which columns of the matrix are standardized, (F,) bool."""
        return np.array([scaled for column in self.columns for scaled in column.scaled])

    def apply(self, columns: Mapping[str, Column], odd: Oddities, rows: np.ndarray | None = None) -> np.ndarray:
        """The matrix (N, F) float32 of columns by their names, or of some of their rows.

        Raises `DataError` that names the columns that are missing.
        """
        missing = [column.typed.name for column in self.columns if column.typed.name not in columns]
        if missing:
            raise DataError(f"there is no column {', '.join(map(repr, missing))}.")
        count = next(iter(columns.values())).rows if rows is None else len(rows)
        matrix = np.empty((len(self.features), count), np.float32)  # turned at the end: a feature lies in one piece
        begin = 0
        for column in self.columns:
            cells = columns[column.typed.name]
            end = begin + len(column.features)
            with np.errstate(over="ignore"):  # beyond float32 is infinite, which is refused where all is checked
                matrix[begin:end] = column.apply(cells if rows is None else cells.take(rows), odd).T
            begin = end
        return np.ascontiguousarray(matrix.T)

    def state(self) -> Values:
        """Plain values, for the spec."""
        return {"columns": [column.state() for column in self.columns], "copied": list(self.copied)}

    @classmethod
    def from_state(cls, values: Mapping[str, object]) -> TableEncoder:
        """The inverse of `state`."""
        columns: list[Values] = list(values["columns"])  # type: ignore[call-overload]
        return cls(tuple(map(FittedColumn.from_state, columns)), tuple(values["copied"]))  # type: ignore[arg-type]
