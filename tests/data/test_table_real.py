"""Tables that other people made: what scikit-learn, matplotlib and dlrun bring along, typed by the rule."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from sklearn import datasets

from dlrun.data.table.read import Reading, read_table
from dlrun.data.table.types import Typed, type_all

SAMPLES = Path(matplotlib.get_data_path()) / "sample_data"
OF_SKLEARN: dict[str, dict[str, int]] = {  # the types of their columns; whole numbers as targets are numbers
    "iris": {"number": 5},
    "wine": {"number": 14},
    "breast_cancer": {"number": 30, "boolean": 1},
    "diabetes": {"number": 11},
    "linnerud": {"number": 6},
    "digits": {"number": 59, "constant": 3, "boolean": 3},
}


def types_of(path: Path) -> tuple[dict[str, Typed], list[str]]:
    table = read_table(str(path), Reading())
    return {told.name: told for told in type_all(table.columns, {})}, table.notes


@pytest.mark.parametrize("name", OF_SKLEARN)
def test_the_sets_of_scikit_learn(name: str, tmp_path: Path) -> None:
    bunch: Any = getattr(datasets, f"load_{name}")(as_frame=True)
    bunch.frame.to_csv(tmp_path / f"{name}.csv", index=False)
    found, _ = types_of(tmp_path / f"{name}.csv")
    assert Counter(told.type for told in found.values()) == OF_SKLEARN[name]


def test_the_same_with_an_index_and_names_of_classes(tmp_path: Path) -> None:
    bunch: Any = datasets.load_iris(as_frame=True)
    bunch.frame.assign(species=[bunch.target_names[i] for i in bunch.target]).to_csv(tmp_path / "iris.csv")
    found, _ = types_of(tmp_path / "iris.csv")
    assert found[""].type == "id"
    assert found["species"].type == "category"


def test_prices_of_shares_below_a_comment() -> None:
    path = SAMPLES / "Stocks.csv"
    if not path.is_file():
        pytest.skip("this matplotlib has no such file")
    found, notes = types_of(path)
    assert found["Date"].type == "date"
    assert {told.type for name, told in found.items() if name != "Date"} == {"number"}
    assert "below 1 line of comment" in notes[0]


def test_dates_as_they_are_written_by_hand() -> None:
    path = SAMPLES / "msft.csv"
    if not path.is_file():
        pytest.skip("this matplotlib has no such file")
    found, _ = types_of(path)
    assert (found["Date"].type, found["Date"].dates) == ("date", "%d-%b-%y")
    assert {told.type for name, told in found.items() if name != "Date"} == {"number"}


def test_the_corpus_of_names() -> None:
    found, _ = types_of(Path(__file__).parents[2] / "dlrun" / "data" / "corpus" / "names.csv")
    assert (found["name"].type, found["country"].type) == ("id", "category")


def test_a_header_that_begins_with_a_hash_is_a_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("#chrom,start\nx,1\ny,2\n", encoding="utf-8")
    assert list(types_of(tmp_path / "t.csv")[0]) == ["#chrom", "start"]
    (tmp_path / "t.csv").write_text("# one\n# two\na,b\n1,2\n3\n", encoding="utf-8")
    with pytest.raises(Exception, match="line 5 has 1 cell, but the first line has 2"):
        types_of(tmp_path / "t.csv")
