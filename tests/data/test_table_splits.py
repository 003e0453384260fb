"""Splits of a table: disjoint, complete, seeded, with groups on one side, class shares and stable hashes; folds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.data.base import Data
from dlrun.data.table import read
from dlrun.data.table.columns import column_of
from dlrun.data.table.read import DataTable, Reading, read_table
from dlrun.data.table.splits import Rows, Splitting, fold_of, split_table
from dlrun.data.table.table import table
from dlrun.errors import ConfigError, DataError

FEW = settings(max_examples=25, deadline=None)


def made(count: int, seed: int = 0, classes: int = 2, groups: int = 12) -> tuple[DataTable, np.ndarray]:
    """A table of some rows: a number, a patient, a day and a part; and the class of each row, the first ones rare."""
    rng = np.random.default_rng(seed)
    label = np.minimum(rng.geometric(0.4, count) - 1, classes - 1)
    label[: 2 * classes] = np.arange(2 * classes) % classes  # each at least twice
    days = rng.permutation(count)
    columns = {
        "x": [f"{value:.6f}" for value in rng.normal(size=count)],
        "patient": [f"p{number}" for number in np.append(np.arange(groups), rng.integers(0, groups, count - groups))],
        "day": [str(np.datetime64("2020-01-01") + int(day)) for day in days],
        "part": rng.choice(["train", "Val", "test", "dev", "training"], count).tolist(),
    }
    return DataTable([column_of(name, cells) for name, cells in columns.items()]), label


def parts_of(rows: Rows) -> list[list[int]]:
    return [sorted(part.tolist()) for part in rows]


def disjoint_and_complete(rows: Rows, count: int) -> None:
    assert sorted(np.concatenate(rows).tolist()) == list(range(count))


WAYS: dict[str, dict[str, Any]] = {
    "stratified": {"how": "stratified"},
    "random": {"how": "random"},
    "hash": {"how": "hash"},
    "column": {"column": "part"},
    "group": {"group": "patient"},
    "time": {"time": "day"},
    "folds": {"folds": 4, "fold": 2},
    "groups in folds": {"folds": 3, "fold": 1, "group": "patient"},
}


@pytest.mark.parametrize("way", WAYS)
@FEW
@given(count=st.integers(40, 120), seed=st.integers(0, 99))
def test_parts_are_disjoint_complete_and_drawn_by_their_seed(way: str, count: int, seed: int) -> None:
    whole, label = made(count, seed)
    rows, _ = split_table(whole, label, Splitting(**WAYS[way], seed=seed, val_seed=seed))
    disjoint_and_complete(rows, count)
    again, _ = split_table(whole, label, Splitting(**WAYS[way], seed=seed, val_seed=seed))
    assert all((a == b).all() for a, b in zip(rows, again, strict=True))
    others = [
        split_table(whole, label, Splitting(**WAYS[way], seed=seed + 1 + i, val_seed=seed + 1 + i))[0] for i in range(3)
    ]
    same = [parts_of(rows) == parts_of(other) for other in others]
    if "group" not in way:  # the largest groups come first: the seed decides between groups of one size
        assert all(same) if way in ("column", "time") else not all(same)


@FEW
@given(
    count=st.integers(20, 200), classes=st.integers(2, 5), test=st.floats(0.05, 0.5), val=st.floats(0.05, 0.5),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_every_class_has_its_share_of_every_part(count: int, classes: int, test: float, val: float, seed: int) -> None:
    whole, label = made(count, seed, classes)
    rows, _ = split_table(whole, label, Splitting(test_fraction=test, val_fraction=val, seed=seed, val_seed=seed))
    share = {0: (1 - test) * (1 - val), 1: (1 - test) * val, 2: test}
    for number, part in enumerate(rows):
        for name, total in Counter(label.tolist()).items():
            have = int((label[part] == name).sum())
            assert abs(have - total * share[number]) <= 2.0, (number, name)
    assert set(label[rows[0]].tolist()) == set(label.tolist()), "a class that is tested is learned"


@FEW
@given(count=st.integers(30, 150), groups=st.integers(6, 25), seed=st.integers(0, 99), folds=st.booleans())
def test_no_group_is_on_two_sides(count: int, groups: int, seed: int, folds: bool) -> None:
    whole, label = made(count, seed, groups=groups)
    patient = np.array(whole.column("patient", "").cells())
    cuts = [Splitting(group="patient", folds=3, fold=k, seed=seed, val_seed=seed) for k in range(3)] if folds else []
    for how in cuts or [Splitting(group="patient", seed=seed, val_seed=seed)]:
        rows, _ = split_table(whole, label, how)
        sides = [set(patient[part].tolist()) for part in rows]
        assert all(sides), "no part is empty"
        assert sum(map(len, sides)) == len(set(patient.tolist()))


@FEW
@given(count=st.integers(30, 150), folds=st.integers(2, 6), seed=st.integers(0, 99), group=st.booleans())
def test_each_row_is_tested_in_one_fold(count: int, folds: int, seed: int, group: bool) -> None:
    whole, label = made(count, seed)
    cut = {"folds": folds, "seed": seed, "group": "patient" if group else None}
    tested = [split_table(whole, label, Splitting(**cut, fold=fold))[0][2] for fold in range(folds)]
    assert sorted(np.concatenate(tested).tolist()) == list(range(count))
    if not group:
        counts = [np.bincount(label[rows], minlength=2) for rows in tested]
        assert np.ptp([len(rows) for rows in tested]) <= 1
        assert np.ptp(counts, axis=0).max() <= 1, "each class in equal numbers"


def test_folds_are_as_fair_to_classes_as_those_of_scikit_learn() -> None:
    from sklearn.model_selection import StratifiedKFold

    _, label = made(103, classes=4)
    own = fold_of(103, label, 5, 0)
    mine = np.array([np.bincount(label[own == fold], minlength=4) for fold in range(5)])
    theirs = [np.bincount(label[rows], minlength=4) for _, rows in StratifiedKFold(5).split(label, label)]
    assert (np.ptp(mine, axis=0) <= np.ptp(theirs, axis=0)).all()


@FEW
@given(count=st.integers(12, 80), folds=st.integers(2, 5))
def test_time_is_never_shuffled_and_its_folds_are_scikit_learns_expanding_windows(count: int, folds: int) -> None:
    whole, label = made(count, count)
    day = np.array(whole.column("day", "").cells())
    for how in [Splitting(time="day"), *(Splitting(time="day", folds=folds, fold=k) for k in range(folds))]:
        train, val, test = split_table(whole, label, how)[0]
        assert max(day[train]) < min(day[val])
        assert max(day[val]) < min(day[test])
    ordered = np.argsort(day)
    windows = [split_table(whole, label, Splitting(time="day", folds=folds, fold=k))[0] for k in range(folds)]
    ends = [len(train) + len(val) for train, val, _ in windows]
    assert ends == sorted(set(ends))
    for end, (train, val, test) in zip(ends, windows, strict=True):
        assert set(ordered[:end]) == {*train, *val}
        assert test.tolist() == ordered[end : end + len(test)].tolist()
    assert windows[-1][2][-1] == ordered[-1], "the last row is tested"


@FEW
@given(count=st.integers(20, 80), more=st.integers(1, 60), seed=st.integers(0, 9))
def test_a_row_stays_in_its_part_when_rows_are_added_or_moved(count: int, more: int, seed: int) -> None:
    whole, label = made(count + more, seed)
    how = Splitting(how="hash", seed=seed, val_seed=seed)
    order = np.random.default_rng(seed).permutation(count + more)
    before, _ = split_table(whole.take(np.arange(count)), label[:count], how)
    after, _ = split_table(whole.take(order), label[order], how)
    for small, large in zip(before, after, strict=True):
        assert set(small.tolist()) == {row for row in order[large].tolist() if row < count}


def test_a_hash_gives_equal_rows_and_other_spellings_of_a_number_one_part(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i % 40}.50,{'NA' if i % 7 == 0 else i % 7}\n" for i in range(400)))
    small = split_table(read_table([path], Reading()), None, Splitting(how="hash"))[0]
    cells = {part: {(i % 40, i % 7) for i in rows.tolist()} for part, rows in enumerate(small)}
    assert not cells[0] & cells[1] | cells[0] & cells[2] | cells[1] & cells[2]
    monkeypatch.setattr(read, "LARGE", 100)
    table = read_table([path], Reading())
    assert table.column("a", "").numbers is not None, "read as numbers, as large files are"
    assert parts_of(split_table(table, None, Splitting(how="hash"))[0]) == parts_of(small)


def test_deviations_of_groups_are_said() -> None:
    cells = [name for name, size in (("a", 60), ("b", 20), ("c", 15), ("d", 5)) for _ in range(size)]
    rare = np.array([int(name == "b") for name in cells])
    whole = DataTable([column_of("patient", cells)])
    assert split_table(whole, rare, Splitting(group="patient"), ("no", "yes"))[1] == [
        "by groups of 'patient', test has 15.0% of the rows (20.0% asked)",
        "by groups of 'patient', 0.0% of test are 'yes' (20.0% of all rows)",
        "by groups of 'patient', validation has 5.0% of the rows (16.0% asked)",
        "by groups of 'patient', 0.0% of validation are 'yes' (20.0% of all rows)",
    ]
    even = DataTable([column_of("patient", [f"p{i // 2}" for i in range(1000)])])
    rows, notes = split_table(even, np.arange(1000) % 2, Splitting(group="patient"), ("no", "yes"))
    assert not notes
    assert parts_of(rows) != parts_of(split_table(even, None, Splitting(group="patient", seed=1))[0])


def test_rows_without_a_group_are_one_and_said() -> None:
    whole = DataTable([column_of("patient", [f"p{i // 3}" if i % 10 else "" for i in range(60)])])
    rows, notes = split_table(whole, None, Splitting(group="patient"))
    assert any("6 rows without 'patient' are one group" in note for note in notes)
    assert sum(bool(set(range(0, 60, 10)) & set(part.tolist())) for part in rows) == 1


COMBINATIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"split_column": "part", "group": "patient"}, ["dataset.split_column", "dataset.group"]),
    ({"time": "day", "group": "patient"}, ["dataset.group", "dataset.time"]),
    ({"time": "day", "split": "stratified"}, ["dataset.time", "dataset.split=stratified"]),
    ({"time": "day", "split": "hash"}, ["dataset.time", "dataset.split=hash"]),
    ({"group": "patient", "split": "hash"}, ["dataset.group", "dataset.split=hash"]),
    ({"split_column": "part", "split": "random"}, ["dataset.split_column", "dataset.split=random"]),
    ({"folds": 5, "split": "hash"}, ["dataset.folds", "dataset.split=hash"]),
    ({"folds": 5, "split_column": "part"}, ["dataset.folds", "dataset.split_column"]),
    ({"folds": 5, "fold": 5}, ["dataset.fold", "0 to 4"]),
    ({"fold": 1}, ["dataset.fold", "dataset.folds"]),
    ({"split": "stratified", "target": "x"}, ["dataset.split", "class"]),
    ({"folds": 5, "path": None, "train_path": "t.csv"}, ["dataset.folds", "dataset.train_path"]),
    ({"split_column": "part", "path": None, "train_path": "t.csv"}, ["dataset.split_column", "dataset.train_path"]),
]


@pytest.mark.parametrize(("options", "named"), COMBINATIONS, ids=lambda value: " ".join(map(str, value)))
def test_what_does_not_go_together_is_refused_by_name(options: dict[str, Any], named: list[str], file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        table(**{"seed": 0, "path": "t.csv", "target": "label", **options})
    assert all(name in str(caught.value) for name in named), caught.value


TOO_LITTLE: list[tuple[DataTable, np.ndarray, Splitting, str]] = [
    (made(20)[0], np.r_[np.ones(19, int), 0], Splitting(folds=3), "class 'rare' stands in one row alone"),
    (
        DataTable([column_of("g", list("aabbccddee"))]), np.r_[[0, 0], np.ones(8, int)], Splitting(folds=3, group="g"),
        "class 'rare' stands in one group alone",
    ),
    (DataTable([column_of("g", list("aabb"))]), np.zeros(4, int), Splitting(group="g"), "2 groups are too few"),
    (DataTable([column_of("g", list("aabb"))]), np.array([0, 1, 0, 1]), Splitting(group="g", folds=3), "too few"),
    (made(12)[0], np.arange(12) % 2, Splitting(folds=13), "12 rows cannot be cut into 13 folds"),
    (DataTable([column_of("t", ["1", "", "3"])]), np.zeros(3, int), Splitting(time="t"), "row 2 has no time"),
    (DataTable([column_of("p", ["train", "other"])]), np.zeros(2, int), Splitting(column="p"), "other"),
    (DataTable([column_of("p", ["test", "test"])]), np.zeros(2, int), Splitting(column="p"), "no row is left for"),
]  # fmt: skip


@pytest.mark.parametrize(("whole", "label", "how", "said"), TOO_LITTLE, ids=[row[3] for row in TOO_LITTLE])
def test_too_little_for_the_parts_is_said(whole: DataTable, label: np.ndarray, how: Splitting, said: str) -> None:
    with pytest.raises(DataError, match=said):
        split_table(whole, label, how, ("rare", "usual"))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of sixty rows in the current folder, the first of which stands there five times."""
    monkeypatch.chdir(tmp_path)
    whole, label = made(60)
    lines = [",".join(row) for row in zip(*(column.cells() for column in whole.columns), strict=True)]
    lines = [f"{line},{'yes' if one else 'no'}" for line, one in zip(lines, label, strict=True)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["x,patient,day,part,label", *lines, *[lines[0]] * 4]) + "\n")
    return path


