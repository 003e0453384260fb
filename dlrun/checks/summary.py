"""The layers of a model as a table: names, output shapes, parameters."""

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
    """One module that computes or owns parameters.

    `output_shape` has the batch first; None for a module that is never called, such as a `ParameterList`.
    `parameters` are its own, without its children's; a shared tensor counts at the first module that has it.
    """

    name: str
    type: str
    output_shape: tuple[int, ...] | None
    parameters: int
    trainable: int


def layer_table(model: nn.Module, inputs: Sequence[Tensor]) -> list[LayerRow]:
    """One row a layer, in the order of the forward pass; the sums of the rows are the model's own sums.

    One forward of `inputs` in eval mode and without gradients; modes, statistics and hooks are as before.
    Whatever the forward raises passes through.
    """
    import torch

    from dlrun.engine.evaluation import eval_mode

    modules = {name: m for name, m in model.named_modules() if _has_row(m)}
    shapes: dict[str, tuple[int, ...] | None] = {}
    handles = [m.register_forward_hook(_recorder(shapes, name)) for name, m in modules.items()]
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
    """Leaves, and modules with parameters of their own."""
    return not any(True for _ in module.children()) or any(True for _ in module.parameters(recurse=False))


def _recorder(shapes: dict[str, tuple[int, ...] | None], name: str) -> Any:
    """A forward hook that notes the shape of the (first) output under `name`, once."""

    def record(module: nn.Module, inputs: object, output: object) -> None:
        shapes.setdefault(name, _shape(output))

    return record


def _shape(output: object) -> tuple[int, ...] | None:
    """The shape of a tensor, of a packed sequence (batch, longest, features), or of the first of a tuple."""
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
    model, inputs = assembly.model, assembly.example.inputs
    with explained(config), taking(config, assembly.example):
        rows = layer_table(model, inputs)
    total, learning = (sum(getattr(row, key) for row in rows) for key in ("parameters", "trainable"))
    frozen, samples = learning < total, len(inputs[0])
    mib = sum(tensor.nbytes for tensor in model.state_dict().values()) / 2**20
    task = f"{config.model.name} on {config.dataset.name}: {assembly.data.spec.task}"
    given = ", ".join(shape_words(tuple(x.shape), samples) for x in inputs)
    table = Table(
        ["layer", "type", "output", "parameters", *(["learn"] if frozen else [])],
        [_cells(row, samples, frozen=frozen) for row in rows],
        title=f"{task}, input {given}; N is the batch size",
        notes=[f"{total:,} parameters, of which {learning:,} learn; {mib:.2f} MiB with buffers"],
    )
    print_table(table)
    return 0


def shape_words(shape: tuple[int, ...] | None, samples: int) -> str:
    """N x 16 x 8 x 8: the batch size as N."""
    if shape is None:
        return "-"
    first = ["N"] if shape[:1] == (samples,) else [str(size) for size in shape[:1]]
    return " x ".join([*first, *(str(size) for size in shape[1:])])


def _cells(row: LayerRow, samples: int, *, frozen: bool) -> list[str]:
    """A row as text; the last cell only where some parameters do not learn."""
    learn = [f"{row.trainable:,}"] if frozen else []
    shape = shape_words(row.output_shape, samples)
    return [row.name or "(the model)", row.type, shape, f"{row.parameters:,}", *learn]
