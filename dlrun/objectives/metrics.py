"""Metrics as counts that add up: over batches, over chunks, over ranks. Nothing is averaged before the end.

A metric is made from `(spec, loss)` and has

    names           what `result` holds
    better          optional: {name: "max" or "min"}, which way each of them is better
    bounds          optional: {name: (least, largest)}, which values it can have; None where there is no bound
    train_names     what `train_result` holds
    countable       are the training counts integers that may be taken of several batches at once?
    train_counts    (output, target) -> Tensor, the cheap counts of the training loop
    train_result    (their sum) -> dict[str, float]
    counts          (output, target) -> Tensor, the full counts of an evaluation
    result          (their sum) -> dict[str, float]
    merge           optional: (counts, counts) -> counts as lists of floats, where adding them up is not enough;
                    `train_merge` is the same of training counts
    confusion       (their sum) -> rows of true classes by columns of predicted ones, or None

The counts of a task's metric take row weights (N,) as a third argument: what is counted is then their sum, in floats.
All counts stay on the device of the output; nothing in them waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from dlrun.moved import keep_old_names
from dlrun.objectives.loss import divide
from dlrun.spec import IGNORE_INDEX, DataSpec, Loss

keep_old_names(__name__)

NAN = float("nan")


def metric_for(spec: DataSpec) -> str:
    """The name of the metric of a task, in the table METRICS."""
    if spec.task == "multilabel":
        return "multilabel"
    return "regression" if spec.task in ("regression", "reconstruction") else "classification"


class Classification:
    """Accuracy, macro F1 and the confusion matrix of one class a position.

    Output (N, C, ...) logits or log-probabilities, target (N, ...) int64; or, with one output, (N, 1) and a
    target (N, 1) of 0 and 1: class 1 from a probability of 0.5 (a logit of 0) on. Positions whose target is
    the loss's `ignore_index` (-100 where it names none) count nothing.
    """

    names = ("accuracy", "macro_f1")
    better: ClassVar = {"accuracy": "max", "macro_f1": "max"}
    bounds: ClassVar = {"accuracy": (0, 1), "macro_f1": (0, 1)}
    train_names = ("accuracy",)

    def __init__(self, spec: DataSpec, loss: Loss | None = None) -> None:
        self.binary = spec.num_outputs == 1
        self.classes = 2 if self.binary else spec.num_outputs
        self.threshold = 0.5 if getattr(loss, "probabilities", False) else 0.0
        ignore = getattr(loss, "ignore_index", None)
        self.ignore_index = IGNORE_INDEX if ignore is None else ignore
        # Padded batches differ in length, so their outputs cannot be joined.
        self.countable = spec.task != "labelling"

    def predict(self, output: Tensor) -> Tensor:
        """The predicted classes (N, ...) int64, shaped like the target."""
        # What argmax finds; on a CPU `max` is up to three times as fast.
        return (output >= self.threshold).long() if self.binary else output.max(1).indices

    def train_counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """(2,) int64: correct positions, positions."""
        valid = target != self.ignore_index
        right = (self.predict(output) == target) & valid
        return torch.stack([_sum(right, weight), _sum(valid, weight)])

    def train_result(self, counts: Tensor) -> dict[str, float]:
        """The accuracy in training."""
        right, positions = counts.tolist()
        return {"accuracy": _ratio(right, positions)}

    def counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """(C x C,) int64: positions of true class t and predicted class p, at t x C + p."""
        each = torch.ones_like(target, dtype=torch.int64).flatten() if weight is None else _spread(weight, target)
        predicted, target = self.predict(output).flatten(), target.flatten().long()
        size = self.classes * self.classes
        # Ignored positions fall into one more bin: selecting the others would have to wait for the device.
        bins = torch.where(target != self.ignore_index, target * self.classes + predicted, size)
        zeros = torch.zeros(size + 1, dtype=each.dtype, device=output.device)
        return zeros.index_add_(0, bins, each)[:size]

    def result(self, counts: Tensor) -> dict[str, float]:
        """Accuracy, and F1 averaged over the classes that occur or were predicted (as in scikit-learn)."""
        matrix = counts.reshape(self.classes, self.classes).double().cpu()
        true_positives, rows, columns = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        accuracy = _ratio(true_positives.sum().item(), matrix.sum().item())
        return {"accuracy": accuracy, "macro_f1": _macro_f1(true_positives, rows, columns)}

    def confusion(self, counts: Tensor) -> list[list[float]]:
        """C rows of true classes by C columns of predicted ones."""
        return counts.reshape(self.classes, self.classes).tolist()


class Multilabel:
    """Labels that are each 0 or 1: output and target (N, K). Targets that are NaN or below 0 are unknown.

    `accuracy` is over labels, `subset_accuracy` over samples with every known label right, `macro_f1` the
    mean over the labels that occur or were predicted.
    """

    names = ("accuracy", "subset_accuracy", "macro_f1")
    better: ClassVar = {"accuracy": "max", "subset_accuracy": "max", "macro_f1": "max"}
    bounds: ClassVar = {"accuracy": (0, 1), "subset_accuracy": (0, 1), "macro_f1": (0, 1)}
    train_names = ("accuracy",)
    countable = True

    def __init__(self, spec: DataSpec, loss: Loss | None = None) -> None:
        self.labels = spec.num_outputs
        self.threshold = 0.5 if getattr(loss, "probabilities", False) else 0.0

    def train_counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """(2,) int64: labels that are right, labels that are known."""
        known = target >= 0  # false for NaN too
        right = ((output >= self.threshold) == (target > 0.5)) & known
        return torch.stack([_sum(right, weight), _sum(known, weight)])

    def train_result(self, counts: Tensor) -> dict[str, float]:
        """The accuracy over labels."""
        right, labels = counts.tolist()
        return {"accuracy": _ratio(right, labels)}

    def counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """(4 K + 3,) int64: K each of true positives, positives, predicted positives and right labels; then
        known labels, samples with every known label right, and samples."""
        known = target >= 0
        true, predicted = (target > 0.5) & known, (output >= self.threshold) & known
        right = true == predicted  # unknown ones are right, so they spoil no sample
        by_label = [_sum(each, weight, 0) for each in (true & predicted, true, predicted, right & known)]
        whole = _sum(known, weight), _sum(right.all(1), weight), _samples(by_label[0][0], target, weight)
        return torch.cat([*by_label, *(number.reshape(1) for number in whole)])

    def result(self, counts: Tensor) -> dict[str, float]:
        """Accuracy, subset accuracy and macro F1."""
        by_label, (known, subsets, samples) = counts[:-3].double().cpu(), counts[-3:].tolist()
        true_positives, positives, predicted, right = by_label.reshape(4, self.labels)
        return {
            "accuracy": _ratio(right.sum().item(), known),
            "subset_accuracy": _ratio(subsets, samples),
            "macro_f1": _macro_f1(true_positives, positives, predicted),
        }

    def confusion(self, counts: Tensor) -> list[list[float]] | None:
        """Return None, since labels that do not exclude each other have no one matrix."""
        return None


class Regression:
    """Mean absolute error and R2 of output and target (N, K); for reconstructions (N, ...) the error alone.

    The counts are float64 (float32 on devices that have none). Targets are counted as a mean and a sum of squares
    about it, which `merge` joins (Chan, Golub, LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115), so
    that R2 holds where the mean is large against the spread.
    """

    countable = False  # sums of floats depend on how batches are cut, in the last digits

    def __init__(self, spec: DataSpec, loss: Loss | None = None) -> None:
        self.reconstruction = spec.task == "reconstruction"
        self.names = ("mae",) if self.reconstruction else ("mae", "r2")
        self.better = {"mae": "min"} if self.reconstruction else {"mae": "min", "r2": "max"}
        self.bounds = {"mae": (0, None)} if self.reconstruction else {"mae": (0, None), "r2": (None, 1)}
        self.train_names = self.names

    def counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """(1 + 4 K,): samples, and by output the sums of |error| and error^2, the mean of the target, and the sum of
        squares about it. Of reconstructions (2,): numbers and the sum of |error|.
        """
        dtype = float_type(output)
        output, target = output.flatten(1).to(dtype), target.flatten(1).to(dtype)
        errors = output - target
        if self.reconstruction:
            numbers = _samples(errors[0, 0], target, weight) * errors.shape[1]
            return torch.stack([numbers, _sum(errors.abs(), weight)])
        samples = _samples(errors[0, 0], target, weight)
        mean = target.mean(0) if weight is None else divide(_sum(target, weight, 0), samples)
        about = target - mean
        each = torch.stack([errors.abs(), errors * errors, about * about])
        sums = (each if weight is None else each * weight[:, None]).sum(1)
        return torch.cat([samples[None], sums[:2].flatten(), mean, sums[2]])

    def merge(self, some: Sequence[float], more: Sequence[float]) -> list[float]:
        """Merge the counts of two sets of samples."""
        total = [a + b for a, b in zip(some, more, strict=True)]
        if self.reconstruction or not total[0]:
            return total
        outputs = (len(total) - 1) // 4
        for i in range(1 + 2 * outputs, 1 + 3 * outputs):
            apart = more[i] - some[i]
            total[i] = some[i] + apart * more[0] / total[0]
            total[i + outputs] += apart * apart * some[0] * more[0] / total[0]
        return total

    train_merge = merge

    def result(self, counts: Tensor) -> dict[str, float]:
        """Averages over the outputs. R2 is NaN for fewer than two samples, 1 or 0 for constant targets."""
        n, sums = counts[0].item(), counts[1:].double().cpu()
        if self.reconstruction:
            return {"mae": _ratio(sums.item(), n)}
        absolute, squared, mean, spread = sums.reshape(4, -1)
        mae = _ratio(absolute.mean().item(), n)
        if n < 2 and not bool(spread.any()):
            return {"mae": mae, "r2": NAN}
        constant = spread <= n * (1e-12 * mean) ** 2  # nothing but rounding is left
        r2 = torch.where(constant, (squared == 0).double(), 1 - squared / torch.where(constant, 1.0, spread))
        return {"mae": mae, "r2": r2.mean().item()}

    def train_counts(self, output: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The same sums as `counts`."""
        return self.counts(output, target, weight)

    def train_result(self, counts: Tensor) -> dict[str, float]:
        """The same metrics as `result`."""
        return self.result(counts)

    def confusion(self, counts: Tensor) -> list[list[float]] | None:
        """Return None, since there are no classes."""
        return None


def float_type(tensor: Tensor) -> torch.dtype:
    """The widest floats of the tensor's device."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _spread(weight: Tensor, target: Tensor) -> Tensor:
    """The weight of its row for each position of a target, in one dimension and the widest floats."""
    each = weight.to(float_type(weight)).reshape(-1, *[1] * (target.ndim - 1))
    return each.expand_as(target).flatten()


def _sum(values: Tensor, weight: Tensor | None, *dims: int) -> Tensor:
    """The sum over all numbers or some dimensions, in which rows count by their weights."""
    return values.sum(*dims) if weight is None else (values * _spread(weight, values).view_as(values)).sum(*dims)


def _samples(like: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """The number of rows or the sum of their weights, 0-d, of the type of `like`."""
    return torch.full_like(like, len(target)) if weight is None else weight.to(like.dtype).sum()


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else NAN


def _macro_f1(true_positives: Tensor, rows: Tensor, columns: Tensor) -> float:
    """The mean of 2 TP / (true + predicted) over the classes with any of either."""
    total = rows + columns
    occurs = total > 0
    return (2 * true_positives[occurs] / total[occurs]).mean().item()
