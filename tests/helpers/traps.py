"""What the tests of the traps share: training by words in a folder of its own, and reading what it left."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch

import dlrun
from dlrun.api import Run
from dlrun.run.build import build
from dlrun.run.context import Components

BASE = ("device=cpu", "device.threads=1")


def train(*words: str) -> Run:
    """Train by words in the working directory."""
    return dlrun.train([*BASE, *words])


def built(*words: str) -> Components:
    """Everything a run needs, before its first step."""
    return build(dlrun.compose([*BASE, *words]))


def column(run: Run, name: str, file: str = "metrics.csv") -> list[float]:
    """A column of metrics.csv or steps.csv, without its empty cells."""
    with open(run.path / file, newline="", encoding="utf-8") as lines:
        return [float(row[name]) for row in csv.DictReader(lines) if row[name]]


def checkpoint(run: Run, name: str = "last") -> dict[str, Any]:
    """A checkpoint, as plain torch reads it."""
    values: dict[str, Any] = torch.load(run.path / "checkpoints" / f"{name}.pt", weights_only=True)
    return values


def facts(run: Run) -> dict[str, Any]:
    """environment.json."""
    found: dict[str, Any] = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))
    return found


def names_csv(path: Path, rows: list[tuple[str, str]]) -> str:
    """A file of name,country; the path as a word."""
    path.write_text("".join(f'"{name}","{country}"\n' for name, country in rows), encoding="utf-8")
    return str(path)
