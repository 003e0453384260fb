"""Evaluate a trained model on a part of its own data, or on other data of the same kind."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dlrun.data.base import Data, Loading, Split
from dlrun.data.baseline import baseline
from dlrun.data.batches import batches_for
from dlrun.data.transforms import Preparation
from dlrun.engine.evaluation import evaluate
from dlrun.engine.threads import threads_of
from dlrun.inference import measures
from dlrun.inference.answers import OutputKind, answers, class_names
from dlrun.inference.labelled import LabelledRows
from dlrun.inference.trained import Trained
from dlrun.plain import Values
from dlrun.spec import Batch, DataSpec

KEPT_NUMBERS = 50_000_000  # of answers that are looked at one by one: masks of many images are counted only


@dataclass(frozen=True)
class Answered:
    """What a model answers to some rows, and what is true."""

    answers: np.ndarray  # as `inference.answers` says, (N, ...); empty where there are too many
    targets: np.ndarray  # class numbers (N, ...), tags or values in the units of the data (N, K)
    errors: np.ndarray  # of reconstructions: the mean square of each row
    words: list[tuple[list[int], list[int]]]  # of texts that are labelled: the true and the predicted numbers
    weight: np.ndarray | None = field(default=None, kw_only=True)  # (N,) by which rows count


@dataclass(frozen=True)
class Measured(Answered):
    """What a model does on some rows."""

    trained: Trained
    part: str  # test, val, train
    rows: int
    metrics: dict[str, float]  # loss and the metrics of training, in its units
    confusion: np.ndarray | None


@dataclass
class Collected:
    """Answers and targets of all rows, batch by batch, on the CPU."""

    spec: DataSpec
    kind: OutputKind
    answers: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    errors: list[Tensor] = field(default_factory=list)
    words: list[tuple[list[int], list[int]]] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    numbers: int = 0

    def __call__(self, batch: Batch, output: Tensor) -> None:
        """Keep what is needed of one batch."""
        spec, self.numbers = self.spec, self.numbers + output.numel()
        if spec.task == "reconstruction":
            self.errors.append((output.float() - batch.target).flatten(1).square().mean(1).cpu())
        elif spec.task == "labelling" and spec.input_kind == "text":  # each text has a length of its own
            for true, said in zip(batch.target.tolist(), output.argmax(1).tolist(), strict=True):
                counted = [place for place, number in enumerate(true) if number >= 0]
                self.words.append(([true[i] for i in counted], [said[i] for i in counted]))
        elif self.numbers <= KEPT_NUMBERS:
            self.answers.append(answers(spec, self.kind, output).cpu())
            target = batch.target.float() if spec.task == "regression" else batch.target
            target = Preparation(spec, target.device).restore_target(target) if spec.task == "regression" else target
            self.targets.append(target.cpu())
            if batch.weight is not None:
                self.weights.append(batch.weight.double().cpu())

    def answered(self) -> Answered:
        """All batches in one; empty where not all were kept."""
        targets = self.joined(self.targets)
        if self.spec.task == "classification" and targets.ndim == 2:
            targets = targets[:, 0].astype(np.int64)
        errors = torch.cat(self.errors).numpy() if self.errors else np.empty((0,))
        weight = self.joined(self.weights) if self.weights else None
        return Answered(self.joined(self.answers), targets, errors, self.words, weight=weight)

    def joined(self, parts: list[Tensor]) -> np.ndarray:
        """All batches in one array; empty where not all were kept."""
        return torch.cat(parts).numpy() if parts and self.numbers <= KEPT_NUMBERS else np.empty((0,))


def measure(trained: Trained, part: Split, name: str, loading: Loading | None = None) -> Measured:
    """Loss, metrics and answers of every row of a part, with as many threads as the run was trained with."""
    size = 256 if part.dataset is not None else min(1024, max(1, part.samples))
    device = next(trained.model.parameters(), torch.zeros(1)).device
    batches, _ = batches_for(part, trained.spec, batch_size=size, device=device, loading=loading)
    kept = Collected(trained.spec, trained.kind)
    try:
        with threads_of(trained.threads):
            result = evaluate(trained, batches, None, kept)
    finally:
        batches.close()
    assert result is not None, "nobody asks it to stop"
    matrix = trained.metric.confusion(result.counts)
    confusion = None if matrix is None else np.asarray(matrix)
    own = vars(kept.answered())
    return Measured(**own, trained=trained, part=name, rows=part.samples, metrics=result.metrics, confusion=confusion)


def report_of(measured: Measured, threshold: float | None, on_validation: Measured | None) -> Values:
    """Everything that is told of an evaluation, as plain values."""
    spec, names = measured.trained.spec, list(class_names(measured.trained.spec))
    found: Values = {"metrics": dict(measured.metrics)}
    if spec.task == "classification" and len(measured.answers):
        chances, target, weight = measured.answers, measured.targets, measured.weight
        counted = (target >= 0) & (target < len(names)) & (True if weight is None else weight > 0)
        weight = None if weight is None else weight[counted]
        found["calibration"] = measures.calibration(chances[counted], target[counted], weight)
        found["classes"] = measures.by_class(confusion_at(measured, threshold), names)
        if len(names) == 2:
            found["two_classes"] = measures.binary_curves(chances[counted, 1], target[counted], weight)
        if len(names) == 2 and on_validation is not None:
            known, own = on_validation.targets >= 0, on_validation.weight
            own = None if own is None else own[known]
            best = measures.best_threshold(on_validation.answers[known, 1], on_validation.targets[known], own)
            found["threshold"] = None if best is None else {**best, "on": on_validation.part, "of": names[1]}
        if threshold is not None and len(names) == 2:
            found["at_threshold"] = at_threshold(confusion_at(measured, threshold), threshold)
    elif measured.confusion is not None:
        found["classes"] = measures.by_class(measured.confusion, names)
    if spec.task == "multilabel" and len(measured.answers):
        found["classes"] = measures.by_tag(measured.answers, measured.targets, names, threshold or 0.5, measured.weight)
    if spec.task == "regression" and len(measured.answers):
        targets = list(spec.target_names) or [f"target {i + 1}" for i in range(spec.num_outputs)]
        found["targets"] = measures.regression(measured.answers, measured.targets, targets, measured.weight)
    return found


def confusion_at(measured: Measured, threshold: float | None) -> np.ndarray:
    """The confusion matrix, of two classes at a threshold where one is given."""
    assert measured.confusion is not None
    if threshold is None or len(measured.confusion) != 2:
        return measured.confusion
    known = measured.targets >= 0
    weight = None if measured.weight is None else measured.weight[known]
    return measures.two_by_two(measured.targets[known] == 1, measured.answers[known, 1] >= threshold, weight)


def at_threshold(matrix: np.ndarray, threshold: float) -> Values:
    """The accuracy at a threshold."""
    return {"threshold": threshold, "accuracy": float(matrix.trace() / (matrix.sum() or 1))}


def baseline_of(measured: Measured, rows: LabelledRows) -> Values:
    """What a model reaches that always answers the majority class, or the mean, of the training part.

    The metrics are those of training, but for one target of a regression, which is told in its own units.
    """
    spec, train = measured.trained.spec, rows.parts.get("train")
    if train is None:
        return {}
    if spec.task == "regression" and spec.num_outputs == 1 and len(measured.targets):
        weight = None if train.weight is None else train.weight.numpy()
        mean = np.full_like(measured.targets, np.average(train.target.double().numpy().reshape(-1), weights=weight))
        return {"of": "mean value", **measures.regression(mean, measured.targets, [""], measured.weight)[0]}
    ignored = getattr(measured.trained.loss, "ignore_index", None)
    found = baseline(Data(spec, train, test=rows.parts[rows.part]), ignored)
    return {key: value for key, value in found.items() if key != "part"}
