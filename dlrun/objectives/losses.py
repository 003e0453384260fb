"""Losses: what training makes small. Each is a function of plain keyword arguments that returns a `Loss`.

`loss(output, target)` is one number. With `reduction="mean"` it is a mean over `loss.denominator(target)`
things, so an epoch's loss is the sum of loss x denominator over the sum of denominators, exact however the
batches are cut. With `reduction="sum"` it is a sum, `denominator` is the number of samples, and an epoch's
loss is the sum of the losses over the samples (trap T18: a step of a sum is as long as the sequence).

Shapes are those of `dlrun.spec`. They are checked once, when a run is built (`Loss.check`), not in the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dlrun.objectives.balance import balanced_pos_weight, balanced_weight
from dlrun.objectives.loss import Loss, by_row, divide, weights_tensor
from dlrun.spec import AUTO_LOSS, IGNORE_INDEX, DataSpec

Reduction = Literal["mean", "sum"]


def loss_for(spec: DataSpec) -> str:
    """The name of the loss that `loss=auto` stands for."""
    binary = spec.task == "classification" and spec.num_outputs == 1
    return "bce_with_logits" if binary else AUTO_LOSS[spec.task]


class Elementwise(Loss):
    """A mean over all numbers of output and target, both (N, ...)."""

    dlrun_fast = "chain"  # of this very class: see engine/fast/chain.py
    bounds = (0.0, None)

    def __init__(self, name: str, function: Callable[..., Tensor], reduction: str, **options: Any) -> None:
        super().__init__(name, reduction)
        self.function = function
        self.options = options

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.function(output, target, reduction=self.reduction, **self.options)

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        numbers = by_row(self.function(output, target, reduction="none", **self.options))
        return numbers.sum(1) if self.reduction == "sum" else numbers.mean(1)

    def check(self, output: Tensor, target: Tensor) -> None:
        self.check_same_shape(output, target)


def mse(*, reduction: Reduction = "mean") -> Loss:
    """Mean squared error."""
    return Elementwise("mse", F.mse_loss, reduction)


def mae(*, reduction: Reduction = "mean") -> Loss:
    """Mean absolute error."""
    return Elementwise("mae", F.l1_loss, reduction)


def huber(*, delta: float = 1.0, reduction: Reduction = "mean") -> Loss:
    """Squared up to an error of `delta`, linear beyond it: Huber, Ann. Math. Statist. 35 (1964), page 73."""
    return Elementwise("huber", F.huber_loss, reduction, delta=delta)


class ClassLoss(Loss):
    """Cross entropy with classes as integers: output (N, C, ...), target (N, ...) int64.

    The mean is over positions: those with the target `ignore_index` count nothing, the others their class's
    weight (trap T50). A batch in which everything is ignored has loss 0, no gradient, and denominator 0.
    """

    dlrun_fast = "chain"
    bounds = (0.0, None)
    weight: Tensor | None

    def __init__(
        self, name: str, reduction: str, weight: Sequence[float] | None, ignore_index: int | None, **options: Any
    ) -> None:
        super().__init__(name, reduction)
        self.function: Callable[..., Tensor] = F.cross_entropy if name == "cross_entropy" else F.nll_loss
        self.options = options
        self.ignore_index = ignore_index
        self.unweighted = weight is None and ignore_index is None  # asked at every step
        self.register_buffer("weight", weights_tensor(weight), persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        if self.counts_samples(target):
            return self.function(output, target, reduction=self.reduction, **self.options)
        total = self._reduced(output, target, "sum")
        return total if self.reduction == "sum" else divide(total, self._positions(target).sum())

    def _reduced(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        ignore = IGNORE_INDEX if self.ignore_index is None else self.ignore_index
        rules = {"weight": self.weight, "ignore_index": ignore, "reduction": reduction}
        return self.function(output, target, **rules, **self.options)

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        return by_row(self._reduced(output, target, "none")).sum(1)

    def each_denominator(self, target: Tensor) -> Tensor:
        if self.reduction == "sum" or self.counts_samples(target):
            return super().each_denominator(target)
        return by_row(self._positions(target)).sum(1)

    def counts_samples(self, target: Tensor) -> bool:
        """Does every sample count 1, as in classification without weights? Then no tensor needs to be read."""
        return self.unweighted and target.ndim == 1

    def denominator(self, target: Tensor) -> int | Tensor:
        """The number of samples, or the sum of the class weights of all positions that are not ignored."""
        if self.reduction == "sum" or self.counts_samples(target):
            return target.shape[0]
        return self._positions(target).sum()

    def _positions(self, target: Tensor) -> Tensor:
        """What each position counts: the weight of its class, or 0 where it is ignored."""
        valid = target != (IGNORE_INDEX if self.ignore_index is None else self.ignore_index)
        return valid if self.weight is None else self.weight[torch.where(valid, target, 0)] * valid

    def check(self, output: Tensor, target: Tensor) -> None:
        classes = output.shape[1] if output.ndim > 1 else 1
        if target.is_floating_point():
            what = f"the target is {target.dtype}, not classes as integers."
            self.refuse(what, "Use loss=mse for numbers, loss=bce_with_logits for labels of 0 and 1.")
        if classes < 2:
            self.refuse("it needs one output a class, at least two.", "Did you mean loss=bce_with_logits?")
        if target.shape != (*output.shape[:1], *output.shape[2:]):
            shapes = f"the output is {tuple(output.shape)} and the target {tuple(target.shape)}"
            self.refuse(f"{shapes}: the target must lack just the classes, dimension 1.")
        if self.weight is not None and len(self.weight) != classes:
            what = f"{len(self.weight)} weights for {classes} classes."
            self.refuse(what, key="loss.weight")
        ignore = IGNORE_INDEX if self.ignore_index is None else self.ignore_index
        labels = target[target != ignore]
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            found = f"{int(labels.min())} to {int(labels.max())}"
            self.refuse(f"targets are {found}, and the model has {classes} outputs.")
        if self.name == "nll" and bool(((output.float().exp().sum(1) - 1).abs() > 0.02).any()):
            what = "the outputs are no log-probabilities (their exp does not sum to 1)."
            self.refuse(what, "Use loss=cross_entropy for logits, or end the model in log_softmax.")


def cross_entropy(
    *,
    weight: Sequence[float] | Literal["balanced"] | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    class_counts: Sequence[int] | None = None,
) -> Loss:
    """Softmax and negative log-likelihood of logits.

    `weight` is one number a class, or `balanced`: rows / (classes x rows of the class), from `class_counts`
    (the rows of each class in the training part). `ignore_index`: the target that counts nothing (None:
    padding). Label smoothing: Szegedy et al., https://arxiv.org/abs/1512.00567, section 7.
    """
    weight = balanced_weight(weight, class_counts)
    return ClassLoss("cross_entropy", reduction, weight, ignore_index, label_smoothing=label_smoothing)


def nll(
    *,
    weight: Sequence[float] | Literal["balanced"] | None = None,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    class_counts: Sequence[int] | None = None,
) -> Loss:
    """Negative log-likelihood of log-probabilities: `cross_entropy` for models that end in log_softmax."""
    return ClassLoss("nll", reduction, balanced_weight(weight, class_counts), ignore_index)


class BinaryLoss(Loss):
    """Binary cross entropy: output and target (N, K), each number a label of its own, 1 or 0.

    The mean is over all numbers, whatever they weigh (trap T50). With `masked`, a target that is NaN or below
    0 is an unknown label and counts nothing; a batch without known labels has loss 0, no gradient, and
    denominator 0.
    """

    dlrun_fast = "chain"
    bounds = (0.0, None)
    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        name: str,
        reduction: str,
        weight: Sequence[float] | None,
        masked: bool,
        pos_weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__(name, reduction)
        self.probabilities = name == "bce"
        self.masked = masked
        self.register_buffer("weight", weights_tensor(weight), persistent=False)
        self.register_buffer("pos_weight", weights_tensor(pos_weight), persistent=False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        if not self.masked:
            return self._each(output, target, self.reduction)
        known = target >= 0  # false for NaN too
        total = self._masked(output, target, known).sum()
        return total if self.reduction == "sum" else divide(total, known.sum())

    def _masked(self, output: Tensor, target: Tensor, known: Tensor) -> Tensor:
        each = self._each(output, torch.where(known, target, 0.0), "none")
        return torch.where(known, each, 0.0)

    def each(self, output: Tensor, target: Tensor) -> Tensor:
        if self.masked:
            return by_row(self._masked(output, target, target >= 0)).sum(1)
        numbers = by_row(self._each(output, target, "none"))
        return numbers.sum(1) if self.reduction == "sum" else numbers.mean(1)

    def each_denominator(self, target: Tensor) -> Tensor:
        if self.masked and self.reduction == "mean":
            return by_row(target >= 0).sum(1)
        return super().each_denominator(target)

    def _each(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        if self.probabilities:
            return self._of_probabilities(output, target, reduction)
        return F.binary_cross_entropy_with_logits(
            output, target, self.weight, pos_weight=self.pos_weight, reduction=reduction
        )

    def _of_probabilities(self, output: Tensor, target: Tensor, reduction: str) -> Tensor:
        device = output.device.type
        if not torch.is_autocast_enabled(device):
            return F.binary_cross_entropy(output, target, self.weight, reduction=reduction)
        with torch.autocast(device, enabled=False):  # torch refuses this one in mixed precision
            return F.binary_cross_entropy(output.float(), target, self.weight, reduction=reduction)

    def denominator(self, target: Tensor) -> int | Tensor:
        """The number of samples, or of the labels that are known."""
        masks = self.masked and self.reduction == "mean"
        return (target >= 0).sum() if masks else target.shape[0]

    def check(self, output: Tensor, target: Tensor) -> None:
        self.check_same_shape(output, target)
        known = target >= 0
        if not self.masked and not bool(known.all()):
            self.refuse("some labels are NaN or below 0.", "If they are unknown: loss.masked=true.")
        if bool((target[known] > 1).any()):
            self.refuse(f"labels must be 0 or 1, and one is {float(target[known].max()):g}.")
        if self.probabilities and not bool(((output >= 0) & (output <= 1)).all()):
            what = "the outputs are no probabilities (they leave 0 to 1)."
            self.refuse(what, "Use loss=bce_with_logits, or end the model in a sigmoid.")
        for key in ("weight", "pos_weight"):
            values = getattr(self, key)
            if values is not None and len(values) not in (1, output.shape[-1]):
                self.refuse(f"{len(values)} weights for {output.shape[-1]} labels.", key=f"loss.{key}")


def bce(*, weight: Sequence[float] | None = None, masked: bool = False, reduction: Reduction = "mean") -> Loss:
    """Binary cross entropy of probabilities, each logarithm bounded at -100. `weight`: a number a label."""
    return BinaryLoss("bce", reduction, weight, masked)


def bce_with_logits(
    *,
    weight: Sequence[float] | None = None,
    pos_weight: Sequence[float] | Literal["balanced"] | None = None,
    masked: bool = False,
    reduction: Reduction = "mean",
    class_counts: Sequence[int] | None = None,
) -> Loss:
    """Sigmoid and binary cross entropy of logits. `pos_weight` above 1 raises recall, below 1 precision.

    `pos_weight` is one number a label, or `balanced`: rows of class 0 / rows of class 1, from `class_counts`.
    """
    pos_weight = balanced_pos_weight(pos_weight, class_counts)
    return BinaryLoss("bce_with_logits", reduction, weight, masked, pos_weight)
