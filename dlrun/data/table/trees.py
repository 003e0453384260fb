"""Is a net the right tool? Boosted trees of scikit-learn on the same rows, beside the trivial baseline."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np

from dlrun.data.base import Data
from dlrun.plain import Values

SECONDS = 30.0  # at most
STEP, MOST = 20, 100  # trees that are added at a time, and in all (scikit-learn's default)
NAME = "boosted trees"


class Predicts(Protocol):
    """A fitted estimator of scikit-learn's."""

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Class numbers or values (N,)."""


def boosted_trees(data: Data) -> Values:
    """What scikit-learn's HistGradientBoosting, with its defaults, reaches on the part that the result is told of.

    `{"of": ..., "part": ..., METRIC: value}`, with the metrics of the run, of a regression in the units of the
    target. Empty for several targets. Fewer trees are fitted where the time is over.
    """
    name = next(part for part in ("test", "val", "train") if part in data.parts())
    part, train = data.parts()[name], data.train
    if data.spec.task not in ("classification", "regression") or train.target[0].numel() > 1:
        return {}
    inputs, wanted = part.inputs[0].numpy(), part.target.numpy().reshape(-1)
    weight, own = (None if split.weight is None else split.weight.double().numpy() for split in (part, train))
    model = fit_trees(train.inputs[0].numpy(), train.target.numpy().reshape(-1), own, data.spec.task)
    said = model.predict(inputs)
    found: Values = {"of": NAME, "part": name}
    if data.spec.task == "classification":
        return found | {"accuracy": float(np.average(said == wanted, weights=weight))}
    error, about = said - wanted, wanted - np.average(wanted, weights=weight)
    absolute, squared, spread = (float(np.average(each, weights=weight)) for each in (abs(error), error**2, about**2))
    return found | {"mae": absolute, "r2": 1 - squared / spread if spread else float("nan")}


def fit_trees(inputs: np.ndarray, target: np.ndarray, weight: np.ndarray | None, task: str) -> Predicts:
    """Trees fitted in steps, so that the time can be kept."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if task == "classification" else HistGradientBoostingRegressor
    model = kind(max_iter=STEP, warm_start=True, random_state=0, early_stopping=False)
    end = time.monotonic() + SECONDS
    while True:
        begun = time.monotonic()
        model.fit(inputs, target, weight)
        took = time.monotonic() - begun
        if model.max_iter >= MOST or time.monotonic() + took > end:
            return model
        model.max_iter += STEP
