"""A model that is nothing but configuration: a list of torch.nn layers, with branches.

    layers:
      - {name: conv1, conv2d: {out: 16, kernel_size: 3, padding: 1}}
      - relu
      - add:                                    # a residual block: F(x) + x
          - [{conv2d: {out: 16, kernel_size: 3, padding: 1}}, relu]
          - []
      - concat:
          - [{conv2d: {out: 8, kernel_size: 1}}]
          - [{max_pool2d: {kernel_size: 3, stride: 1, padding: 1}}]
      - flatten
      - {linear: {out: auto}}                   # as many outputs as the task has

An entry is a layer's name, or a mapping of it to its arguments (`{dropout: {p: 0.2}}`, or a bare first
argument, `{dropout: 0.2}`), with an optional `name`. Branches are lists of entries; `add` sums them, `concat`
joins them on the channels (dimension 1), and `sequential` is a list with a name. The layers are in
`models/layers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.errors import ConfigError, Problem, did_you_mean, first_line
from dlrun.models.layers import LAYERS, Shape, check_arguments, first_argument, make_layer, misfit, out_argument, text
from dlrun.models.parts import VECTOR_TASKS, check, dry_forward
from dlrun.spec import DataSpec

BRANCHES = ("add", "concat")
DEFAULT = ("flatten", {"linear": {"out": 64}}, "relu", {"linear": {"out": "auto"}})


class Add(nn.Module):
    """The sum of the branches' outputs, all of one shape; an empty branch is the input itself."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to the shape of every branch."""
        first, *rest = [branch(x) for branch in self.branches]
        for output in rest:
            first = first + output
        return first


class Concat(nn.Module):
    """The branches' outputs, joined on dimension 1 (the channels)."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to (N, sum of the branches' channels, ...)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


@dataclass
class Entry:
    """One entry of `layers`, read: its place, its name (may be empty), and what it is."""

    where: str  # model.layers[3].add[0][1]
    name: str
    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)
    stacks: list[list[Entry]] = field(default_factory=list)  # the branches, or the one list of `sequential`

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.name else self.kind


def sequential(spec: DataSpec, layers: Sequence[Any] = DEFAULT) -> nn.Sequential:
    """An `nn.Sequential` of the listed layers, every input size inferred. (N, ...) to what the task asks for.

    Each layer is built and fed zeros in eval mode at once, so that no lazy layer is left, BatchNorm's
    statistics stay fresh, and the weights equal those of the same torch layers made by hand from the same
    seed. Raises `ConfigError` that names the layer (its place and name), and the two shapes that do not fit.
    """
    check(spec, "sequential", ("tabular", "image", "sequence"), (*VECTOR_TASKS, "reconstruction", "labelling"))
    problems: list[Problem] = []
    entries = read(layers, "model.layers", problems)
    if not layers:
        problems.append(Problem("model.layers", "is empty.", "Give at least one layer."))
    if problems:
        raise ConfigError(problems)
    network, shape = _stack(entries, tuple(spec.input_shape), spec, "the data")
    _check_output(spec, shape, entries[-1])
    return network


def read(layers: object, where: str, problems: list[Problem]) -> list[Entry]:
    """The entries of a list, nested ones included. What is wrong with their form is added to `problems`."""
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        problems.append(Problem(where, f"is {layers!r}, and must be a list of layers."))
        return []
    entries = [_read_entry(layer, f"{where}[{i}]", problems) for i, layer in enumerate(layers)]
    found = [entry for entry in entries if entry is not None]
    names = [entry.name for entry in found if entry.name]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(Problem(where, f"the name {name!r} is there twice.", "Give each layer a name of its own."))
    return found


def _read_entry(layer: object, where: str, problems: list[Problem]) -> Entry | None:
    name, kind, value = "", layer, None
    if isinstance(layer, dict):
        rest = {key: v for key, v in layer.items() if key != "name"}
        if len(rest) != 1:
            message = f"holds {', '.join(map(repr, rest)) or 'no layer'}; an entry is one layer."
            problems.append(Problem(where, message, "Write {name: fc, linear: {out: 64}}."))
            return None
        name = layer.get("name") or ""
        ((kind, value),) = rest.items()
    if not isinstance(name, str) or "." in name or name.isdigit() or hasattr(nn.Sequential(), name):
        message = f"{name!r} cannot name a layer."
        problems.append(Problem(where, message, "Use a word without dots that is no attribute of torch.nn.Sequential."))
        return None
    if kind in (*BRANCHES, "sequential"):
        return _read_branches(name, kind, value, where, problems)
    if not isinstance(kind, str) or kind not in LAYERS:
        hint = did_you_mean(str(kind).lower(), [*LAYERS, *BRANCHES, "sequential"])
        hint = hint or "Layers are those of torch.nn, in snake_case (conv2d, batch_norm2d, leaky_relu)."
        problems.append(Problem(where, f"there is no layer {kind!r}.", hint))
        return None
    if value is not None and not isinstance(value, dict):
        first = first_argument(kind)
        value = {first: value} if first else {"value": value}
    wrong = check_arguments(kind, value or {}, where)
    problems.extend(wrong)
    return None if wrong else Entry(where, name, kind, value or {})


def _read_branches(name: str, kind: str, value: object, where: str, problems: list[Problem]) -> Entry | None:
    """`add` and `concat` hold a list of lists, `sequential` one list."""
    here = f"{where}.{kind}"
    if kind == "sequential":
        return Entry(where, name, kind, stacks=[read(value, here, problems)])
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) == 0:
        message = f"is {value!r}, and must be a list of branches, each a list of layers."
        problems.append(Problem(here, message, f"For instance {{{kind}: [[{{linear: {{out: 64}}}}, relu], []]}}."))
        return None
    return Entry(where, name, kind, stacks=[read(b, f"{here}[{i}]", problems) for i, b in enumerate(value)])


def _stack(entries: list[Entry], shape: Shape, spec: DataSpec, before: str) -> tuple[nn.Sequential, Shape]:
    """The layers of one list in turn, and the shape that comes out. `before` says what gives the input."""
    network = nn.Sequential()
    for i, entry in enumerate(entries):
        layer, shape = _layer(entry, shape, spec, before)
        network.add_module(entry.name or str(i), layer)
        before = f"{entry.where.removeprefix('model.')} ({entry})"
    return network, shape


def _layer(entry: Entry, shape: Shape, spec: DataSpec, before: str) -> tuple[nn.Module, Shape]:
    """One entry's module, and the shape of its output for an input of `shape`."""
    given = f"{before} gives {text(shape)}"
    if entry.kind == "sequential":
        return _stack(entry.stacks[0], shape, spec, before)
    if entry.kind in BRANCHES:
        return _branches(entry, shape, spec, before)
    if needed := misfit(entry.kind, entry.arguments, shape):
        raise ConfigError(Problem(entry.where, f"{entry} takes {needed}, and {given}."))
    out = entry.arguments.get("out", entry.arguments.get(str(out_argument(entry.kind)), 1))
    if out != "auto" and (isinstance(out, bool) or not isinstance(out, int) or out < 1):
        raise ConfigError(Problem(entry.where, f"{entry} has out={out!r}.", "Allowed: int >= 1 or auto."))
    try:
        layer = make_layer(entry.kind, entry.arguments, shape, _auto(entry.kind, shape, spec))
        output = dry_forward(layer, shape)
    except Exception as error:  # torch's constructors and kernels raise whatever comes to hand
        reason = first_line(error) or type(error).__name__
        message = f"{entry} does not fit: {given}. Torch says: {reason.rstrip('.')}."
        raise ConfigError(Problem(entry.where, message)) from error
    if not isinstance(output, Tensor):
        message = f"{entry} gives more than one tensor, and the next layer takes one."
        hint = "To unpool with indices use model=autoencoder model.mode=unpool."
        raise ConfigError(Problem(entry.where, message, hint))
    if output.shape[:1] != (2,):
        raise ConfigError(Problem(entry.where, f"{entry} changes the batch dimension, the first; {given}."))
    return layer, tuple(output.shape[1:])


