"""`dlrun summary`: a table of the layers of a model with output shapes and parameter counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlrun.assembly.blame import explained
from dlrun.report.tables import Table, print_table

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dlrun.config.config import Config


@dataclass(frozen=True)
class LayerRow:
    """A module without children, or with parameters of its own.

    `output_shape` has the batch dimension first; it is None for a module that is never called, such as a
    `ParameterList`. `parameters` excludes children; a shared tensor counts at the first module that has it.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] | None
    parameters: int
    trainable: int


def layer_table(model: nn.Module, inputs: Sequence[Tensor]) -> list[LayerRow]:
    """A row for each layer, in the order of the forward pass. Their parameters add up to those of the model.

    Runs the model on `inputs` in eval mode without gradients; modes, running statistics and hooks do not change.
    Raises what the forward pass raises.
    """
    import torch

    from dlrun.engine.evaluation import eval_mode

    modules = {name: m for name, m in model.named_modules() if _has_row(m)}
    shapes: dict[str, tuple[int, ...] | None] = {}
    handles = [m.register_forward_hook(_shape_recorder(shapes, name)) for name, m in modules.items()]
    try:
        with eval_mode(model), torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    seen: set[int] = set()
    names = [*shapes, *(name for name in modules if name not in shapes)]
    return [_row(name, modules[name], shapes.get(name), seen) for name in names]


def _has_row(module: nn.Module) -> bool:
    """Whether a module has no children, or parameters of its own."""
    return not any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False))


def _shape_recorder(shapes: dict[str, tuple[int, ...] | None], name: str) -> Any:
    """A forward hook that stores the shape of the first output under `name`, at the first call."""

    def record(module: nn.Module, inputs: object, output: object) -> None:
        shapes.setdefault(name, _shape(output))

    return record


def _shape(output: object) -> tuple[int, ...] | None:
    """The shape of a tensor or of the first tensor in a tuple; (batch, longest, features) of a packed sequence."""
    from torch import Tensor
    from torch.nn.utils.rnn import PackedSequence

    if isinstance(output, Tensor):
        return tuple(output.shape)
    if isinstance(output, PackedSequence):
        return (int(output.batch_sizes[0]), len(output.batch_sizes), *output.data.shape[1:])
    return _shape(output[0]) if isinstance(output, (tuple, list)) and output else None


def _row(name: str, module: nn.Module, shape: tuple[int, ...] | None, seen: set[int]) -> LayerRow:
    own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
    seen.update(id(p) for p in own)
    trainable = sum(p.numel() for p in own if p.requires_grad)
    return LayerRow(name, type(module).__name__, shape, sum(p.numel() for p in own), trainable)


def summary_command(config: Config) -> int:
    """`dlrun summary`: print the layers of the configured model, for the configured data. Returns the exit code.

    Raises `ConfigError` or `DataError`, and `TrainingFailed` for an exception in a user's component.
    """
    from dlrun.assembly.assemble import assemble, taking

    assembly = assemble(config)
    model, inputs, spec = assembly.model, assembly.example.inputs, assembly.data.spec
    if spec.input_kind == "text":  # two texts at random are of other lengths than the next two
        inputs = (inputs[0], inputs[1].new_full(inputs[1].shape, inputs[0].shape[1]))
    with explained(config), taking(config, assembly.example):
        rows = layer_table(model, inputs)
    total, learning = (sum(getattr(row, key) for row in rows) for key in ("parameters", "trainable"))
    frozen, samples = learning < total, len(inputs[0])
    mib = sum(tensor.nbytes for tensor in model.state_dict().values()) / 2**20
    task = f"{config.model.name} on {config.dataset.name}: {spec.task}"
    given = ", ".join(format_shape(tuple(x.shape), samples) for x in inputs)
    length = f"; texts of the longest length, {inputs[0].shape[1]}" if spec.input_kind == "text" else ""
    table = Table(
        ["layer", "type", "output", "parameters", *(["learn"] if frozen else [])],
        [_cells(row, samples, frozen=frozen) for row in rows],
        title=f"{task}, input {given}; N is the batch size{length}",
        notes=[f"{total:,} parameters, of which {learning:,} learn; {mib:.2f} MiB with buffers"],
    )
    print_table(table)
    return 0


def format_shape(shape: tuple[int, ...] | None, samples: int) -> str:
    """`N x 16 x 8 x 8`, where the batch size is N."""
    if shape is None:
        return "-"
    first = ["N"] if shape[:1] == (samples,) else [str(size) for size in shape[:1]]
    return " x ".join([*first, *(str(size) for size in shape[1:])])


def _cells(row: LayerRow, samples: int, *, frozen: bool) -> list[str]:
    """A row as text; the number of trainable parameters is shown only if some are frozen."""
    learn = [f"{row.trainable:,}"] if frozen else []
    shape = format_shape(row.output_shape, samples)
    return [row.name or "(the model)", row.type, shape, f"{row.parameters:,}", *learn]
