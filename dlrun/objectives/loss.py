"""What every loss is: one number for a batch, and what it is a mean of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

import torch
from torch import Tensor, nn

from dlrun.errors import ConfigError, Problem, did_you_mean
from dlrun.spec import Batch
from dlrun.spec import Loss as AnyLoss

REDUCTIONS = ("mean", "sum")


class Loss(nn.Module):
    """The base class of losses: one number for a batch, which is a mean over `denominator(target)` things, or a sum.

    `probabilities` says that outputs are in [0, 1], not logits. `ignore_index` is the target that counts nothing.
    `bounds` are the least and largest value that the loss can have; None where that is not known.
    """

    probabilities = False
    ignore_index: int | None = None
    bounds: tuple[float | None, float | None] | None = None

    def __init__(self, name: str, reduction: str) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            what = f"{reduction!r} cannot be trained on: a step needs one number."
            hint = did_you_mean(reduction, REDUCTIONS) or "Allowed: mean, sum."
            raise ConfigError(Problem("loss.reduction", what, hint))
        self.name = name
        self.reduction: Any = reduction

    def denominator(self, target: Tensor) -> int | Tensor:
        """What the mean of this batch is divided by, up to a factor that is the same for every batch."""
        return target.shape[0]

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        """What each row (N,) adds to the sum of which the loss is the mean; a loss without it takes no row weights."""
        raise NotImplementedError

    def each_denominator(self, target: Tensor) -> Tensor:
        """What each row (N,) adds to what the mean is divided by."""
        return torch.ones(target.shape[:1], device=target.device)

    @property
    def takes_weights(self) -> bool:
        """Is `each` that of the class whose `forward` is used?"""
        own = next(kind for kind in type(self).__mro__ if {"each", "forward"} & vars(kind).keys())
        return own is not Loss and "each" in vars(own)

    def check(self, output: Tensor, target: Tensor) -> None:
        """Raise `ConfigError` unless output and target fit this loss: nothing broadcasts silently."""
        raise NotImplementedError

    def refuse(self, what: str, hint: str = "", key: str = "loss") -> NoReturn:
        """Raise a `ConfigError` that names this loss."""
        raise ConfigError(Problem(key, f"{self.name}: {what}", hint))

    def check_same_shape(self, output: Tensor, target: Tensor) -> None:
        """Raise `ConfigError` unless output and target have one shape and are floats."""
        if output.shape != target.shape:
            shapes = f"the output is {tuple(output.shape)} and the target {tuple(target.shape)}"
            self.refuse(f"{shapes}: they must have the same shape.", _hint_for(target))
        if not target.is_floating_point():
            self.refuse(f"the target is {target.dtype}, not a float.", _hint_for(target))


class CallableLoss(Loss):
    """A loss of a user's that is any callable of output and target: a function, or a module such as torch's own."""

    def __init__(self, name: str, inner: Callable[[Tensor, Tensor], Tensor]) -> None:
        reduction = getattr(inner, "reduction", "mean")
        super().__init__(name, reduction if isinstance(reduction, str) else "mean")
        self.inner = inner  # a module's parameters are this one's
        ignored = getattr(inner, "ignore_index", None)
        self.ignore_index = ignored if isinstance(ignored, int) else None
        self.bounds = getattr(inner, "bounds", None)
        self.probabilities = bool(getattr(inner, "probabilities", isinstance(inner, nn.BCELoss)))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.inner(output, target)

    def denominator(self, target: Tensor) -> int | Tensor:
        """The inner loss's own, else the number of targets that are not ignored, else the number of samples."""
        own = getattr(self.inner, "denominator", None)
        if own is not None:
            return cast("int | Tensor", own(target))
        if self.ignore_index is None or target.is_floating_point():
            return super().denominator(target)
        return (target != self.ignore_index).sum()

    def check(self, output: Tensor, target: Tensor) -> None:
        """The inner loss's own check, if it has one; else what it takes shows when it is called."""
        own = getattr(self.inner, "check", None)
        if own is not None:
            own(output, target)


def loss_of(loss: AnyLoss, output: Tensor, batch: Batch) -> Tensor:
    """The loss of a batch, 0-d: with row weights sum(weight * loss) / sum(weight), class weights multiplied in."""
    if batch.weight is None:
        return loss(output, batch.target)
    assert isinstance(loss, Loss), "others are refused when a run is assembled"
    total = (batch.weight * loss.each(output, batch.target)).sum()
    return total if loss.reduction == "sum" else divide(total, _weighed(loss, batch.target, batch.weight))


def denominator_of(loss: AnyLoss, batch: Batch) -> int | Tensor:
    """What the mean of a batch was divided by: with row weights their sum."""
    if batch.weight is None:
        return loss.denominator(batch.target)
    assert isinstance(loss, Loss), "others are refused when a run is assembled"
    return _weighed(loss, batch.target, batch.weight)


def _weighed(loss: Loss, target: Tensor, weight: Tensor) -> Tensor:
    return (weight * loss.each_denominator(target)).sum()


def by_row(values: Tensor) -> Tensor:
    """The numbers of each row in one dimension (N, K)."""
    return values.reshape(values.shape[0], -1)


def _hint_for(target: Tensor) -> str:
    integers = not target.is_floating_point()
    return "For classes as integers use loss=cross_entropy." if integers else ""


def weights_tensor(weight: Sequence[float] | None) -> Tensor | None:
    """The weights by class or label, as a buffer of the loss; None where there are none."""
    return None if weight is None else torch.tensor(list(weight), dtype=torch.float32)


def divide(total: Tensor, denominator: Tensor) -> Tensor:
    """Return total / denominator, where 0 / 0 is 0 with a gradient of 0 (torch's own mean is NaN there)."""
    return total / (denominator + (denominator == 0))
