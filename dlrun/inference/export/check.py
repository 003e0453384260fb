"""An exported file, run again in a fresh process on rows of the data and compared with the model of the run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dlrun.assembly.assemble import new_model
from dlrun.data.base import Loading, Split
from dlrun.data.loader import bytes_in_memory, load_into_memory, worker_count
from dlrun.data.transforms import scale_of
from dlrun.engine.threads import threads_of
from dlrun.errors import CheckFailed, ConfigError, DataError, Problem, count_of
from dlrun.generators import forked
from dlrun.inference.evaluate import Measured, measure, report_of
from dlrun.inference.export import again
from dlrun.inference.export.graph import ExportedModule, ExportGraph, made_up_rows
from dlrun.inference.labelled import find_rows
from dlrun.inference.trained import Trained
from dlrun.plain import Values
from dlrun.spec import DataSpec

TOLERANCE = 1e-5  # of the largest answer, or of 1
COMPARED, SIZE, SINGLE = 256, 64, 16  # rows: in all, in a batch, and of those that are run one by one
MEASURED = 1024  # rows in a batch of the whole part
PATIENCE = 60.0  # seconds that the whole part may take; else the metrics are those of the compared rows
READ_BYTES = 2**29  # of rows on disk that are read
TINY, EPSILON = 1e-38, 1e-7  # of probabilities whose logarithms and logits are finite

Slice = tuple[int, int, int | None]  # first row, the row after the last, and the length of texts and sequences


@dataclass(frozen=True)
class ExportRows:
    """The rows that a file is checked on: a part of the data, or made-up ones, which have no targets."""

    part: Split | None
    name: str = "made-up"
    loading: Loading = field(default_factory=Loading)
    remark: str = ""


@dataclass(frozen=True)
class ExportCheck:
    """What the check found."""

    rows: int  # that were compared; of weights the tensors
    name: str  # test, val, train, made-up
    difference: float
    sizes: tuple[int, ...]  # of batches
    seconds: float  # a row, on one thread
    metrics: dict[str, float]
    measured: int  # rows
    remark: str = ""


def export_rows(trained: Trained, overrides: Sequence[str]) -> ExportRows:
    """The test part of the run's data (else validation, else training), in memory as far as it fits.

    Made-up rows where the data are not there any more, unless overrides say where they are: then `DataError`. Raises
    `ConfigError` for overrides that are not the data set's.
    """
    for key in (override.partition("=")[0] for override in overrides):
        if not key.startswith("dataset."):
            hint = "Only dataset.* can be given, which says where the rows to check on are."
            raise ConfigError(Problem(key, "does not change what is exported.", hint))
    try:
        found = find_rows(trained, None, overrides)
    except (DataError, OSError) as error:
        if overrides:
            raise
        return ExportRows(
            None, remark=f"the data of the run cannot be read, so rows were made up: {error}".split("\n")[0]
        )
    part = found.parts[found.part]
    if part.dataset is not None:
        part = part.first(max(1, min(part.samples, part.samples * READ_BYTES // max(1, bytes_in_memory(part)))))
        part = load_into_memory(part, worker_count(found.loading.workers, part.samples))
    return ExportRows(part, found.part, found.loading)


def check_graph(
    trained: Trained, graph: ExportGraph, rows: ExportRows, file: Path, kind: str, folder: Path
) -> ExportCheck:
    """Run the file again in a fresh process. Raises `CheckFailed` where its answers differ, with the difference."""
    inputs, part = stored_inputs(trained.spec, graph, rows), rows.part
    compared = slices_to_compare(trained.spec, inputs, graph)
    total = part.samples if part is not None else 0
    measured = [(start, min(start + MEASURED, total), None) for start in range(0, total, MEASURED)]
    np.savez(folder / "rows.npz", *(x.numpy() for x in inputs))
    task = {"file": str(file), "format": kind, "names": list(graph.inputs), "patience": PATIENCE}
    done = run_again(folder, {**task, "compared": compared, "measured": measured})
    with np.load(folder / "answers.npz") as answers:
        found = [torch.from_numpy(array) for array in again.arrays_of(answers)]
    first, rest = found[: len(compared)], found[len(compared) :]
    reference = ExportedModule(trained, graph.module.logits, graph.module.stored)
    apart = [
        largest_difference(reference, inputs_of_slice(inputs, each), out)
        for each, out in zip(compared, first, strict=True)
    ]
    worst, count = max(apart, key=lambda x: math.inf if math.isnan(x) else x), min(COMPARED, len(inputs[0]))
    if not worst <= TOLERANCE:
        raise CheckFailed(difference_message(count, rows.name, worst))
    metrics, seen = {}, min(count, total)
    if part is not None and rest:
        metrics, seen = file_metrics(trained, graph, part, rows, rest), total
    elif part is not None:
        metrics = file_metrics(trained, graph, part.first(seen), rows, first[: -(-count // SIZE)])
    sizes = tuple(sorted({stop - start for start, stop, _ in compared}, reverse=True))
    return ExportCheck(count, rows.name, worst, sizes, done["seconds"], metrics, seen, rows.remark)


def check_weights_file(
    trained: Trained, graph: ExportGraph, rows: ExportRows, file: Path, kind: str, folder: Path
) -> ExportCheck:
    """Read the file in a fresh process: its tensors equal the run's to the bit. Then measure a new model with them.

    Raises `CheckFailed` where one does not.
    """
    wanted = {name: again.tensor_digest(tensor) for name, tensor in trained.model.state_dict().items()}
    found = run_again(folder, {"file": str(file), "format": kind, "names": []})["tensors"]
    if wrong := [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]:
        what = f"{count_of(len(wrong), 'tensor')} in it not equal to the run's, the first is {wrong[0]}"
        raise CheckFailed(f"no file was written: {what}.")
    with forked(0):  # its first weights are drawn, and thrown away
        model = new_model(trained.config, trained.spec)
    model.load_state_dict(again.file_tensors(str(file), kind))
    fresh = replace(trained, model=model.eval())
    first = inputs_of_slice(stored_inputs(trained.spec, graph, rows), (0, 1, None))
    module = ExportedModule(fresh, False, graph.module.stored)
    with threads_of(1), torch.inference_mode():
        seconds = again.seconds_a_row(lambda _: module(*first), ())
    if rows.part is None:
        return ExportCheck(len(wanted), rows.name, 0.0, (), seconds, {}, 0, rows.remark)
    metrics = told_metrics(measure(fresh, rows.part, rows.name, rows.loading))
    return ExportCheck(len(wanted), rows.name, 0.0, (), seconds, metrics, rows.part.samples, rows.remark)


def run_again(folder: Path, task: Values) -> Values:
    """What `again.py` finds in a process of its own. Raises `CheckFailed` where it cannot run the file."""
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    command = [sys.executable, "-P", "-W", "ignore", again.__file__, str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise CheckFailed(f"no file was written: it cannot be run ({last}).")
    done: Values = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    return done


def stored_inputs(spec: DataSpec, graph: ExportGraph, rows: ExportRows) -> tuple[Tensor, ...]:
    """The inputs of the rows in the types of the graph, two rows at least."""
    if rows.part is None:
        return made_up_rows(spec, graph.module.stored, COMPARED)
    inputs = tuple(x.to(kind).contiguous() for x, kind in zip(rows.part.inputs, graph.module.stored, strict=True))
    return inputs if len(inputs[0]) > 1 else tuple(torch.cat([x, x]) for x in inputs)


def slices_to_compare(spec: DataSpec, inputs: tuple[Tensor, ...], graph: ExportGraph) -> list[Slice]:
    """The rows that are compared: in batches, then some one by one; of free lengths, too, shorter and longer ones."""
    count = min(COMPARED, len(inputs[0]))
    slices: list[Slice] = [(start, min(start + SIZE, count), None) for start in range(0, count, SIZE)]
    single = range(min(SINGLE, count))
    if "length" not in graph.inputs[next(iter(graph.inputs))]:
        return slices + [(i, i + 1, None) for i in single]
    longest = inputs[0].shape[1]
    own = inputs[1].tolist() if spec.input_kind == "text" else [max(1, longest // 2)] * count
    return [*slices, *((i, i + 1, own[i]) for i in single), (0, min(SINGLE, count), longest + 3)]


def inputs_of_slice(inputs: tuple[Tensor, ...], rows: Slice) -> tuple[Tensor, ...]:
    """The inputs of a slice, as `again.py` takes them."""
    arrays = again.slice_arrays(tuple(x.numpy() for x in inputs), *rows)
    return tuple(torch.from_numpy(array) for array in arrays)


def largest_difference(reference: ExportedModule, inputs: tuple[Tensor, ...], found: Tensor) -> float:
    """The largest difference of the answers, as a share of the largest one where that is above 1; NaN for NaN."""
    with torch.inference_mode():
        wanted = reference.eval()(*inputs)
    if wanted.shape != found.shape:
        return math.inf
    if (
        reference.spec.task == "labelling" and reference.spec.input_kind == "text"
    ):  # what stands at padding means nothing
        counts = torch.arange(inputs[0].shape[1]) < inputs[1][:, None]
        wanted, found = (x.transpose(1, 2)[counts] for x in (wanted, found))
    return float((wanted - found).abs().max() / wanted.abs().max().clamp(min=1.0))


def difference_message(rows: int, name: str, worst: float) -> str:
    """The message for a file that answers otherwise than the model."""
    how = "have another shape" if worst == math.inf else f"differ from the model's by up to {worst:.2g}"
    return f"no file was written: on {count_of(rows, f'{name} row')} its answers {how} (allowed: {TOLERANCE:g})."


class ReplayedModel(nn.Module):
    """A model whose outputs are known, row by row, in the order in which they are asked for."""

    def __init__(self, outputs: Tensor, by_step: bool) -> None:
        super().__init__()
        self.outputs, self.by_step, self.at = outputs, by_step, 0

    def forward(self, *inputs: Tensor) -> Tensor:
        """The outputs of the next rows."""
        self.at += (rows := inputs[0].shape[0])
        found = self.outputs[self.at - rows : self.at]
        return found[..., : inputs[0].shape[1]] if self.by_step else found


def file_metrics(
    trained: Trained, graph: ExportGraph, part: Split, rows: ExportRows, answers: list[Tensor]
) -> dict[str, float]:
    """The metrics of the answers of the file."""
    by_step = trained.spec.task == "labelling" and trained.spec.input_kind == "text"
    outputs = outputs_behind(trained, graph, torch.cat(answers)[: part.samples])
    return told_metrics(measure(replace(trained, model=ReplayedModel(outputs, by_step)), part, rows.name, rows.loading))


def told_metrics(measured: Measured) -> dict[str, float]:
    """The metrics of training; of one target those in its own units."""
    targets = report_of(measured, None, None).get("targets") or []
    if len(targets) != 1:
        return measured.metrics
    return {name: value for name, value in targets[0].items() if name != "target"}


def outputs_behind(trained: Trained, graph: ExportGraph, answers: Tensor) -> Tensor:
    """Answers as outputs of the model, from which they would come: what the loss and the metrics take."""
    spec, kind = trained.spec, trained.kind
    if spec.task == "regression":
        return graph.module.preparation.prepare_target(answers)
    if spec.task == "reconstruction":
        stored = (
            graph.module.stored[0] == torch.uint8 and scale_of((graph.module.preparation.inputs or [[]])[0]) is None
        )
        return graph.module.preparation.prepare_inputs((answers / 255.0 if stored else answers,))[0]
    if graph.module.logits:
        return answers
    alone = spec.task == "multilabel" or spec.num_outputs == 1
    chances = answers[:, 1:] if spec.num_outputs == 1 and spec.task == "classification" else answers
    if kind == "probabilities":
        return chances
    return torch.logit(chances, eps=EPSILON) if alone and kind == "logits" else chances.clamp(min=TINY).log()