def read_with(**options: Any) -> Data:
    return table(**{"seed": 0, "path": "t.csv", "target": "label", **options})


def test_folds_do_not_depend_on_the_seed(file: Path) -> None:
    first, second, other = (
        read_with(folds=5, fold=1, **more) for more in ({"seed": 1}, {"seed": 2}, {"seed": 1, "split_seed": 3})
    )
    assert first.test is not None
    assert second.test is not None
    assert other.test is not None
    assert first.test.inputs[0].equal(second.test.inputs[0])
    assert first.val is not None
    assert second.val is not None
    assert not first.val.inputs[0].equal(second.val.inputs[0]), "validation is drawn by the seed"
    assert not first.test.inputs[0].equal(other.test.inputs[0])
    plain = [read_with(seed=seed).test for seed in (1, 2)]
    assert plain[0] is not None
    assert plain[1] is not None
    assert not plain[0].inputs[0].equal(plain[1].inputs[0]), "without folds the split is that of the seed"


def test_test_rows_that_stand_in_train_are_said(file: Path) -> None:
    said = [remark for remark in read_with(folds=2, fold=0).remarks if "occur in train" in remark]
    assert len(said) == 1
    assert not any("occur in train" in remark for remark in read_with(split="hash").remarks), "equal rows stay together"
