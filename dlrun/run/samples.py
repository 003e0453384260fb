"""Rows of the part on which a run is measured: kept while it is evaluated, the telling ones stored in mistakes.json."""

from __future__ import annotations

import base64
import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dlrun.data.transforms import Preparation
from dlrun.data.vocabulary import Vocabulary
from dlrun.inference.answers import answers, class_names, output_kind
from dlrun.plain import Values
from dlrun.report.tiles import to_pixels
from dlrun.run.context import RunContext
from dlrun.spec import Batch, DataSpec
from dlrun.store.files import write_json

MOST_NUMBERS = 10_000_000  # of inputs and outputs that are kept: enough for the test part of MNIST
WORST, FIRST = 25, 10  # rows that are stored
FEATURES = 8  # of a table that are shown
LONGEST = 400  # characters of a text that are stored
TILE = 96  # pixels of the longer side of an image that is stored
# How a row is told, how bad each row is (0: not at all), and how many are wrong, where rows are right or wrong.
Told: TypeAlias = "tuple[Callable[[int], Values], Tensor, int | None]"


@dataclass
class Samples:
    """Inputs, outputs and targets of the first batches of an evaluation, on the CPU.

    Of texts with a label at every position, one batch is kept.
    """

    spec: DataSpec
    inputs: list[tuple[Tensor, ...]] = field(default_factory=list)
    kept_outputs: list[Tensor] = field(default_factory=list)
    kept_targets: list[Tensor] = field(default_factory=list)
    numbers: int = 0

    def __call__(self, batch: Batch, output: Tensor) -> None:
        """Keep a batch, unless enough is kept."""
        enough = 1 if self.spec.task == "labelling" and self.spec.input_kind == "text" else MOST_NUMBERS
        if self.numbers >= enough:
            return
        self.inputs.append(tuple(x.cpu() for x in batch.inputs))
        self.kept_outputs.append(output.detach().float().cpu())  # may be a view of a parameter
        self.kept_targets.append(batch.target.cpu())
        self.numbers += sum(x.numel() for x in batch.inputs) + output.numel()

    @property
    def outputs(self) -> Tensor:
        """The outputs of all rows."""
        return torch.cat(self.kept_outputs)

    @property
    def targets(self) -> Tensor:
        """The targets of all rows, as the loss takes them."""
        return torch.cat(self.kept_targets)

    def first_input(self) -> Tensor:
        """The first input of all rows, which are of one shape."""
        return torch.cat([batch[0] for batch in self.inputs])

    def rows(self, places: Sequence[int]) -> list[tuple[Tensor, ...]]:
        """The inputs of single rows."""
        starts = list(accumulate(map(len, self.kept_targets), initial=0))
        batches = [bisect_right(starts, place) - 1 for place in places]
        return [tuple(x[p - starts[b]] for x in self.inputs[b]) for p, b in zip(places, batches, strict=True)]

    def is_told(self) -> bool:
        """Whether each row has one answer that is a word, words or numbers, and one input.

        What a loss of the user's takes for outputs and targets may be of other shapes.
        """
        outputs, targets, task = self.outputs, self.targets, self.spec.task
        expected = {"classification": len(outputs), "regression": outputs.numel(), "multilabel": outputs.numel()}
        whole = len(outputs) == len(targets) and targets.numel() == expected.get(task)
        width = {"classification": self.spec.num_outputs, "multilabel": len(class_names(self.spec))}
        fits = outputs.ndim == 2 and outputs.shape[1] == width.get(task, outputs.shape[1])
        return whole and fits and self.spec.input_kind != "multi"


