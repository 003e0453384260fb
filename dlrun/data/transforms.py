"""From rows as stored to what a model sees, and back: named steps, fitted on the training part only.

`spec.preprocessing` holds the steps of each input and of the target, in order, as plain values that travel in the
checkpoint and are applied again to new rows:

    {"inputs": [[{"name": "scale", "by": 255.0}, {"name": "standardize", "mean": [0.1307], "std": [0.3081]}]],
     "target": [{"name": "standardize", "mean": [152.1], "std": [77.0]}]}

uint8 inputs without a step `scale` are divided by 255. What turns texts into codes stands in vocabulary.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from dlrun.errors import DataError, did_you_mean
from dlrun.plain import Values
from dlrun.spec import DataSpec

Device = torch.device | str


class Transform(Protocol):
    """A step that turns rows (N, ...) of float32 into others of their shape, and back.

    `fit` makes it of the training rows, `state` gives its plain values, and `TRANSFORMS[name](**state)` makes it anew.
    """

    name: ClassVar[str]

    def state(self) -> Values:
        """The keyword arguments that make this step again."""

    def to(self, device: Device) -> None:
        """Keep the constants on a device: nothing is copied to it batch by batch."""

    def apply(self, rows: Tensor, inplace: bool = False) -> Tensor:
        """The rows as the next step, or the model, wants them; changed in place only where that is allowed."""

    def inverse(self, rows: Tensor) -> Tensor:
        """Undo `apply`."""


class Scale:
    """Divide by one number: pixels from 0 to 255 become 0 to 1."""

    name: ClassVar[str] = "scale"

    def __init__(self, by: float) -> None:
        self.by = float(by)

    @classmethod
    def fit(cls, train: Tensor) -> Scale:
        """By 255 for uint8, else by the greatest absolute value of the training rows (1 where all are 0)."""
        return cls(255.0 if train.dtype == torch.uint8 else float(train.abs().max()) or 1.0)

    def state(self) -> Values:
        """The divisor."""
        return {"by": self.by}

    def to(self, device: Device) -> None:
        """There is nothing to keep there."""

    def apply(self, rows: Tensor, inplace: bool = False) -> Tensor:
        """rows / by"""
        return rows.div_(self.by) if inplace else rows / self.by

    def inverse(self, rows: Tensor) -> Tensor:
        """rows x by"""
        return rows * self.by


class Standardize:
    """Subtract the mean and divide by the standard deviation (not the variance).

    They are given by channel for images (N, C, H, W), and by feature, the last dimension, for all else.
    """

    name: ClassVar[str] = "standardize"

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = list(mean), list(std)
        self.to("cpu")

    @classmethod
    def fit(cls, train: Tensor) -> Standardize:
        """Mean and standard deviation by column of the training rows (N, F); a constant column gets std 1."""
        values = train.to(torch.float64)
        std = values.std(0, correction=0)
        return cls(values.mean(0).tolist(), torch.where(std > 1e-12, std, 1.0).tolist())

    def state(self) -> Values:
        """Mean and standard deviation."""
        return {"mean": self.mean, "std": self.std}

    def to(self, device: Device) -> None:
        """Keep mean and deviation there."""
        self.center, self.spread = (torch.tensor(x, dtype=torch.float32, device=device) for x in (self.mean, self.std))

    def apply(self, rows: Tensor, inplace: bool = False) -> Tensor:
        """(rows - mean) / std, in torchvision's order of operations"""
        center, spread = self.shaped(rows)
        return (rows.sub_(center) if inplace else rows - center).div_(spread)

    def inverse(self, rows: Tensor) -> Tensor:
        """rows x std + mean"""
        center, spread = self.shaped(rows)
        return rows * spread + center

    def shaped(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation, shaped to go with the rows."""
        if rows.ndim != 4:
            return self.center, self.spread
        return self.center.view(-1, 1, 1), self.spread.view(-1, 1, 1)


class Log:
    """The natural logarithm, of a target above 0. Undone, a prediction of the mean of logarithms is a median."""

    name: ClassVar[str] = "log"

    def state(self) -> Values:
        """There is nothing to fit."""
        return {}

    def to(self, device: Device) -> None:
        """There is nothing to keep there."""

    def apply(self, rows: Tensor, inplace: bool = False) -> Tensor:
        """log(rows)"""
        return rows.log_() if inplace else rows.log()

    def inverse(self, rows: Tensor) -> Tensor:
        """exp(rows)"""
        return rows.exp()


TRANSFORMS: dict[str, Callable[..., Transform]] = {step.name: step for step in (Scale, Standardize, Log)}


class Preparation:
    """A spec's steps with their constants on one device."""

    def __init__(self, spec: DataSpec, device: Device = "cpu") -> None:
        self.spec = spec
        found = spec.preprocessing
        self.inputs = [] if spec.input_kind == "text" else [read_steps(steps) for steps in found.get("inputs") or []]
        self.target = read_steps(found.get("target"))
        self.to(device)

    def to(self, device: Device) -> None:
        """Keep the constants on a device."""
        for step in [*(step for steps in self.inputs for step in steps), *self.target]:
            step.to(device)

    def __call__(self, inputs: tuple[Tensor, ...], target: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """(inputs, target) as the model and the loss want them; what was given is never changed."""
        ready = self.prepare_inputs(inputs)
        return ready, ready[0] if self.spec.task == "reconstruction" else self.prepare_target(target)

    def prepare_inputs(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Model inputs alone, for prediction on new rows."""
        if self.spec.input_kind == "text":
            return tuple(codes.to(torch.int64) for codes in inputs)
        steps = self.inputs or [[]] * len(inputs)
        return tuple(_applied(rows, its) for rows, its in zip(inputs, steps, strict=True))

    def prepare_target(self, target: Tensor) -> Tensor:
        """Class numbers as int64, all else as float32: standardized where the spec says so, (N, 1) where two
        classes are one output."""
        if self.spec.task == "labelling" or (self.spec.task == "classification" and self.spec.num_outputs > 1):
            return target.to(torch.int64)
        if self.spec.task == "classification":
            target = target.reshape(-1, 1)
        return _applied(target.to(torch.float32), self.target)

    def restore_target(self, output: Tensor) -> Tensor:
        """Predictions (N, K) in the units of the data: undoes the steps of a regression's target."""
        for step in reversed(self.target):
            output = step.inverse(output)
        return output

    def state(self) -> Values:
        """The steps as plain values, in today's form: what `spec.preprocessing` of any age comes to."""
        inputs = [write_steps(steps) for steps in self.inputs]
        return {key: value for key, value in (("inputs", inputs), ("target", write_steps(self.target))) if value}


def preprocess(spec: DataSpec, inputs: tuple[Tensor, ...], target: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """One call of `Preparation` on the device of the inputs; images come out bit-equal to torchvision's
    `ToTensor` and `Normalize`."""
    return Preparation(spec, inputs[0].device)(inputs, target)


def write_steps(steps: Sequence[Transform]) -> list[Values]:
    """The steps as plain values."""
    return [{"name": step.name, **step.state()} for step in steps]


def read_steps(values: Sequence[Values] | Values | None) -> list[Transform]:
    """The steps out of plain values, also of the former `{"scale": 255.0, "mean": [...], "std": [...]}`.

    Raises `DataError` for a step that this version does not know.
    """
    if not values:
        return []
    if isinstance(values, dict):
        scaled = [{"name": "scale", "by": values["scale"]}] if values.get("scale") is not None else []
        centered = [{"name": "standardize", "mean": values["mean"], "std": values["std"]}] if "mean" in values else []
        values = [*scaled, *centered]
    return [_read_step(dict(value)) for value in values]


def _read_step(value: Values) -> Transform:
    name = value.pop("name", None)
    if name not in TRANSFORMS:
        hint = did_you_mean(str(name), TRANSFORMS) or f"Known: {', '.join(TRANSFORMS)}."
        raise DataError(f"preprocessing: there is no step named {name!r}. {hint}")
    return TRANSFORMS[name](**value)


def scale_of(steps: Sequence[Transform]) -> float | None:
    """What stored pixels are divided by; None where no step says so."""
    return next((step.by for step in steps if isinstance(step, Scale)), None)


def _applied(rows: Tensor, steps: Sequence[Transform]) -> Tensor:
    """The rows as float32, through the steps; what was given is never changed."""
    out = rows.to(torch.float32)
    if rows.dtype == torch.uint8 and scale_of(steps) is None:
        out.div_(255.0)
    mine = out is not rows
    for step in steps:
        out, mine = step.apply(out, inplace=mine), True
    return out
