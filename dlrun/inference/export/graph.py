"""What is exported: inputs as the data set stores them to answers, free in the number of rows and the length of texts.

Recurrent networks go through `torch.onnx.export(dynamo=False)`: torch.export and the exporter that is built on it fix
the length of a packed sequence. All other models go through torch.export.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dlrun.data.base import Split
from dlrun.data.transforms import Preparation, scale_of
from dlrun.errors import ConfigError, Problem, RunError
from dlrun.inference.answers import answers
from dlrun.inference.trained import Trained
from dlrun.models.recurrent import Recurrent
from dlrun.spec import DataSpec

NAMES = {"image": ("images",), "tabular": ("features",), "text": ("codes", "lengths"), "sequence": ("sequences",)}
EXAMPLES = 7  # rows of the example: torch.export takes 1 for a fixed size


class ExportedModule(nn.Module):
    """Inputs as stored to answers, or to the model's own outputs with `logits`.

    Answers are those of `inference.answers`, but that a reconstruction is in the units of the input as stored.
    """

    def __init__(self, trained: Trained, logits: bool, stored: tuple[torch.dtype, ...]) -> None:
        super().__init__()
        self.model, self.spec, self.kind = trained.model, trained.spec, trained.kind
        self.logits, self.stored = logits, stored
        self.preparation = Preparation(trained.spec)

    def forward(self, *inputs: Tensor) -> Tensor:
        """A tensor for each input of the model, N rows each, to (N, ...)."""
        output = self.model(*self.preparation.prepare_inputs(inputs))
        if self.logits:
            return output.float()
        if self.spec.task == "reconstruction":
            return self.restored(output.float())
        return answers(self.spec, self.kind, output)

    def restored(self, output: Tensor) -> Tensor:
        """A reconstruction in the units of the input."""
        steps = self.preparation.inputs[0] if self.preparation.inputs else []
        for step in reversed(steps):
            output = step.inverse(output)
        return output * 255.0 if self.stored[0] == torch.uint8 and scale_of(steps) is None else output


class PaddedRecurrent(nn.Module):
    """A `Recurrent` that reads its last state from the padded outputs, with the same answers.

    torch's exporter raises `IndexError` for a network of one layer whose packed outputs nobody uses.
    """

    def __init__(self, net: Recurrent) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """As `Recurrent.forward`."""
        net, inputs = self.net, self.net.embedding(x)
        if lengths is None:
            states, _ = net.rnn(inputs)
        else:
            packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
            total = x.shape[1] if net.every_step else None
            states, _ = pad_packed_sequence(net.rnn(packed)[0], batch_first=True, total_length=total)
        if net.every_step:
            return net.head(states).transpose(1, 2)
        width = net.rnn.hidden_size
        if lengths is None:
            last = states[:, -1]
        else:
            last = states.gather(1, (lengths - 1).view(-1, 1, 1).expand(-1, 1, states.shape[2]))[:, 0]
        if net.rnn.bidirectional:  # forward after the last step of a row; backward, that is after its first
            last = torch.cat([last[:, :width], states[:, 0, width:]], dim=1)
        return net.head(last)


@dataclass(frozen=True)
class ExportGraph:
    """A module to export, its example inputs, and the names and sizes of inputs and output."""

    module: ExportedModule
    example: tuple[Tensor, ...]
    inputs: dict[str, tuple[int | str, ...]]  # sizes; those that are free have a name
    output: tuple[str, tuple[int | str, ...]]
    recurrent: bool


def export_graph(trained: Trained, logits: bool, stored: tuple[torch.dtype, ...]) -> ExportGraph:
    """The graph of a run's model. `stored`: the types of its inputs. Raises `ConfigError` where there are no logits."""
    check_logits(trained, logits)
    spec, recurrent = trained.spec, is_recurrent(trained.model)
    module = ExportedModule(trained, logits, stored).eval()
    shapes: list[tuple[int | str, ...]] = [tuple(spec.input_shape), *map(tuple, spec.other_shapes)]
    if spec.input_kind == "text":
        shapes = [("length",), ()]
    elif spec.input_kind == "sequence" and recurrent:
        shapes = [("length", *spec.input_shape[1:])]
    names = NAMES.get(spec.input_kind) or tuple(f"input_{i}" for i in range(1, len(shapes) + 1))
    example = made_up_rows(spec, stored, EXAMPLES)
    with torch.no_grad():
        sizes: list[int | str] = list(module(*example).shape)
    sizes[0] = "rows"
    if spec.task == "labelling" and "length" in shapes[0]:
        sizes[-1] = "length"
    if isinstance(trained.model, Recurrent):
        module.model = PaddedRecurrent(trained.model)
    inputs = {name: ("rows", *shape) for name, shape in zip(names, shapes, strict=True)}
    return ExportGraph(module, example, inputs, (output_name(spec, logits), tuple(sizes)), recurrent)


