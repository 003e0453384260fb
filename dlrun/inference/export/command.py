"""`dlrun export RUN`: the trained model in a file that needs no dlrun, run again before the command says that it is."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dlrun.errors import ConfigError, Problem, RunError, allowed_words, cannot_write, count_of, enumerated
from dlrun.inference.export.check import TOLERANCE, ExportCheck, check_graph, check_weights_file, export_rows
from dlrun.inference.export.facts import export_facts
from dlrun.inference.export.files import EXPORT_FORMATS, expect_exportable, expect_packages, write_export
from dlrun.inference.export.graph import ExportGraph, export_graph, stored_types
from dlrun.inference.export.usage import usage_lines
from dlrun.inference.trained import load_trained
from dlrun.inference.which import best_run
from dlrun.plain import four_digits, say
from dlrun.spec import DataSpec
from dlrun.store.files import write_atomic
from dlrun.store.find import user_path
from dlrun.store.rundir import RunDir

STEM = "model"  # of the file in the run's directory


@dataclass(frozen=True)
class ExportRequest:
    """What is asked of `export` besides the run."""

    format: str | None = None  # None: as the ending of the output says, else onnx
    output: str | None = None  # None: in the run's directory
    logits: bool = False
    checkpoint: str = "best"
    overwrite: bool = False


@dataclass(frozen=True)
class ExportedFile:
    """A file that was exported."""

    path: Path
    format: str
    size: int
    graph: ExportGraph
    spec: DataSpec
    checked: ExportCheck


def export_command(word: str, overrides: Sequence[str], asked: ExportRequest) -> int:
    """Export, and print what the file is and how it is used. Raises as `export_run` does."""
    run, note = best_run(word)
    if note:
        say(note, file=sys.stderr)
    for line in export_lines(export_run(run, overrides, asked)):
        say(line)
    return 0


def export_run(run: RunDir, overrides: Sequence[str], asked: ExportRequest) -> ExportedFile:
    """Write a file and run it again. Nothing is left where one of it fails.

    Raises `ConfigError` for a format that there is not, that lacks a package or cannot hold the model, `RunError` for
    a run or an output that cannot be used, `CheckFailed` where the file answers otherwise than the model.
    """
    kind = export_format(asked)
    path = user_path(asked.output) if asked.output else run.file(STEM + EXPORT_FORMATS[kind].ending)
    expect_writable(path, asked.overwrite)
    expect_packages(kind)
    trained, has_graph = load_trained(run.path, asked.checkpoint), EXPORT_FORMATS[kind].has_graph
    if asked.logits and not has_graph:
        raise ConfigError(
            Problem("--logits", f"{kind} holds weights, which have no output.", "Use --format onnx or pt2.")
        )
    expect_exportable(trained, kind)
    rows = export_rows(trained, overrides)
    graph = export_graph(trained, asked.logits, stored_types(trained.spec, rows.part))
    facts = export_facts(trained, graph if has_graph else None)
    with tempfile.TemporaryDirectory(prefix="dlrun-export-") as folder:
        file = Path(folder, path.name)
        write_export(file, kind, graph if has_graph else None, contiguous_weights(trained.model), facts)
        checker = check_graph if has_graph else check_weights_file
        checked = checker(trained, graph, rows, file, kind, Path(folder))
        content = file.read_bytes()
    try:
        write_atomic(path, content)
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error
    return ExportedFile(path, kind, len(content), graph, trained.spec, checked)


def export_format(asked: ExportRequest) -> str:
    """The format that is asked for, or that the ending of the output says. Raises `ConfigError`."""
    endings = {known.ending: name for name, known in EXPORT_FORMATS.items()}
    ending = os.path.splitext(asked.output or "")[1].lower()
    kind = asked.format or endings.get(ending, "onnx")
    if kind not in EXPORT_FORMATS:
        raise ConfigError(Problem("--format", f"there is no format {kind!r}.", allowed_words(kind, EXPORT_FORMATS)))
    if endings.get(ending, kind) != kind:
        what = f"{asked.output} has the ending of {endings[ending]}, and the format is {kind}."
        raise ConfigError(Problem("--output", what, f"Use {EXPORT_FORMATS[kind].ending}."))
    return kind


def expect_writable(path: Path, overwrite: bool) -> None:
    """Raise `ConfigError` or `RunError` for a place where the file cannot be written, before any work is done."""
    if path.is_dir():
        raise ConfigError(Problem("--output", f"{path} is a folder.", "Name a file."))
    if os.path.lexists(path) and not overwrite:
        raise ConfigError(Problem("--output", f"{path} exists.", "Name another file, or add --overwrite."))
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise RunError(cannot_write(path, error)) from error


def contiguous_weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights, each contiguous and in memory of its own: safetensors refuses others."""
    return {
        name: tensor.detach().to(memory_format=torch.contiguous_format).clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }


def export_lines(made: ExportedFile) -> list[str]:
    """What is printed of a file."""
    checked, (name, sizes) = made.checked, made.graph.output
    title = f"{made.path}: {made.format}, {bytes_text(made.size)}"
    if not EXPORT_FORMATS[made.format].has_graph:
        lines = [
            f"{title}, the weights alone: what is done to inputs and outputs stands in its metadata",
            f"  read again in a fresh process: {count_of(checked.rows, 'tensor')}, equal to the bit",
        ]
    else:
        inputs = ", ".join(f"{key} {sizes_text(shape)}" for key, shape in made.graph.inputs.items())
        lines = [
            f"{title}: {inputs} to {name} {sizes_text(sizes)}",
            f"  run again in a fresh process: {count_of(checked.rows, f'{checked.name} row')} in batches of "
            f"{enumerated(checked.sizes)}, answers differ by {checked.difference:.1e} at most "
            f"(allowed: {TOLERANCE:g})",
        ]
    lines.append(f"  {four_digits(1000 * checked.seconds)} ms a row on one thread")
    if checked.metrics:
        values = ", ".join(f"{key} {four_digits(value)}" for key, value in checked.metrics.items())
        lines.append(f"  {checked.name} ({count_of(checked.measured, 'row')}): {values}")
    if checked.remark:
        lines.append(f"  remark: {checked.remark}")
    if "table" in made.spec.preprocessing:
        lines.append("  remark: the file takes encoded numbers; how columns become them stands in its metadata (table)")
    code = [f"    {line}" for line in usage_lines(made.format, made.path.name, made.graph, made.spec)]
    return [*lines, "  without dlrun:", *code]


def sizes_text(sizes: tuple[int | str, ...]) -> str:
    """`(rows, 1, 8, 8)`"""
    return f"({', '.join(map(str, sizes))})"


def bytes_text(count: int) -> str:
    """A number of bytes in KiB or MiB."""
    return f"{four_digits(count / 2**10)} KiB" if count < 2**20 else f"{four_digits(count / 2**20)} MiB"
