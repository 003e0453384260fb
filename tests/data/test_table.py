"""Tables as data sets: read without silent changes, encoded as scikit-learn would, fitted on train, dirt named."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from dlrun.data.base import Data
from dlrun.data.table.read import Reading, read_table
from dlrun.data.table.table import table
from dlrun.data.transforms import Preparation
from dlrun.errors import ConfigError, DataError


def houses(count: int = 300, seed: int = 0) -> pandas.DataFrame:
    random = np.random.default_rng(seed)
    size = random.permutation(np.linspace(30, 200, count)).round(3)
    town = random.choice(["Rome", "Oslo", "Bern", ""], count, p=[0.4, 0.3, 0.2, 0.1])
    stars = np.where(random.random(count) < 0.1, "", random.integers(1, 6, count).astype(str))
    price = 3000 * size + np.select([town == "Bern", town == "Oslo"], [2e5, 9e4], 5e4) + random.normal(0, 9000, count)
    return pandas.DataFrame({"size": size, "town": town, "stars": stars, "price": price.round(0)})


def write(folder: Path, frame: pandas.DataFrame, name: str = "t.csv", **options: object) -> str:
    frame.to_csv(folder / name, index=False, **options)  # type: ignore[call-overload]
    return str(folder / name)


def load(path: str | Sequence[str], target: str = "price", **keys: object) -> Data:
    return table(**{"seed": 0, "path": path, "target": target} | keys)  # type: ignore[arg-type]


def prepared(data: Data) -> np.ndarray:
    (inputs,), _ = Preparation(data.spec)(data.train.inputs, data.train.target)
    return inputs.numpy()


def test_the_matrix_is_that_of_a_column_transformer_fitted_on_train(tmp_path: Path) -> None:
    frame = houses()
    data = load(write(tmp_path, frame))
    sizes = data.train.inputs[0][:, 0].numpy()
    places = [int(np.flatnonzero(np.isclose(frame["size"], value, atol=1e-4))[0]) for value in sizes]
    rows = frame.assign(stars=pandas.to_numeric(frame["stars"])).iloc[places]
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    theirs = ColumnTransformer(
        [
            ("size", numbers, ["size"]),
            ("town", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["town"]),
            ("stars", numbers, ["stars"]),
        ]
    ).fit_transform(rows)
    names = data.spec.feature_names
    assert names == ("size", "town=missing", "town=Bern", "town=Oslo", "town=Rome", "stars", "stars is missing")
    ours = prepared(data)
    assert np.allclose(ours[:, :6], theirs, atol=1e-6, rtol=1e-5)
    assert np.array_equal(ours[:, 6], rows["stars"].isna())


def test_nothing_is_fitted_on_validation_or_test(tmp_path: Path) -> None:
    frame = houses()
    frame["part"] = np.resize(["train", "train", "train", "val", "test"], len(frame))
    first = load(write(tmp_path, frame), split_column="part")
    nonsense = frame.astype(object)
    others = nonsense["part"] != "train"
    nonsense.loc[others, ["size", "stars", "price"]] = ["1000000", "999999", "123456789"]
    nonsense.loc[others, "town"] = "Atlantis"
    second = load(write(tmp_path, nonsense.astype(str), "n.csv"), split_column="part")
    assert first.spec == second.spec
    assert torch.equal(first.train.inputs[0], second.train.inputs[0])
    assert any("cells of test have a level that train lacks" in remark for remark in second.remarks)


def test_classes_targets_and_the_positive_one(tmp_path: Path) -> None:
    frame = houses().assign(sold=lambda f: np.where(f["size"] > 100, "yes", "no"))
    path = write(tmp_path, frame)
    assert load(path, "sold").spec.labels == ("no", "yes")
    assert load(path, "sold", positive="no").spec.labels == ("yes", "no")
    assert load(path, "town").spec.labels == ("Bern", "Oslo", "Rome")
    known = sum(part.samples for part in load(path, "town").parts().values())
    assert known == (frame["town"] != "").sum()
    assert load(path, "stars", task="classification").spec.labels == ("1", "2", "3", "4", "5")
    both = load(path, ["size", "price"])  # type: ignore[arg-type]
    assert (both.spec.task, both.spec.num_outputs, both.spec.target_names) == ("regression", 2, ("size", "price"))


def test_a_word_for_missing_is_no_class_beside_0_and_1(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("y,x\n" + "0,1.5\n1,2.5\nNA,7\n" * 9)
    data = load(str(path), "y", val_fraction=0.0, test_fraction=0.0)
    assert (data.spec.labels, data.train.samples) == (("0", "1"), 18)


def test_a_target_is_learned_standardized_and_told_in_its_units(tmp_path: Path) -> None:
    data = load(write(tmp_path, houses()), target_transform="log")
    preparation = Preparation(data.spec)
    target = preparation.prepare_target(data.train.target)
    assert float(target.mean()) == pytest.approx(0, abs=1e-5)
    assert float(target.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(preparation.restore_target(target), data.train.target, rtol=1e-4)
    logs = data.train.target.log()
    assert torch.allclose(target, (logs - logs.mean()) / logs.std(correction=0), atol=1e-4)


FORMS = ["gz", "tsv", "semicolon", "jsonl", "two files", "utf-16", "latin-1", "no header", "crlf", "bom"]


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_the_same_in_every_form(form: str, tmp_path: Path) -> None:
    frame = houses(120).replace({"town": {"Bern": "Zürich"}})
    plain = load(write(tmp_path, frame))
    path: str | list[str] = str(tmp_path / "other.csv")
    text = frame.to_csv(index=False)
    if form == "gz":
        Path(str(path)).write_bytes(gzip.compress(text.encode()))
    elif form == "tsv":
        path = write(tmp_path, frame, "other.tsv", sep="\t")
    elif form == "semicolon":
        commas = frame.astype(str).map(lambda cell: cell.replace(".", ","))
        Path(str(path)).write_text(commas.to_csv(index=False, sep=";"), encoding="utf-8")
    elif form == "jsonl":
        path = str(tmp_path / "other.jsonl")
        frame.to_json(path, orient="records", lines=True)
    elif form == "two files":
        write(tmp_path, frame[:50], "part-1.csv")
        write(tmp_path, frame[50:], "part-2.csv")
        path = str(tmp_path / "part-*.csv")
    elif form in ("utf-16", "latin-1"):
        Path(str(path)).write_bytes(text.encode(form))
    elif form == "no header":
        Path(str(path)).write_text(text.split("\n", 1)[1], encoding="utf-8")
    elif form == "crlf":
        Path(str(path)).write_bytes(text.replace("\n", "\r\n").encode())
    else:
        Path(str(path)).write_bytes(b"\xef\xbb\xbf" + text.encode())
    other = load(path, "column 4" if form == "no header" else "price")
    assert torch.equal(other.train.inputs[0], plain.train.inputs[0])
    assert torch.equal(other.train.target, plain.train.target)


def test_reading_changes_nothing_silently(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('code,big,name\n007,9007199254740993,NA\n042,,"a, b"\n', encoding="utf-8")
    columns = read_table(str(tmp_path / "t.csv"), Reading()).columns
    assert [column.cells() for column in columns] == [["007", "042"], ["9007199254740993", ""], ["NA", "a, b"]]


def test_a_cell_beyond_the_limit_of_csv_is_one_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,price\n"x",1\n' + "y" * 200_000 + ",2\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3: field larger than field limit"):
        load(str(path))


def test_prose_with_commas_is_one_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text\nHello, world\nNo comma\nOne, two, three\n", encoding="utf-8")
    (column,) = read_table(str(tmp_path / "t.csv"), Reading()).columns
    assert column.cells() == ["Hello, world", "No comma", "One, two, three"]


DIRT: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "header alone": (b"a,price\n", "there is no row in it"),
    "short header": (b"a,price\n1,2,3\n4,5,6\n", "line 2 has 3 cells, but the first line has 2: the header is shorter"),
    "short row": (b"a,b,price\n1,2,3\n4,5\n", "line 3 has 2 cells, but the first line has 3"),
    "long row": (b"a,price\n1,2\n3,4,5\n", "line 3 has 3 cells"),
    "twice": (b"a,a,price\n1,2,3\n", r"the header has 'a' twice \(columns 1, 2\)"),
    "open quote": (b'a,price\n1,2\n"3,4\n5,6\n', "quote that opens in line 3 is not closed"),
    "mixed": ("a,price\nZürich,2\n".encode() + b"Z\xfcrich,3\n", "line 3: byte 0xfc is not UTF-8"),
    "one class": (b"a,price\n1,x\n2,x\n3,x\n", "is one value, 'x': there is nothing to learn"),
    "one row": (b"a,price\n1,2\n", "is one value"),
    "no target": (b"a,b\n1,2\n2,3\n", "there is no column 'price'"),
    "nothing to learn from": (b"id,price\n1,2\n2,3\n3,5\n4,7\n5,9\n6,1\n", "no column is left to learn from"),
    "dates": (b"d,price\n01/02/2013,2\n03/04/2014,3\n05/06/2015,4\n", r"dataset\.types=\{d: dmy\}"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DIRT)
def test_dirt_is_one_error_that_says_where(kind: str, tmp_path: Path) -> None:
    data, said = DIRT[kind]
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises((DataError, ConfigError), match=said):
        load(str(tmp_path / "t.csv"))


def test_ten_thousand_categories_and_an_empty_column_train(tmp_path: Path) -> None:
    frame = houses(2000).assign(many=[f"c{i % 500}" for i in range(2000)], nothing="")
    data = load(write(tmp_path, frame))
    assert "many=other" in data.spec.feature_names
    assert sum(name.startswith("many=") for name in data.spec.feature_names) <= 32
    assert any("nothing (constant: empty)" in note for note in data.notes)


def test_missing_files_spreadsheets_and_wrong_keys(tmp_path: Path) -> None:
    path = write(tmp_path, houses())
    for given, said in (
        ({"path": str(tmp_path / "nosuch.csv")}, "there is no such file"),
        ({"path": str(tmp_path / "nosuch*.csv")}, "no file has such a name"),
        ({"path": str(tmp_path / "a.xlsx")}, "Save it as CSV"),
        ({"path": str(tmp_path)}, "is a folder"),
        ({"target": "prize"}, "Did you mean price"),
        ({"drop": ["sise"]}, "dataset.drop: there is no column 'sise'. Did you mean size"),
        ({"types": {"size": "nmber"}}, "there is no type 'nmber'"),
        ({"positive": "x"}, "goes with classes"),
        ({"target": "town", "positive": "Oslo"}, "goes with two classes, not 3"),
        ({"group": "town", "time": "size"}, "dataset.group: does not go with dataset.time"),
        ({"val_path": path}, "goes with dataset.train_path"),
        ({"encoding": "utf-88"}, "there is no encoding 'utf-88'"),
    ):
        (tmp_path / "a.xlsx").write_bytes(b"PK")
        with pytest.raises((ConfigError, DataError), match=said):
            table(**{"seed": 0, "path": path, "target": "price"} | given)  # type: ignore[arg-type]


def test_a_test_file_without_the_target_is_for_predictions(tmp_path: Path) -> None:
    train = write(tmp_path, houses(), "train.csv")
    new = write(tmp_path, houses(20, seed=1).drop(columns="price"), "new.csv")
    with pytest.raises(ConfigError, match=r"It is for predictions: dlrun predict RUN .*new\.csv"):
        table(seed=0, train_path=train, test_path=new, target="price")
    own = table(seed=0, train_path=train, test_path=write(tmp_path, houses(20, seed=1), "test.csv"), target="price")
    assert {name: part.samples for name, part in own.parts().items()} == {"train": 240, "val": 60, "test": 20}


def test_a_large_file_is_typed_by_the_same_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = houses(500).assign(code=[f"{i % 40:03d}" if i > 400 else str(100 + i % 40) for i in range(500)])
    frame["late"] = [str(i) if i < 480 else "x" for i in range(500)]
    path = write(tmp_path, frame)
    plain = load(path)
    monkeypatch.setattr("dlrun.data.table.read.LARGE", 0)
    monkeypatch.setattr("dlrun.data.table.large.HEAD_ROWS", 100)
    large = load(path)
    assert large.spec.feature_names == plain.spec.feature_names
    assert torch.equal(large.train.inputs[0], plain.train.inputs[0])
    assert any("code (" in note or "late" in str(large.spec.preprocessing) for note in large.notes)


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999", "-", "--", "n/a", "007", "-03", "9007199254740993", "ü"])
@pytest.mark.parametrize("count", [1, 60])
def test_a_late_cell_is_read_by_the_same_rule_in_a_large_file(
    cell: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pandas.DataFrame({name: np.random.default_rng(i).normal(size=400) for i, name in enumerate(["x", "price"])})
    frame["x"] = [str(i % 9 - 4) if i < 300 else cell if i < 300 + count else "5" for i in range(400)]
    path = write(tmp_path, frame[["x", "price"]].assign(word=["ä", "b"] * 200))
    plain = load(path)
    monkeypatch.setattr("dlrun.data.table.read.LARGE", 0)
    monkeypatch.setattr("dlrun.data.table.large.HEAD_ROWS", 100)
    monkeypatch.setattr("dlrun.data.table.layout.BLOCK", 64)
    large = load(path)
    assert (large.notes, large.spec.feature_names) == (plain.notes, plain.spec.feature_names)
    assert torch.equal(large.train.inputs[0], plain.train.inputs[0])
