"""Hashes of the code and of the data files, on which a job's result depends besides its configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlrun.components.plugins import loaded
from dlrun.components.registry import DATASETS
from dlrun.data.paths import data_root
from dlrun.package import PACKAGE
from dlrun.store.find import user_path

HASHED_BYTES = 1 << 20  # of larger files, the size and the time are hashed instead of the content
MOST_FILES = 20_000
PATHS = ("path", "train_path", "val_path", "test_path")  # keys of a data set that name its files


def code_hash() -> str:
    """A hash of dlrun's own sources and of the plug-ins that are loaded."""
    plugins = sorted(record.sha256 for record in loaded())
    return hashlib.sha256(" ".join([_sources(), *plugins]).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(PACKAGE)).encode() + path.read_bytes())
    return digest.hexdigest()


def data_hash(dataset: Mapping[str, Any]) -> str:
    """A hash of the data files of a `dataset` section; empty if there are none.

    The content of small files is hashed; of large ones, the name, size and time. Data that scikit-learn or dlrun ship
    are not included.
    """
    digest, any_file = hashlib.sha256(), False
    for path in _places(dataset):
        for file in _files(path):
            digest.update(str(file.relative_to(path.parent)).encode() + _facts(file))
            any_file = True
    return digest.hexdigest()[:16] if any_file else ""


def _places(dataset: Mapping[str, Any]) -> Iterator[Path]:
    """The files and folders that a dataset's keys name, and its own folder below the data root."""
    for key in PATHS:
        if isinstance(dataset.get(key), str):
            yield user_path(dataset[key]).absolute()
    folder = DATASETS.known(dataset.get("name")).folder
    if folder:
        yield data_root(dataset.get("root")).absolute() / folder


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = []
    for file in path.rglob("*") if path.is_dir() else ():
        if file.is_file():
            found.append(file)
        if len(found) == MOST_FILES:
            break
    return sorted(found)


def _facts(path: Path) -> bytes:
    stat = path.stat()
    if stat.st_size <= HASHED_BYTES:
        return hashlib.sha256(path.read_bytes()).digest()
    return f"{stat.st_size} {stat.st_mtime_ns}".encode()
