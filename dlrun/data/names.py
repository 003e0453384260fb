"""Family names and their country: a name is a row of character codes, its country the class.

The experiment is the PyTorch tutorial's "NLP From Scratch: Classifying Names with a Character-Level RNN"
(docs.pytorch.org/tutorials/intermediate/char_rnn_classification_tutorial.html). Labels and vocabulary are
fitted on the training part (vocabulary.py).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch

from dlrun.data import name_files
from dlrun.data.base import Data, Split, from_parts
from dlrun.data.download import fetch
from dlrun.data.name_files import NameRow
from dlrun.data.paths import resolve
from dlrun.data.splits import check_class_count, seed_of_test, split
from dlrun.data.vocabulary import PADDING, UNKNOWN, LabelMap, Vocabulary
from dlrun.errors import ConfigError, DataError, Problem, did_you_mean
from dlrun.spec import DataSpec

FILES = ("names_train.csv.gz", "names_test.csv.gz")


def names(
    *,
    seed: int,
    root: Path,
    source: str = "auto",
    train_path: str | None = None,
    test_path: str | None = None,
    test_fraction: float = 0.2,
    val_fraction: float = 0.1,
    split_seed: int | None = None,
    ascii: bool = True,
    vocabulary: str = "train",
    header: bool | str = "auto",
) -> Data:
    """Names as text of kind classification: codes (N, T) and lengths (N,), the number of the country (N,).

    `vocabulary` is `train` (the characters of the training part) or `ascii` (128 codes, as `ord` gives them).
    `header` says whether the first row of `train_path` and `test_path` is one; auto: by the rule of `csv_files`.
    Raises `ConfigError` for paths and sources that exclude each other, `DataError` for a file's faults.
    """
    found = _rows(root, source, train_path, test_path, header)
    origin = found.origin
    check_class_count(len({row.country for row in found.train}), len(found.train), f"dataset names: {origin}")
    train, test = _folded(found.train, ascii), _folded(found.test, ascii)
    if not test and test_fraction:
        train, test = _cut(train, test_fraction, seed_of_test(seed, split_seed), "test", origin)
    train, val = _cut(train, val_fraction, seed, "val", origin) if val_fraction else (train, [])

    labels = LabelMap.fit(row.country for row in train)
    if len(labels.labels) < 2:
        raise DataError(f"dataset names: every name of {origin} is from {labels.labels[0]}. Nothing could be learned.")
    known = _vocabulary(train, vocabulary, ascii)
    parts = {"train": train, "val": val, "test": test}
    counts = ", ".join(f"{len(rows)} {part}" for part, rows in parts.items() if rows)
    notes = [f"names: {counts}, from {origin}", *found.notes, *_unknown(known, parts)]
    return from_parts(
        "names",
        "classification",
        "text",
        _part(train, known, labels),
        _part(val, known, labels) if val else None,
        _part(test, known, labels) if test else None,
        labels=labels.labels,
        vocabulary=known.characters,
        preprocessing={"inputs": [[known.state()]]},
        notes=notes,
        remarks=_findings(train, test),
    )


def labelled_rows(spec: DataSpec, path: Path) -> Split:
    """The names and countries of a CSV as a trained model knows them. Raises `DataError` for an unknown country."""
    words, rows = Vocabulary.of(spec), name_files.read_csv(path).rows
    codes = words.encode_folded([words.fold(row.name) for row in rows])
    return Split(codes, LabelMap(spec.labels).apply([row.country for row in rows]))


class Found(NamedTuple):
    """The rows of train, of test (empty where the source has one list only), where they are from, and notes."""

    train: list[NameRow]
    test: list[NameRow]
    origin: str
    notes: list[str]


def _rows(root: Path, source: str, train_path: str | None, test_path: str | None, header: bool | str) -> Found:
    if test_path and not train_path:
        raise ConfigError(Problem("dataset.test_path", "goes with dataset.train_path, which is not given."))
    if train_path:
        if source != "auto":
            raise ConfigError(Problem("dataset.source", f"{source} does not go with dataset.train_path: give one."))
        paths = [resolve(path) for path in (train_path, test_path) if path]
        return _of_files(paths, header, " and ".join(str(path) for path in paths))
    folder = root / "names"
    there = [name for name in FILES if (folder / name).is_file()] if source == "auto" else []
    if len(there) == 1:
        lacking = next(name for name in FILES if name not in there)
        raise DataError(f"{folder} holds {there[0]} but no {lacking}. Add it, or use dataset.source=builtin.")
    if there:
        return _of_files([folder / name for name in FILES], header, f"{folder} ({FILES[0]}, {FILES[1]})")
    if source == "pytorch":
        return Found(*_tutorial(folder), [])
    why = f": there is no {FILES[0]} in {folder}" if source == "auto" else ""
    return Found(name_files.read_builtin(), [], f"the built-in corpus (dataset.source=builtin{why})", [])


def _of_files(paths: list[Path], header: bool | str, origin: str) -> Found:
    files = [name_files.read_csv(path, header) for path in paths]
    test = files[1].rows if len(files) > 1 else []
    if header == "auto":
        name_files.check_first_row(files[0], test, str(paths[0]))
    _check_countries(files[0].rows, test)
    return Found(files[0].rows, test, origin, [note for file in files for note in file.notes])


def _tutorial(folder: Path) -> tuple[list[NameRow], list[NameRow], str]:
    """The tutorial's names: `Country.txt` files put into `folder`, else its archive, downloaded once."""
    if any(folder.glob("*.txt")):
        return name_files.read_folder(folder), [], f"the PyTorch tutorial's names in {folder}"
    path = folder / "data.zip"
    fresh = not path.exists()
    if fresh:
        _download(path)
    try:
        return name_files.read_archive(path), [], f"the PyTorch tutorial's archive {path}"
    except DataError:
        if fresh:
            path.unlink()
        raise


