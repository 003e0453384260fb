"""The formats: each function writes one file, with the metadata in it. What torch says beside it is caught by name."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from dlrun.errors import ConfigError, Problem, RunError, enumerated, in_words
from dlrun.inference.export.facts import FILE, KEY
from dlrun.inference.export.graph import ExportGraph, has_cells, is_recurrent
from dlrun.inference.trained import Trained
from dlrun.plain import Values, json_line, say

OPSET = 17  # of the exporter for recurrent networks; the other one chooses its own
MOST_BYTES = 2**31 - 2**20  # of weights in one ONNX file, whose format ends at 2 GiB
WARNINGS = (  # of torch's exporter for recurrent networks, which know nothing of the check that follows
    "You are using the legacy TorchScript-based ONNX export",
    "The feature will be removed. Please remove usage of this function",
    "Exporting a model to ONNX with a batch_size other than 1",
)
LINES = ("shape inference of prim::PackPadded type is missing", "shape inference of prim::PadPacked type is missing")


@dataclass(frozen=True)
class ExportFormat:
    """A format: the ending of its files, the packages that it needs, whether the graph is in it, its function."""

    ending: str
    packages: tuple[str, ...]
    has_graph: bool
    write: Callable[..., None]


def write_onnx(path: Path, graph: ExportGraph, facts: Values) -> None:
    """One ONNX file, by the exporter that can do it."""
    import onnx

    model = graph.module
    if sum(tensor.nbytes for tensor in model.state_dict().values()) > MOST_BYTES:
        raise RunError("the weights are larger than 2 GiB, which one ONNX file cannot hold. Use --format pt2.")
    (output, sizes), named = graph.output, list(graph.inputs)
    if graph.recurrent:
        axes = {name: free_sizes(shape) for name, shape in (*graph.inputs.items(), (output, sizes))}
        with torch.no_grad():
            torch.onnx.export(
                model, graph.example, str(path), dynamo=False, input_names=named, output_names=[output],
                dynamic_axes=axes, opset_version=OPSET,
            )  # fmt: skip
    else:
        program = torch.onnx.export(
            traced_program(graph),
            dynamo=True,
            input_names=named,
            output_names=[output],
            external_data=False,
            verbose=False,
        )
        assert program is not None
        program.save(str(path))
    written = onnx.load(str(path))
    name_sizes(written, graph)
    onnx.helper.set_model_props(written, {KEY: json_line(facts)})
    onnx.save(written, str(path))


def name_sizes(written: object, graph: ExportGraph) -> None:
    """Give the free sizes of inputs and output their names, instead of `s21`."""
    names: dict[str, str] = {}
    of = written.graph  # type: ignore[attr-defined]
    wanted = {**graph.inputs, graph.output[0]: graph.output[1]}
    values = [*of.input, *of.output, *of.value_info]
    for value in (*of.input, *of.output):
        for size, name in zip(value.type.tensor_type.shape.dim, wanted[value.name], strict=True):
            if isinstance(name, str) and size.dim_param:
                names.setdefault(size.dim_param, name)
    for value in values:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in names:
                size.dim_param = names[size.dim_param]


def write_pt2(path: Path, graph: ExportGraph, facts: Values) -> None:
    """One file of torch.export."""
    torch.export.save(traced_program(graph), path, extra_files={FILE: json_line(facts)})


def traced_program(graph: ExportGraph) -> torch.export.ExportedProgram:
    """The graph by torch.export, with its free sizes."""
    sizes = {name: torch.export.Dim(name) for name in ("rows", "length")}
    shapes = tuple(
        {place: sizes[name] for place, name in free_sizes(shape).items() if name in sizes}
        for shape in graph.inputs.values()
    )
    with torch.no_grad():
        return torch.export.export(graph.module, graph.example, dynamic_shapes=(shapes,))


def free_sizes(shape: tuple[int | str, ...]) -> dict[int, str]:
    """The sizes that are free, by their place."""
    return {place: size for place, size in enumerate(shape) if isinstance(size, str)}


def write_safetensors(path: Path, weights: dict[str, Tensor], facts: Values) -> None:
    """The weights as safetensors."""
    from safetensors.torch import save_file

    save_file(weights, path, {KEY: json_line(facts)})


def write_state_dict(path: Path, weights: dict[str, Tensor], facts: Values) -> None:
    """The weights as `torch.save(net.state_dict(), FILE)` writes them, and the metadata as a further file inside."""
    torch.save(weights, path)
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].split("/")[0]  # torch.load refuses files beside it
        archive.writestr(f"{folder}/{FILE}", json_line(facts))


EXPORT_FORMATS = {
    "onnx": ExportFormat(".onnx", ("onnx", "onnxscript", "onnxruntime"), True, write_onnx),
    "pt2": ExportFormat(".pt2", (), True, write_pt2),
    "safetensors": ExportFormat(".safetensors", ("safetensors",), False, write_safetensors),
    "state-dict": ExportFormat(".pt", (), False, write_state_dict),
}


def expect_packages(kind: str) -> None:
    """Raise `ConfigError` where a package of the format is not installed."""
    missing = [name for name in EXPORT_FORMATS[kind].packages if find_spec(name) is None]
    if missing:
        what = f"{kind} needs {enumerated(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed."
        raise ConfigError(Problem("--format", what, "Run `pip install 'dlrun[onnx]'`."))


def expect_exportable(trained: Trained, kind: str) -> None:
    """Raise `ConfigError` for a model whose graph the format cannot hold."""
    if not EXPORT_FORMATS[kind].has_graph:
        return
    name, weights = trained.config.get("model.name"), "--format safetensors and state-dict hold its weights."
    if has_cells(trained.model):
        what = f"{name} is a loop over single cells, as long as the example that it is exported with: it has no graph."
        raise ConfigError(Problem("--format", what, weights))
    if kind == "pt2" and is_recurrent(trained.model):
        what = f"torch.export fixes the length of a recurrent network ({name})."
        raise ConfigError(Problem("--format", what, f"Use --format onnx; {weights}"))


def write_export(path: Path, kind: str, graph: ExportGraph | None, weights: dict[str, Tensor], facts: Values) -> None:
    """Write the file. Raises `RunError` for a model that torch's exporter refuses."""
    try:
        with quiet_exporter():
            EXPORT_FORMATS[kind].write(path, weights if graph is None else graph, facts)
    except (RunError, OSError, MemoryError):
        raise
    except Exception as error:  # the exporters raise whatever they meet
        raise RunError(f"torch cannot export this model as {kind}: {in_words(error)}") from error


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep back known warnings, and known lines that C++ writes to standard error; all others are passed on.

    Not those before an exception, which says what is wrong: torch prints the whole graph.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        kept = -1
    with tempfile.TemporaryFile() as lines, warnings.catch_warnings():
        for text in WARNINGS:
            warnings.filterwarnings("ignore", text)
        # torch ignores these of its own modules, unless somebody has set filters since it was imported.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"torch\.(?!jit)")
        if kept >= 0:
            os.dup2(lines.fileno(), 2)
        try:
            yield
        finally:
            if kept >= 0:
                sys.stderr.flush()
                os.dup2(kept, 2)
                os.close(kept)
        lines.seek(0)
        for line in lines.read().decode(errors="replace").splitlines():
            if not any(known in line for known in LINES):
                say(line, file=sys.stderr)
