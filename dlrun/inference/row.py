"""One input of a trained model, as it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Value = str | Path | Sequence[str] | tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Row:
    """One input: what it is called in the answers, where it stands, and its value.

    The value is a text, the path of an image, the cells of a row of a table, or an array for each input of the model;
    `fault` says why there is none. `copied` are cells that the answer repeats.
    """

    name: str
    value: Value
    place: str = ""
    fault: str = ""
    copied: Mapping[str, str] = field(default_factory=dict)