def _branches(entry: Entry, shape: Shape, spec: DataSpec, before: str) -> tuple[nn.Module, Shape]:
    """`add` or `concat`, and the shape that comes out; what the branches give must fit."""
    built = [_stack(stack, shape, spec, before) for stack in entry.stacks]
    stacks, shapes = [stack for stack, _ in built], [output for _, output in built]
    fits = {s if entry.kind == "add" else (len(s), *s[1:]) for s in shapes}
    if len(fits) > 1:
        what = "equal shapes" if entry.kind == "add" else "shapes that differ in the channels alone"
        found = " and ".join(text(s) for s in shapes)
        raise ConfigError(Problem(entry.where, f"{entry} needs {what}, and its branches give {found}."))
    if entry.kind == "add":
        return Add(stacks), shapes[0]
    return Concat(stacks), (sum(s[0] for s in shapes), *shapes[0][1:])


def _auto(kind: str, shape: Shape, spec: DataSpec) -> int:
    """What `out: auto` means: the task's outputs, or what a reconstruction needs to get its shape back."""
    if spec.task != "reconstruction":
        return spec.num_outputs
    if kind == "linear":
        return prod(spec.input_shape) if len(shape) == 1 else spec.input_shape[-1]
    return spec.input_shape[0]


def _check_output(spec: DataSpec, shape: Shape, last: Entry) -> None:
    """The last layer's output must be what the task asks for."""
    if spec.task == "reconstruction":
        wanted, fits = text(spec.input_shape), shape == tuple(spec.input_shape)
    elif spec.task == "labelling":
        rest = spec.input_shape[1:] if spec.input_kind == "image" else spec.input_shape[:1]
        wanted, fits = text((spec.num_outputs, *rest)), shape == (spec.num_outputs, *rest)
    else:
        wanted, fits = text((spec.num_outputs,)), shape == (spec.num_outputs,)
    if not fits:
        message = f"the last layer, {last}, gives {text(shape)}, and {spec.task} on {spec.name} needs {wanted}."
        raise ConfigError(Problem(last.where, message, "End with [flatten, {linear: {out: auto}}]."))
