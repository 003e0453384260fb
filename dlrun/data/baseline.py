"""What a model must beat: always the majority class of the training part, or always its mean."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlrun.data.base import Data, Part
from dlrun.data.preprocess import prepare
from dlrun.spec import IGNORE_INDEX

ROWS = 5_000  # of reconstructions that are looked at


def baseline(data: Data) -> dict[str, Any]:
    """The baseline's metrics on the part that results are told of (test, else validation, else train).

    Classification and labelling: `accuracy` of the majority class. Multilabel: `accuracy` of each label's
    majority. Regression: `mae` and `r2` of the training mean. Reconstruction: `loss` (MSE) of the mean image.
    Empty when the rows are on disk.
    """
    judged = data.test or data.val or data.train
    if data.spec.task == "reconstruction":
        return mean_image(data, judged)
    train, target = data.train.target, judged.target
    if data.spec.task == "regression":
        _, train = prepare(data.spec, tuple(x[:1] for x in data.train.inputs), train)
        _, target = prepare(data.spec, tuple(x[:1] for x in judged.inputs), target)
        return mean_value(train.double(), target.double())
    if data.spec.task == "multilabel":
        common = (train.nanmean(0) >= 0.5).float()
        known = ~torch.isnan(target)
        return {"of": "majority labels", "accuracy": ((target == common) & known).sum().item() / known.sum().item()}
    return majority(train.flatten().long(), target.flatten().long())


def majority(train: Tensor, target: Tensor) -> dict[str, Any]:
    """The share of the commonest training class among the targets (positions that are ignored left out)."""
    train, target = train[train != IGNORE_INDEX], target[target != IGNORE_INDEX]
    common = int(train.bincount().argmax())
    return {"of": "majority class", "accuracy": (target == common).double().mean().item()}


def mean_value(train: Tensor, target: Tensor) -> dict[str, Any]:
    """MAE and R2 of the training mean, in the units that the model is trained in."""
    errors = target - train.mean(0)
    spread = (target - target.mean(0)).square().sum(0).clamp_min(1e-30)
    r2 = (1 - errors.square().sum(0) / spread).mean().item()
    return {"of": "mean value", "mae": errors.abs().mean().item(), "r2": r2}


def mean_image(data: Data, judged: Part) -> dict[str, Any]:
    """The mean squared error of always drawing the mean training image."""
    if data.train.dataset is not None:
        return {}
    images = [prepare(data.spec, tuple(x[:ROWS] for x in part.inputs), part.target[:ROWS])[0][0]
              for part in (data.train, judged)]  # fmt: skip
    return {"of": "mean image", "loss": (images[1] - images[0].mean(0)).square().mean().item()}
