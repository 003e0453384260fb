"""From rows as stored to what a model sees: fitted on the training part only, plain values in the spec.

`spec.preprocessing` may hold `inputs`, a dict (or null) for each input, and `target`, a dict:

    {"inputs": [{"scale": 255.0, "mean": [0.1307], "std": [0.3081]}],
     "target": {"mean": [152.1], "std": [77.0]}}

Each step is optional: x / scale, then (x - mean) / std. `mean` and `std` (the standard deviation, not the
variance) are given by channel for images (N, C, H, W) and by feature, the last dimension, for all else.
uint8 inputs without a `scale` are divided by 255. (`drawn`, where it is there, prepares nothing: it is the
range of x in which the fit of one feature is drawn.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dlrun.spec import DataSpec


def fit_standard(train: Tensor) -> dict[str, list[float]]:
    """Mean and standard deviation by column of the training rows (N, F); a constant column gets std 1."""
    values = train.to(torch.float64)
    std = values.std(0, correction=0)
    return {"mean": values.mean(0).tolist(), "std": torch.where(std > 1e-12, std, 1.0).tolist()}


class Preparation:
    """A spec's preprocessing with its constants on one device: nothing is copied to it batch by batch."""

    def __init__(self, spec: DataSpec, device: torch.device | str = "cpu") -> None:
        self.spec = spec
        steps = spec.preprocessing
        self.inputs = [_constants(step, device) for step in steps.get("inputs", [])]
        self.target = _constants(steps.get("target"), device)

    def __call__(self, inputs: tuple[Tensor, ...], target: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """(inputs, target) as the model and the loss want them; what was given is never changed."""
        ready = self.prepare_inputs(inputs)
        return ready, ready[0] if self.spec.task == "reconstruction" else self.prepare_target(target)

    def prepare_inputs(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Model inputs alone, for prediction on new rows."""
        if self.spec.input_kind == "text":
            return tuple(codes.to(torch.int64) for codes in inputs)
        steps = self.inputs or [{}] * len(inputs)
        return tuple(_scaled(rows, step) for rows, step in zip(inputs, steps, strict=True))

    def prepare_target(self, target: Tensor) -> Tensor:
        """Class numbers as int64, all else as float32: standardized where the spec says so, (N, 1) where two
        classes are one output."""
        if self.spec.task == "labelling" or (self.spec.task == "classification" and self.spec.num_outputs > 1):
            return target.to(torch.int64)
        if self.spec.task == "classification":
            target = target.reshape(-1, 1)
        return _scaled(target.to(torch.float32), self.target)


def preprocess(spec: DataSpec, inputs: tuple[Tensor, ...], target: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """One call of `Preparation` on the device of the inputs; images come out bit-equal to torchvision's
    `ToTensor` and `Normalize`."""
    return Preparation(spec, inputs[0].device)(inputs, target)


def restore_target(spec: DataSpec, output: Tensor) -> Tensor:
    """Predictions (N, K) in the units of the data: undoes the standardization of a regression target."""
    step = _constants(spec.preprocessing.get("target"), output.device)
    return output * step["std"] + step["mean"] if step else output


def _constants(step: dict[str, Any] | None, device: torch.device | str) -> dict[str, Tensor]:
    return {key: torch.tensor(value, dtype=torch.float32, device=device) for key, value in (step or {}).items()}


def _scaled(rows: Tensor, step: dict[str, Tensor]) -> Tensor:
    """The scaled rows as float32. The order of operations is torchvision's; what was given is never changed."""
    out = rows.to(torch.float32)
    mine = out is not rows
    scale = step.get("scale")
    if scale is not None or rows.dtype == torch.uint8:
        divisor: Tensor | float = 255.0 if scale is None else scale
        out, mine = (out.div_(divisor) if mine else out / divisor), True
    if "mean" in step:
        mean, std = step["mean"], step["std"]
        if rows.ndim == 4:  # (N, C, H, W): by channel
            mean, std = mean.view(-1, 1, 1), std.view(-1, 1, 1)
        out = (out.sub_(mean) if mine else out - mean).div_(std)
    return out