def _download(path: Path) -> None:
    try:
        fetch("names/data.zip", [name_files.ARCHIVE_URL], path)
    except DataError as error:
        raise DataError(
            f"dataset names: {path} is missing; {error}. Put {name_files.ARCHIVE_URL} there by hand, or the "
            f"*.txt files of its data/names folder into {path.parent}. dataset.source=builtin works offline."
        ) from error


def _check_countries(train: list[NameRow], test: list[NameRow]) -> None:
    """The countries of test must be among those of train: `DataError` names the first other one."""
    known = {row.country for row in train}
    strange = [row for row in test if row.country not in known]
    if not strange:
        return
    lines = ", ".join(str(row.line) for row in strange if row.country == strange[0].country)
    others = sorted({row.country for row in strange} - {strange[0].country})
    raise DataError(
        f"dataset names: the test file has the country {strange[0].country!r} (line {lines}), which train "
        f"lacks. {did_you_mean(strange[0].country, known)}".rstrip()
        + (f" Also: {', '.join(others[:9])}." if others else "")
        + (" If line 1 is a header, say dataset.header=true." if strange[0].line == 1 else "")
    )


def _cut(
    rows: list[NameRow], fraction: float, seed: int, stream: str, origin: str
) -> tuple[list[NameRow], list[NameRow]]:
    """(rest, taken): seeded, stratified by country. A country with one row stays in the rest."""
    counts = Counter(row.country for row in rows)
    single = [row for row in rows if counts[row.country] == 1]
    several = [row for row in rows if counts[row.country] > 1]
    order = sorted({row.country for row in several})
    if not order:
        raise DataError(f"dataset.{stream}_fraction: no country of {origin} has two names. Are they countries?")
    number = {country: i for i, country in enumerate(order)}
    target = torch.tensor([number[row.country] for row in several], dtype=torch.int64)
    rest, taken = split(len(several), fraction, seed, stream, target, order)
    return [several[i] for i in rest.tolist()] + single, [several[i] for i in taken.tolist()]


def _folded(rows: list[NameRow], ascii: bool) -> list[NameRow]:
    fold = Vocabulary((), ascii).fold
    return [row if row.name.isascii() else row._replace(name=fold(row.name)) for row in rows]


def _vocabulary(train: list[NameRow], kind: str, ascii: bool) -> Vocabulary:
    """The character of each code: those of the training part, or 128 as `ord` gives them."""
    if kind == "ascii":
        return Vocabulary([PADDING, UNKNOWN, *(chr(code) for code in range(2, 128))], ascii)
    return Vocabulary.fit((row.name for row in train), ascii)


def _part(rows: list[NameRow], vocabulary: Vocabulary, labels: LabelMap) -> Split:
    codes = vocabulary.encode_folded([row.name for row in rows])
    return Split(codes, labels.apply([row.country for row in rows]))


def _findings(train: list[NameRow], test: list[NameRow]) -> list[str]:
    """What limits or flatters the accuracy: test names seen in training, names of several countries (T37)."""
    notes = []
    seen = {row.name for row in train}
    both = sum(row.name in seen for row in test)
    if both:
        notes.append(f"names: {both / len(test):.1%} of the test names ({both}) occur in train as well")
    countries: dict[str, set[str]] = {}
    for row in train + test:
        countries.setdefault(row.name, set()).add(row.country)
    several = sum(len(found) > 1 for found in countries.values())
    if several:
        notes.append(f"names: {several} names belong to two or more countries: no model gets all of them right")
    return notes


def _unknown(vocabulary: Vocabulary, parts: dict[str, list[NameRow]]) -> list[str]:
    """A note for each part with characters that have no code, with how many and which."""
    notes = []
    for part, rows in parts.items():
        if strange := vocabulary.unknown(row.name for row in rows):
            which = " ".join(char for char, _ in strange.most_common(10))
            notes.append(f"names: {strange.total()} characters of {part} are unknown (code 1): {which}")
    return notes
