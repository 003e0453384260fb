"""An encoded table on disk: its matrices as .npy, all else as JSON, under a key of all that they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from dlrun.data.base import Data, Split
from dlrun.data.cache import READY, cache_folder
from dlrun.data.files import open_data_file
from dlrun.data.table.read import find_files
from dlrun.plain import Values
from dlrun.spec import DataSpec

BLOCK = 1 << 22


def kept(options: Mapping[str, object], make: Callable[[], Data]) -> Data:
    """The data set out of the cache, or made and put there. What cannot be read is made again."""
    folder = cache_folder() / entry_key(options)
    try:
        return load(folder)
    except (OSError, ValueError, KeyError, TypeError):
        data = make()
    save_entry(folder, data)
    return data


def entry_key(options: Mapping[str, object]) -> str:
    """A hash of the content of the files, of all options, and of the versions of dlrun and its packages."""
    paths = {name: options.get(name) for name in ("path", "train_path", "val_path", "test_path", "schema")}
    facts = {
        "versions": {name: version(name) for name in ("dlrun", "numpy", "pandas")},
        "files": {name: digests(value) for name, value in paths.items()},
        "options": {name: value for name, value in options.items() if name not in (*paths, "cache", "baseline")},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def digests(paths: object) -> list[str]:
    """The SHA-256 of each file that a key names."""
    if paths is None:
        return []
    names = [paths] if isinstance(paths, str) else list(paths) if isinstance(paths, Sequence) else []
    return [digest(file) for file in find_files(names)]


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with open_data_file(file) as source:
        while block := source.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def save_entry(folder: Path, data: Data) -> None:
    """Write an entry, whole or not at all. A full or read-only disk is no reason to fail."""
    values: Values = {
        "spec": data.spec.to_dict(),
        "notes": list(data.notes),
        "remarks": list(data.remarks),
        "files": dict(data.files),
        "parts": list(data.parts()),
        "weighted": data.train.weight is not None,
        "test_rows": list(data.test_rows),
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    except OSError:
        return
    try:
        for name, part in data.parts().items():
            np.save(fresh / f"{name}-inputs.npy", part.inputs[0].numpy())
            np.save(fresh / f"{name}-target.npy", part.target.numpy())
            if part.weight is not None:
                np.save(fresh / f"{name}-weight.npy", part.weight.numpy())
        (fresh / READY).write_text(json.dumps(values), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(fresh, folder)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)


def load(folder: Path) -> Data:
    """Read an entry. Raises `OSError`, `ValueError`, `KeyError` or `TypeError` where it is not whole."""
    values = json.loads((folder / READY).read_text(encoding="utf-8"))
    parts: Values = {}
    for name in values["parts"]:
        inputs, target = (np.load(folder / f"{name}-{what}.npy", allow_pickle=False) for what in ("inputs", "target"))
        if len(inputs) != len(target):
            raise ValueError(f"{folder}: rows are missing")
        weight = None
        if values["weighted"]:
            weight = torch.from_numpy(np.load(folder / f"{name}-weight.npy", allow_pickle=False))
        parts[name] = Split((torch.from_numpy(inputs),), torch.from_numpy(target), weight=weight)
    notes = (*values["notes"], f"read from the cache {folder.name[:8]} (dlrun cache clear empties it)")
    spec = DataSpec.from_dict(values["spec"])
    return Data(spec, **parts, notes=notes, remarks=tuple(values["remarks"]), files=values["files"],
                test_rows=tuple(values["test_rows"]))  # fmt: skip
