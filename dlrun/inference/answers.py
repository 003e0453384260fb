"""From what a model gives to answers: probabilities of classes and tags, values in the units of the data."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dlrun.components.registry import LOSSES
from dlrun.data.transforms import Preparation
from dlrun.spec import DataSpec, Loss

OutputKind = Literal["logits", "log_probabilities", "probabilities"]


def output_kind(loss_name: str, loss: Loss) -> OutputKind:
    """What the outputs of a model are, by the loss that it was trained with."""
    if LOSSES.known(loss_name).wants == "log_softmax":
        return "log_probabilities"
    return "probabilities" if getattr(loss, "probabilities", False) else "logits"


def answers(spec: DataSpec, kind: OutputKind, output: Tensor) -> Tensor:
    """What the outputs of a model mean, as float32.

    classification   probabilities (N, C) that add up to 1; of two classes under one output, too, (N, 2)
    labelling        probabilities (N, C, ...)
    multilabel       the probability of each tag (N, K)
    regression       values (N, K) in the units of the data
    reconstruction   the output as it is, in the units of the prepared input
    """
    output = output.float()
    if spec.task == "regression":
        return Preparation(spec, output.device).restore_target(output)
    if spec.task == "reconstruction":
        return output
    alone = spec.task == "multilabel" or spec.num_outputs == 1  # each output is a probability of its own
    if kind == "logits":
        chances = output.sigmoid() if alone else output.softmax(1)
    else:
        chances = output.exp() if kind == "log_probabilities" else output
    return torch.cat([1 - chances, chances], 1) if alone and spec.task != "multilabel" else chances


def class_names(spec: DataSpec) -> tuple[str, ...]:
    """The names of classes or tags, in the order of their numbers; the numbers themselves where they have none."""
    count = 2 if spec.task == "classification" and spec.num_outputs == 1 else spec.num_outputs
    return spec.labels or spec.target_names or tuple(str(number) for number in range(count))
