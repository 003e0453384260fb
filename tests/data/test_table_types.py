"""The rule that types columns, held by awkward ones: each a header, its cells, and what they are."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pytest

from dlrun.data.table.columns import Column, column_of
from dlrun.data.table.encode import values_of
from dlrun.data.table.types import Typed, type_all, typed
from dlrun.errors import DataError

NAMES = ["Ito", "Rossi", "Novak", "Smith", "Null", "Na", "NA", "None"]
WORDS = re.findall(r"\w+", "the quick brown fox jumps over a lazy dog while seven wizards make toxic brew for queens")


def ids(form: str, count: int = 60) -> list[str]:
    return [form.format(i) for i in range(count)]


def sentences(count: int) -> list[str]:
    return [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 6)) + f" {i}" for i in range(count)]


# header, cells, type, and for those that are numbers the value of the first cell
COLUMNS: list[tuple[str, Sequence[str], str, float | None]] = [
    ("size", ["70.1", "65", "3e2"], "number", 70.1),
    ("price", ["$1,234.50", "$7", "$12.25"], "number", 1234.5),
    ("comma", ["75,78", "3,5", "2"], "number", 75.78),
    ("weight", ["70.1 kg", "65 kg", "80kg"], "number", 70.1),
    ("percent", ["12 %", "3.5%", "7%"], "number", 12.0),
    ("german", ["1.234,5", "7,25", "12.345.678,9"], "number", 1234.5),
    ("swiss", ["1'234.5", "20", "1'000"], "number", 1234.5),
    ("spaces", ["1 234", "5 678 901", "12"], "number", 1234.0),
    ("area", ["70 m2", "65 m2", "82.5 m2"], "number", 70.0),
    ("speed", ["5 km/h", "7.5 km/h", "9 km/h"], "number", 5.0),
    ("celsius", ["-5 °C", "3.5 °C", "0 °C"], "number", -5.0),
    ("dollars", ["USD 5", "USD 1,000", "USD 7.5"], "number", 5.0),
    ("euros", ["5 €", "7,50 €", "1.000,25 €"], "number", 5.0),
    ("account", ["(12.5)", "3", "4"], "number", -12.5),
    ("signed", ["+3", "-4.5", "0"], "number", 3.0),
    ("stars", ["1", "5", "3", "3", "4"], "number", 1.0),
    ("children", ["0", "2", "1", "0", "3"], "number", 0.0),
    ("month", ["1", "12", "7", "7"], "number", 1.0),
    ("rank", ["3", "1", "2", "2"], "number", 3.0),
    ("ratio", ["0.0", "1.0", "0.5"], "number", 0.0),
    ("near unique", [f"{i}.{i % 7}" for i in range(100)], "number", 0.0),
    ("gaps", ["1", "NA", "3", "?", "-", "7"], "number", 1.0),
    ("empty cells", ["1", "", "3", " ", "8"], "number", 1.0),
    ("one number missing", ["5", "", "5"], "number", 5.0),
    ("mostly numbers", [*map(str, range(0, 198, 2)), "about 7"], "number", 0.0),
    ("year", ["1999", "2020", "2020"], "number", 1999.0),
    ("huge", ["1e300", "2.5", "-1e-300"], "number", 1e300),
    ("flag", ["0", "1", "1", "0"], "boolean", 0.0),
    ("flag with gaps", ["0", "1", "", "1"], "boolean", 0.0),
    ("answer", ["yes", "no", "yes"], "boolean", 1.0),
    ("Answer", ["Yes", "No", "yes"], "boolean", 1.0),
    ("truth", ["TRUE", "FALSE", "TRUE"], "boolean", 1.0),
    ("letters", ["f", "t", "t"], "boolean", 0.0),
    ("ja", ["ja", "nein", "ja"], "boolean", 1.0),
    ("passed", ["pass", "fail", "pass"], "boolean", 1.0),
    ("zip", ["12345", "54321", "12345"], "category", None),
    ("postcode", ["2020", "3030", "2020"], "category", None),
    ("plant", ["01234", "00999", "12345"], "category", None),
    ("home_zip", ["12345", "54321", "12345"], "category", None),
    ("town", ["Rome", "Oslo", "Rome"], "category", None),
    ("surname", NAMES * 3, "category", None),
    ("sex", ["m", "f", "m"], "category", None),
    ("grade", ["A", "B", "C", "A"], "category", None),
    ("two words", ["red", "blue", "red"], "category", None),
    ("ip few", ["10.0.0.1", "10.0.0.2", "10.0.0.1"], "category", None),
    ("version", ["1.2.3", "1.2.4", "1.2.3"], "category", None),
    ("flat", ["12A", "12B", "14C"], "category", None),
    ("time of day", ["12:30", "08:15", "12:30"], "category", None),
    ("mixed units", ["5 km", "3 mi", "5 km"], "category", None),
    ("ranges", ["10-20", "20-30", "10-20"], "category", None),
    ("half numbers", ["1", "2", "three", "four"], "category", None),
    ("born", ["2013-08-20", "2014-01-01", "1999-12-31"], "date", None),
    ("stamped", ["20130820", "20140101", "20130820"], "date", None),
    ("european", ["20.08.2013", "01.02.2014", "03.04.2015"], "date", None),
    ("american", ["8/20/2013", "1/2/2014", "3/4/2015"], "date", None),
    ("spoken", ["20 Aug 2013", "1 Jan 2014", "3 Feb 2015"], "date", None),
    ("with time", ["2013-08-20 10:30:00", "2014-01-01 00:00:00", "2015-05-05 12:00:00"], "date", None),
    ("iso", ["2013-08-20T10:30:00Z", "2014-01-01T00:00:00Z", "2015-05-05T12:00:00Z"], "date", None),
    ("created date", ["1376956800", "1388534400", "1400000000"], "date", None),
    ("id", ["17", "4", "99"], "id", None),
    ("", ["17", "4", "99"], "id", None),
    ("customer_id", ["170", "44", "99"], "id", None),
    ("counted", [str(i) for i in range(5, 40)], "id", None),
    ("card", ["9007199254740993", "", "4111111111111111"], "id", None),
    ("uuid", ids("a3f-{:05d}-x"), "id", None),
    ("ip", ids("10.0.{0}.{0}", 200), "id", None),
    ("mail", ids("person{}@example.org"), "id", None),
    ("review", sentences(80), "text", None),
    ("always", ["5", "5", "5"], "constant", None),
    ("nothing", ["", "", ""], "constant", None),
    ("word", ["same", "same"], "constant", None),
]  # fmt: skip


def test_there_are_sixty_awkward_columns() -> None:
    assert len(COLUMNS) >= 60
    assert len({name for name, *_ in COLUMNS}) == len(COLUMNS)


@pytest.mark.parametrize(
    ("name", "cells", "kind", "first"), COLUMNS, ids=[f"{c[0] or 'empty header'}" for c in COLUMNS]
)
def test_a_column_is_what_the_rule_says(name: str, cells: Sequence[str], kind: str, first: float | None) -> None:
    column = column_of(name, cells)
    told = typed(column)
    assert told.type == kind, told.why
    assert told.why
    if first is not None:
        assert values_of(column, told)[0, 0] == pytest.approx(first)
    if kind == "number":
        filled = [cell for cell in cells if cell.strip() and cell not in told.missing]
        values = values_of(column, told)[:, 0]
        assert np.isfinite(values).sum() == len(filled)


def test_three_orders_of_dates_are_told_apart_or_asked_for() -> None:
    both = column_of("d", ["01/02/2013", "03/04/2014", "05/06/2015"])
    with pytest.raises(DataError, match=r"dataset\.types=\{d: dmy\} or \{d: mdy\}"):
        typed(both)
    days = values_of(both, typed(both, "dmy"))[0]
    assert days[:2].tolist() == [2013, 2]
    assert values_of(both, typed(both, "mdy"))[0, :2].tolist() == [2013, 1]
    with pytest.raises(DataError, match="cannot be read as ymd"):
        typed(both, "ymd")
    leap = column_of("d", ["2024-02-29", "2024-03-01"])
    parts = values_of(leap, typed(leap))
    assert parts[0].tolist() == [2024, 2, 3, 19782]  # a Thursday, 19,782 days after 1970-01-01


def test_words_for_missing_are_values_where_they_may_be() -> None:
    names = typed(column_of("name", NAMES))
    assert names.type == "category"
    assert names.missing == ()
    ages = column_of("age", ["31", "NA", "n/a", "7"])
    assert typed(ages).missing == ("NA", "n/a")
    assert np.isnan(values_of(ages, typed(ages))[1:3, 0]).all()


def test_cells_that_are_no_numbers_are_said() -> None:
    told = typed(column_of("size", [*map(str, range(0, 396, 2)), "big", "small"]))
    assert told.type == "number"
    assert told.notes == ("2 cells of 'size' are no numbers and are missing: 'big', 'small'",)


@pytest.mark.parametrize(
    ("cells", "forced", "kind"),
    [
        (["1", "2", "3"], "category", "category"),
        (["1", "x", "3"], "number", "number"),
        (["a", "b", "a"], "boolean", "boolean"),
        (["20130820", "20140101"], "number", "number"),
        (["12345", "0123"], "id", "id"),
    ],
)
def test_a_user_may_say_what_a_column_is(cells: list[str], forced: str, kind: str) -> None:
    assert typed(column_of("x", cells), forced).type == kind


@pytest.mark.parametrize(
    ("cells", "forced", "said"),
    [
        (["a", "b"], "number", "'a' cannot be read as a number"),
        (["a", "b", "c"], "boolean", "has 3 values, and a boolean has two"),
        (["a"], "nmber", "there is no type 'nmber'"),
        (["a", "b"], "dmy", "'a' cannot be read as dmy"),
    ],
)
def test_what_cannot_be_is_said_by_its_column(cells: list[str], forced: str, said: str) -> None:
    with pytest.raises(DataError, match=f"column 'x': {said}"):
        typed(column_of("x", cells), forced)


def test_all_columns_that_cannot_be_told_are_named_at_once() -> None:
    dates = ["01/02/2013", "03/04/2014"]
    with pytest.raises(DataError, match=r"(?s)column 'a'.*column 'b'"):
        type_all([column_of("a", dates), column_of("b", dates), column_of("c", ["1", "2"])], {})


def test_long_columns_of_numbers_are_typed_by_the_same_rule() -> None:
    def numbers(name: str, values: Sequence[float]) -> Typed:
        return typed(Column(name, (), np.empty(0, np.int64), np.array(values, dtype=float)))

    assert numbers("x", [1.5, 2, math.nan]).type == "number"
    assert numbers("flag", [0, 1, 1, 0]).type == "boolean"
    assert numbers("n", list(range(100))).type == "id"
    assert numbers("id", [5, 9, 2]).type == "id"
    assert numbers("zip", [12345, 54321, 12345]).type == "category"
    assert numbers("same", [3, 3, 3]).type == "constant"
    assert numbers("stars", [1, 5, 3, 3]).type == "number"