def is_recurrent(model: nn.Module) -> bool:
    """Whether the model has a recurrent layer of torch's."""
    return any(isinstance(module, nn.RNNBase) for module in model.modules())


def has_cells(model: nn.Module) -> bool:
    """Whether the model is a loop over single recurrent cells."""
    return any(isinstance(module, nn.RNNCellBase) for module in model.modules())


def check_logits(trained: Trained, logits: bool) -> None:
    """Raise `ConfigError` where the model has no outputs before softmax or sigmoid."""
    if logits and trained.spec.task not in ("classification", "multilabel", "labelling"):
        raise ConfigError(Problem("--logits", f"goes with classes or tags; {trained.spec.name} has neither."))
    if logits and trained.kind == "probabilities":
        raise ConfigError(
            Problem("--logits", f"loss={trained.loss_name} takes probabilities: the model has no logits.")
        )


def output_name(spec: DataSpec, logits: bool) -> str:
    """What the output is."""
    if spec.task in ("regression", "reconstruction"):
        return "values" if spec.task == "regression" else "reconstruction"
    return "logits" if logits else "probabilities"


def stored_types(spec: DataSpec, part: Split | None) -> tuple[torch.dtype, ...]:
    """The types of the inputs as stored: codes are int64, all else as in the data, or as the steps of the spec say.

    Raises `RunError` where there are no data and nothing says how images are stored.
    """
    if spec.input_kind == "text":
        return torch.int64, torch.int64
    if part is not None:
        return tuple(x.dtype if x.dtype == torch.uint8 else torch.float32 for x in part.inputs)
    steps = Preparation(spec).inputs or [[]]
    if spec.input_kind == "image" and scale_of(steps[0]) is None:
        raise RunError(
            f"the data of {spec.name} are needed: nothing in the run says whether images are stored as bytes."
        )
    return tuple(torch.uint8 if (scale_of(its) or 0.5) % 1 == 0 else torch.float32 for its in steps)


def made_up_rows(spec: DataSpec, stored: tuple[torch.dtype, ...], rows: int) -> tuple[Tensor, ...]:
    """Inputs of the right kind, drawn at random from a fixed seed; texts of all lengths that training showed."""
    random = torch.Generator().manual_seed(0)
    if spec.input_kind == "text":
        longest = spec.input_shape[0]
        lengths = torch.arange(rows).flip(0) % longest + 1
        lengths[0] = longest
        codes = torch.randint(0, spec.vocab_size, (rows, longest), generator=random)
        return codes * (torch.arange(longest) < lengths[:, None]), lengths
    made = []
    steps = Preparation(spec).inputs
    for place, (shape, kind) in enumerate(zip([spec.input_shape, *spec.other_shapes], stored, strict=True)):
        if kind == torch.uint8:
            white = int(scale_of(steps[place]) or 255) if steps else 255
            made.append(torch.randint(0, white + 1, (rows, *shape), generator=random, dtype=torch.uint8))
        else:  # numbers as training showed them, where a step says how they lie
            drawn = torch.randn((rows, *shape), generator=random)
            for step in reversed(steps[place] if steps else []):
                drawn = step.inverse(drawn)
            made.append(drawn)
    return tuple(made)