def write_samples(context: RunContext, part: str, samples: Samples, figure: bool) -> None:
    """Write mistakes.json: the worst predictions and the first rows, in words a person reads.

    Nothing is stored of tasks whose answers are no single words or numbers, nor of several inputs at once. `figure`:
    whether the worst stand in mistakes.png.
    """
    spec, path = samples.spec, context.run.file("mistakes.json")
    if not samples.is_told():
        path.unlink(missing_ok=True)
        return
    kind = output_kind(context.components.auto["loss"], context.state.loss)
    found = answers(spec, kind, samples.outputs)
    told, badness, wrong = TOLD[spec.task](spec, found, samples.targets)
    worst = [] if figure else badness.argsort(descending=True, stable=True)[:WORST].tolist()
    worst = [place for place in worst if badness[place] > 0]
    first = list(range(min(FIRST, len(badness))))
    columns, shown = describe_inputs(spec, samples.rows([*worst, *first]))
    numbered = part != "train"  # which is in another order in each epoch
    rows = [
        {"row": place} | what | told(place) if numbered else what | told(place)
        for place, what in zip([*worst, *first], shown, strict=True)
    ]
    head = {"part": part, "rows": len(badness), "wrong": wrong, "columns": columns}
    write_json(path, {**head, "worst": rows[: len(worst)], "samples": rows[len(worst) :]})


def of_classes(spec: DataSpec, chances: Tensor, target: Tensor) -> Told:
    """Classes: a mistake is the worse, the surer it is."""
    names, true = class_names(spec), target.reshape(-1).long()
    surest, said = chances.max(1)
    known = (true >= 0) & (true < len(names))
    wrong = (said != true) & known

    def told(i: int) -> Values:
        label = names[int(true[i])] if known[i] else "unknown"
        return {"true": label, "predicted": names[int(said[i])], "probability": round(float(surest[i]), 6)}

    return told, surest.nan_to_num() * wrong, int(wrong.sum())


def of_tags(spec: DataSpec, chances: Tensor, target: Tensor) -> Told:
    """Tags: by how many of a row's known tags are wrong."""
    names, known = class_names(spec), target >= 0
    true, said = target > 0.5, chances >= 0.5
    wrong = ((true != said) & known).sum(1)

    def told(i: int) -> Values:
        lists = {"true": true[i], "predicted": said[i]}
        words = {key: ", ".join(names[k] for k in row.nonzero().flatten().tolist()) for key, row in lists.items()}
        return {**words, "error": int(wrong[i])}

    return told, wrong, int((wrong > 0).sum())


def of_values(spec: DataSpec, values: Tensor, target: Tensor) -> Told:
    """Numbers: by the absolute error in the target's own units, the mean over several targets."""
    values = values.flatten(1).double()
    true = Preparation(spec).restore_target(target.float()).double().reshape(values.shape)
    error = (values - true).abs().mean(1)

    def number(row: Tensor) -> float | str:
        return float(row) if len(row) == 1 else ", ".join(f"{value:.4g}" for value in row.tolist())

    def told(i: int) -> Values:
        return {"true": number(true[i]), "predicted": number(values[i]), "error": float(error[i])}

    return told, error.nan_to_num(posinf=torch.finfo(torch.float64).max), None


TOLD = {"classification": of_classes, "multilabel": of_tags, "regression": of_values}


def describe_inputs(spec: DataSpec, rows: Sequence[tuple[Tensor, ...]]) -> tuple[list[str], list[Values]]:
    """The headings of inputs, and each row's: a text, the first features, or a small image."""
    if spec.input_kind == "text" and spec.vocabulary:
        texts = [Vocabulary.of(spec).inverse(row[0][None])[0] for row in rows]
        return ["text"], [{"input": [text[:LONGEST]]} for text in texts]
    stored = torch.stack([row[0] for row in rows]).float()
    for step in reversed(Preparation(spec).inputs[0] if spec.preprocessing.get("inputs") else []):
        stored = step.inverse(stored)
    if spec.input_kind == "image" and stored.ndim == 4:
        return [], [{"image": encoded(pixels)} for pixels in to_pixels(stored.numpy())]
    flat = stored.flatten(1)[:, :FEATURES]
    names = list(spec.feature_names[:FEATURES]) or [f"x{i + 1}" for i in range(flat.shape[1])]
    return names, [{"input": [float(f"{value:.6g}") for value in row]} for row in flat.tolist()]


def encoded(pixels: NDArray[np.float32]) -> str:
    """An image (H, W, 3) in [0, 1] as a small PNG in base64."""
    image = Image.fromarray((pixels * 255).round().astype(np.uint8))
    image.thumbnail((TILE, TILE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
