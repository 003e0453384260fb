"""Data made by formula: small enough to see through, and the sets of the study notes (S2, S4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dlrun.data.arrays import from_arrays
from dlrun.data.base import Data, Split, from_parts
from dlrun.data.seeds import derive
from dlrun.data.splits import seed_of_test


def moons(
    *,
    seed: int,
    root: Path,
    samples: int = 1000,
    noise: float = 0.1,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    split_seed: int | None = None,
) -> Data:
    """Two interleaved half circles (N, 2), with Gaussian noise of that standard deviation."""
    half = samples // 2
    angle = np.concatenate([np.linspace(0, np.pi, samples - half), np.linspace(0, np.pi, half)])
    lower = np.arange(samples) >= samples - half
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points[lower] = [1.0, 0.5] - points[lower]
    return _plane("moons", points, lower, (seed, split_seed), noise, test_fraction, val_fraction)


def circles(
    *,
    seed: int,
    root: Path,
    samples: int = 1000,
    noise: float = 0.1,
    factor: float = 0.5,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    split_seed: int | None = None,
) -> Data:
    """A circle inside another (N, 2): `factor` is the inner radius, the outer one is 1."""
    half = samples // 2
    inner = np.arange(samples) >= samples - half
    angle = np.concatenate([np.arange(samples - half) / (samples - half), np.arange(half) / half]) * 2 * np.pi
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points[inner] *= factor
    return _plane("circles", points, inner, (seed, split_seed), noise, test_fraction, val_fraction)


def _plane(
    name: str,
    points: np.ndarray,
    second: np.ndarray,
    seeds: tuple[int, int | None],
    noise: float,
    test: float,
    val: float,
) -> Data:
    """Two classes of points in the plane, with noise. `seeds` are the seed and `split_seed`."""
    points = points + noise * _random(*seeds).standard_normal(points.shape)
    return from_arrays(
        name,
        "classification",
        "tabular",
        points,
        second.astype(np.int64),
        seed=seeds[0],
        split_seed=seeds[1],
        test_fraction=test,
        val_fraction=val,
        labels=["outer", "inner"] if name == "circles" else ["upper", "lower"],
        feature_names=["x", "y"],
    )


def parabola(
    *,
    seed: int,
    root: Path,
    samples: int = 1000,
    noise: float = 0.1,
    test_fraction: float = 0.0,
    val_fraction: float = 0.0,
    split_seed: int | None = None,
) -> Data:
    """y = x^2 + noise N(0, 1) at `samples` points from -1 to 1, all of them for training."""
    x = np.linspace(-1, 1, samples)[:, None]
    y = x**2 + noise * _random(seed, split_seed).standard_normal(x.shape)
    return _curve("parabola", x, y, (seed, split_seed), test_fraction, val_fraction)


def line(*, seed: int, root: Path) -> Data:
    """y = 2 x at x = 1, 2, 3: three points, all of them for training."""
    x = np.array([[1.0], [2.0], [3.0]])
    return _drawn(_curve("line", x, 2 * x, (seed, None), 0.0, 0.0), 0.0, 5.0)  # so that f(4) is in it


def _curve(name: str, x: np.ndarray, y: np.ndarray, seeds: tuple[int, int | None], test: float, val: float) -> Data:
    return from_arrays(
        name,
        "regression",
        "tabular",
        x,
        y,
        seed=seeds[0],
        split_seed=seeds[1],
        test_fraction=test,
        val_fraction=val,
        feature_names=["x"],
        target_names=["y"],
    )


def pass_fail(*, seed: int, root: Path) -> Data:
    """Hours of study 1, 2, 3, and whether the examination was passed: 0, 0, 1."""
    hours, passed = np.array([[1.0], [2.0], [3.0]]), np.array([0, 0, 1])
    labels, names = ["fail", "pass"], ["hours"]
    data = from_arrays(
        "pass_fail", "classification", "tabular", hours, passed, seed=seed, labels=labels, feature_names=names
    )
    return _drawn(data, 0.0, 10.0)


def _drawn(data: Data, low: float, high: float) -> Data:
    """The same data, whose fit is drawn from `low` to `high`."""
    return replace(data, drawn=(low, high))


def hello(*, seed: int, root: Path) -> Data:
    """One sequence, `hello`, labelled by `ohlol`, its letters as e, h, l, o = 0 to 3.

    Codes (1, 5) and length (1,). The vocabulary is its four letters, without padding or unknown: nothing is
    padded.
    """
    letters = "ehlo"
    codes, wanted = (torch.tensor([[letters.index(c) for c in word]]) for word in ("hello", "ohlol"))
    train = Split((codes, torch.tensor([5])), wanted)
    return from_parts("hello", "labelling", "text", train, labels=list(letters), vocabulary=list(letters))


def tags(
    *,
    seed: int,
    root: Path,
    samples: int = 1000,
    noise: float = 0.3,
    test_fraction: float = 0.2,
    val_fraction: float = 0.2,
    split_seed: int | None = None,
) -> Data:
    """Rows (N, 10) that are the sum of the patterns of their tags, and noise; the target (N, 5) says which tags.

    Each tag is there with probability 0.4, whatever the others are.
    """
    names = ["red", "round", "heavy", "sweet", "ripe"]
    random = _random(seed, split_seed)
    patterns = random.standard_normal((len(names), 10))
    there = random.random((samples, len(names))) < 0.4
    rows = there @ patterns + noise * random.standard_normal((samples, 10))
    return from_arrays(
        "tags",
        "multilabel",
        "tabular",
        rows,
        there.astype(np.float32),
        seed=seed,
        split_seed=split_seed,
        test_fraction=test_fraction,
        val_fraction=val_fraction,
        labels=names,
        target_names=names,
    )


def _random(seed: int, split_seed: int | None) -> np.random.Generator:
    return np.random.default_rng(derive(seed_of_test(seed, split_seed), "data"))
