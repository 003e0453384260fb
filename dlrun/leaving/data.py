"""What the templates of the data sections are told: files, fractions and what was found in the data of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlrun.config.config import Config
from dlrun.data import mnist
from dlrun.data.base import Data
from dlrun.data.csv_files import CsvRows
from dlrun.data.image_folder import ImageRows, by_channel, image_folders, sides_of
from dlrun.data.name_files import ROLES
from dlrun.data.names import FILES
from dlrun.data.paths import data_root, resolve
from dlrun.data.vocabulary import without_marks
from dlrun.leaving.layout import quoted
from dlrun.leaving.source import sources
from dlrun.package import PACKAGE

CORPUS = PACKAGE / "data" / "corpus" / "names.csv"
TABLES = ("breast_cancer", "iris", "wine", "diabetes")
KINDS = {**dict.fromkeys(TABLES, "table"), "fashion_mnist": "mnist"}  # the template, where its name is another one


@dataclass(frozen=True)
class DataText:
    """The template of a data section with its values, and files that lie beside the written one, by their names."""

    template: str
    values: dict[str, Any]
    files: dict[str, Path] = field(default_factory=dict)


def data_text(config: Config, data: Data) -> DataText:
    """How the data of a run are written."""
    name = config.dataset.name
    values = {"split": "stratified", "standardize_target": False, **config.section("dataset")}
    values["binary"] = data.spec.task == "classification" and data.spec.num_outputs == 1
    parts = [part for part in ("train", "val", "test") if part in data.parts()]
    values |= {"name": name, "parts": parts, "stratified": data.spec.task == "classification"}
    files: dict[str, Path] = {}
    if name in mnist_sources():
        values |= mnist_values(config, data)
    elif name == "names":
        more, files = names_values(config)
        values |= more
    elif name == "image_folder":
        values |= {**folder_values(config), "classes": data.spec.labels, "endings": endings_of(data)}
    return DataText(f"data_{KINDS.get(name, name)}.py.j2", values, files)


def mnist_sources() -> dict[str, str]:
    """MNIST and its relative, and their class in torchvision."""
    return {"mnist": mnist.MNIST.folder, "fashion_mnist": mnist.FASHION.folder}


def mnist_values(config: Config, data: Data) -> dict[str, Any]:
    """The folder, torchvision's class, and whether the split went by class: of a handful of rows it does not."""
    val = data.val
    by_class = False
    if val is not None:
        counts = (data.train.target.bincount(minlength=10) + val.target.bincount(minlength=10)).tolist()
        by_class = val.samples >= len(counts) and min(counts) > 1
    root = data_root(config.dataset.root)
    return {"source": mnist_sources()[config.dataset.name], "root": place(root), "stratified": by_class}


def names_values(config: Config) -> tuple[dict[str, Any], dict[str, Path]]:
    """The files of names with their form, and the package's own corpus where it is read."""
    section = config.dataset
    given = [resolve(path) for path in (section.train_path, section.test_path) if path]
    root = data_root(section.root) / "names"
    if not given and section.source == "auto" and all((root / name).is_file() for name in FILES):
        given = [root / name for name in FILES]
    files = {} if given else {CORPUS.name: CORPUS}
    tables = [name_table(path, section.header) for path in given or [CORPUS]]
    words = [place(path) for path in given] or [f'Path(__file__).with_name("{CORPUS.name}")']
    plain = all(text.isascii() for table in tables for text in table["texts"])
    values: dict[str, Any] = {"tables": [{"path": word, **table} for word, table in zip(words, tables, strict=True)]}
    values["fold"] = "\n\n\n".join(sources([without_marks])) if section.ascii and not plain else ""
    return values, files


def name_table(path: Path, header: bool | str) -> dict[str, Any]:
    """Where name and country stand in a file, how it is cut, and its names."""
    rows = CsvRows(path, ROLES, header)
    texts = [text for _, text, _ in rows.read()]
    columns = rows.columns
    assert columns is not None, "it was read when the data were built"
    packed = path.suffix == ".gz"
    found: dict[str, Any] = {"open": "gzip.open" if packed else "open", "mode": '"rt", ' if packed else ""}
    found["delimiter"] = "" if rows.delimiter == "," else f", delimiter={quoted(rows.delimiter)}"
    return found | {"header": columns.header is not None, "text": columns.text, "label": columns.label, "texts": texts}


def folder_values(config: Config) -> dict[str, Any]:
    """The folders of images, their size, and the numbers by which they are normalized."""
    section = config.dataset
    folders = image_folders(section.path, section.train_path, section.val_path, section.test_path)
    height, width = sides_of(section.size)
    channels = 3 if section.color == "rgb" else 1
    mean, std = by_channel("mean", section.mean, channels), by_channel("std", section.std, channels)
    return {
        "folders": {name: place(folder) for name, folder in folders.items()},
        "size": (width, height),
        "mode": "RGB" if channels == 3 else "L",
        "mean": number_text(mean),
        "std": number_text(std),
    }


def number_text(values: list[float]) -> str:
    """One number, or one for each channel as a tensor (C, 1, 1)."""
    return str(values[0]) if len(set(values)) == 1 else f"torch.tensor({values}).view(-1, 1, 1)"


def endings_of(data: Data) -> list[str]:
    """The endings of the image files."""
    rows = [part.dataset for part in data.parts().values()]
    return sorted({file.suffix.lower() for part in rows if isinstance(part, ImageRows) for file in part.files})


def place(path: Path) -> str:
    """A path as an expression; one below the home folder is written so that it holds for other users, too."""
    whole, home = path.absolute(), Path.home()
    if whole.is_relative_to(home) and whole != home:
        return f"Path.home() / {quoted(str(whole.relative_to(home)))}"
    return f"Path({quoted(str(whole))})"
