"""Boosted trees beside a table: fitted once for the jobs of a sweep that have the same data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dlrun.data.base import Data, Split
from dlrun.data.own import from_arrays
from dlrun.plain import Values
from dlrun.run.rival import rival_of

FITTED: list[int] = []


def fit(data: Data) -> Values:
    """A rival that counts how often it is fitted."""
    FITTED.append(data.train.samples)
    return {"of": "a rival", "part": "test", "mae": 0.1 + len(FITTED)}


def made(seed: int = 0, weighted: bool = False) -> Data:
    """Ninety rows."""
    x = torch.arange(90.0)[:, None]
    data = replace(from_arrays(x.numpy(), (x[:, 0] * 2).numpy(), seed=seed), rival=fit)
    weight = torch.linspace(1, 2, data.train.samples)
    return replace(data, train=replace(data.train, weight=weight)) if weighted else data


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The folder of a sweep of two jobs."""
    FITTED.clear()
    for name in (".state", "jobs/a", "jobs/b"):
        (tmp_path / "sweep" / name).mkdir(parents=True)
    (tmp_path / "sweep/sweep.yaml").write_text("jobs: {}\n", encoding="utf-8")
    return tmp_path / "sweep"


def test_jobs_with_the_same_data_have_one_rival(sweep: Path) -> None:
    first = rival_of(made(), sweep / "jobs/a")
    assert rival_of(made(), sweep / "jobs/b") == first == {"of": "a rival", "part": "test", "mae": 1.1}
    assert len(FITTED) == 1


def test_other_rows_weights_and_runs_have_their_own(sweep: Path) -> None:
    own = [made(), made(seed=1), made(weighted=True)]
    data = own[0]
    assert data.test is not None
    turned = Split(data.test.inputs, data.test.target.flip(0))
    own.append(replace(data, test=turned))
    found = [rival_of(each, sweep / "jobs/a")["mae"] for each in own]
    assert len(set(found)) == len(FITTED) == 4
    for _ in range(2):
        rival_of(made(), sweep.parent / "alone")
    assert len(FITTED) == 6
