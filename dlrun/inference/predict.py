"""Predictions of a trained model: from rows as a user gives them to answers, one a row, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from dlrun.errors import ConfigError, Problem, RunError, cannot_write
from dlrun.inference.encode import Encoder
from dlrun.inference.pictures import write_mask, write_picture
from dlrun.inference.row import Row
from dlrun.inference.trained import Predictor, Trained, threshold_for
from dlrun.plain import Values
from dlrun.spec import DataSpec
from dlrun.store.find import user_path

BATCH = 256  # rows at a time


@dataclass(frozen=True)
class Answer:
    """What the model says to one row: the fields of its task (see `Reader`), or what is wrong with the row."""

    input: str
    fields: Values
    error: str = ""
    place: str = ""
    copied: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AnswerOptions:
    """How answers are told.

    `top`: so many classes; `threshold`: the probability from which the second of two classes, or a tag, is the answer;
    `folder`: where images are written.
    """

    top: int = 3
    threshold: float = 0.5
    batch_size: int = BATCH
    folder: Path = Path("predictions")


def options_for(
    trained: Trained, top: int, batch_size: int, folder: str | Path | None, threshold: float | str | None, invert: bool
) -> AnswerOptions:
    """The options for a run's model. Raises `ConfigError` for those that are out of range or go with other models."""
    for name, value in (("top", top), ("batch-size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise ConfigError(Problem(f"--{name}", f"takes a whole number from 1, not {value!r}."))
    if invert and trained.spec.input_kind != "image":
        raise ConfigError(Problem("--invert", f"goes with images; {trained.spec.name} has none."))
    limit = threshold_for(trained, None if threshold is None else str(threshold))
    where = trained.run.file("predictions") if folder is None else user_path(str(folder))
    return AnswerOptions(top, 0.5 if limit is None else limit, batch_size, where)


def predict(predictor: Predictor, rows: Iterable[Row], encoder: Encoder, options: AnswerOptions) -> Iterator[Answer]:
    """An answer for each row, in order; a row that cannot be used has an error."""
    device = next(predictor.parameters(), torch.zeros(1)).device
    tell = Reader(predictor, options)
    waiting = iter(rows)
    while chunk := list(islice(waiting, options.batch_size)):
        inputs, places, bad = encoder(chunk)
        told: dict[int, Values] = {}
        if places:
            with torch.inference_mode():
                out = predictor(*(x.to(device) for x in inputs)).cpu()
            told = dict(zip(places, tell.all([chunk[i].name for i in places], out, inputs), strict=True))
        for place, row in enumerate(chunk):
            error = bad.get(place, "").removeprefix(f"{row.place}: ").removesuffix(" Remove or replace it.")
            yield Answer(row.name, told.get(place, {}), error, row.place, row.copied)


class Reader:
    """Answers as fields: plain values that a table or JSON can hold.

    classification   prediction, probability, probabilities {label: probability of the `top` classes}
    multilabel       predictions [labels], probabilities {label: probability} of those
    regression       prediction, or a field of its own for each target
    labelling        predictions [a label a position]; of images, the path of a mask
    reconstruction   prediction (the path of an image), error (mean square, in the units of the prepared input)
    """

    def __init__(self, predictor: Predictor, options: AnswerOptions) -> None:
        self.predictor, self.spec, self.options, self.count = predictor, predictor.spec, options, 0

    def all(self, names: Sequence[str], out: Tensor, inputs: tuple[Tensor, ...]) -> list[Values]:
        """The fields of each row."""
        if self.spec.task == "classification":
            return self.classes(out)
        if self.spec.task == "multilabel":
            return self.tags(out)
        if self.spec.task == "regression":
            return [dict(zip(value_names(self.spec), row, strict=True)) for row in out.tolist()]
        if self.spec.task == "labelling":
            return self.positions(names, out, inputs)
        return self.pictures(names, out, inputs)

    def classes(self, chances: Tensor) -> list[Values]:
        """The most probable classes."""
        labels = self.predictor.labels
        values, order = chances.topk(min(self.options.top, len(labels)))
        chosen = order[:, 0]
        if len(labels) == 2:
            chosen = (chances[:, 1] >= self.options.threshold).long()
        told = chances.gather(1, chosen[:, None])[:, 0].tolist()
        rows = zip(chosen.tolist(), told, order.tolist(), values.tolist(), strict=True)
        return [
            {
                "prediction": labels[best],
                "probability": chance,
                "probabilities": {labels[i]: value for i, value in zip(numbers, each, strict=True)},
            }
            for best, chance, numbers, each in rows
        ]

    def tags(self, chances: Tensor) -> list[Values]:
        """The tags from the threshold on."""
        labels = self.predictor.labels
        rows = [
            {label: chance for label, chance in zip(labels, row, strict=True) if chance >= self.options.threshold}
            for row in chances.tolist()
        ]
        return [{"predictions": list(row), "probabilities": row} for row in rows]

    def positions(self, names: Sequence[str], chances: Tensor, inputs: tuple[Tensor, ...]) -> list[Values]:
        """A label a position, or the mask of an image."""
        found = chances.argmax(1)
        if found.ndim > 2:
            masks = [self.write(name, write_mask, mask) for name, mask in zip(names, found, strict=True)]
            return [{"prediction": str(path)} for path in masks]
        lengths = inputs[1].tolist() if len(inputs) > 1 else [found.shape[1]] * len(found)
        labels = self.predictor.labels
        return [
            {"predictions": [labels[number] for number in row[:length]]}
            for row, length in zip(found.tolist(), lengths, strict=True)
        ]

    def pictures(self, names: Sequence[str], out: Tensor, inputs: tuple[Tensor, ...]) -> list[Values]:
        """A reconstruction of each input, and its mean squared error."""
        (wanted,) = self.predictor.preparation.prepare_inputs(inputs[:1])
        errors = (out - wanted).flatten(1).square().mean(1).tolist()
        if wanted.ndim != 4:
            return [{"predictions": row, "error": error} for row, error in zip(out.tolist(), errors, strict=True)]
        return [
            {"prediction": str(self.write(name, write_picture, image, self.predictor.preparation)), "error": error}
            for name, image, error in zip(names, out, errors, strict=True)
        ]

    def write(self, name: str, writer: Callable[..., None], image: Tensor, *more: object) -> Path:
        """Write an image of an answer, named after its input and its number."""
        self.count += 1
        stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(name).stem)[:60]
        path = self.options.folder / f"{self.count:04d}-{stem}.png"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            writer(path, image, *more)
        except OSError as error:
            raise RunError(cannot_write(self.options.folder, error)) from error
        return path


def value_names(spec: DataSpec) -> list[str]:
    """The fields of a regression: `prediction`, or the names of its targets where there are several."""
    if spec.num_outputs == 1:
        return ["prediction"]
    return list(spec.target_names) or [f"prediction_{i + 1}" for i in range(spec.num_outputs)]
