"""What the rival of a data set reaches (boosted trees): fitted once for all jobs of a sweep that have the same data."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import torch

from dlrun.data.base import Data
from dlrun.plain import Values
from dlrun.store.files import write_json
from dlrun.store.reader import sweep_of
from dlrun.store.reading import read_json


def rival_of(data: Data, run: Path) -> Values:
    """The metrics of `data.rival(data)`; those of a sweep's job are kept beside the sweep's records."""
    assert data.rival is not None
    sweep = sweep_of(run)
    if sweep is None or any(part.dataset is not None for part in data.parts().values()):
        return data.rival(data)
    kept = sweep / ".state" / f"rival-{rival_key(data)}.json"
    found = read_json(kept)
    if not found:
        found = data.rival(data)
        with suppress(OSError):  # a full or read-only disk is no reason to fail
            write_json(kept, found)
    return found


def rival_key(data: Data) -> str:
    """A hash of all that a rival's result depends on: the rows of each part, their description, and versions."""
    facts = {
        "versions": {name: version(name) for name in ("dlrun", "scikit-learn")},
        "rival": f"{data.rival.__module__}.{getattr(data.rival, '__qualname__', '')}",
        "spec": data.spec.to_dict(),
    }
    found = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, part in data.parts().items():
        for tensor in (*part.inputs, part.target, *([] if part.weight is None else [part.weight])):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]
