"""Close a run: evaluate the selected weights, write summary.json and figures, print the closing table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import perf_counter

import torch
from torch import Tensor

from dlrun.data.baseline import baseline
from dlrun.data.transforms import Preparation
from dlrun.engine.evaluation import Evaluation, eval_mode, evaluate
from dlrun.engine.state import better
from dlrun.errors import TrainingFailed
from dlrun.inference.answers import answers, class_names, output_kind
from dlrun.objectives.declared import bounds, directions
from dlrun.plain import Values
from dlrun.processes import peak_mib
from dlrun.report.confusion import store_confusion
from dlrun.report.figures import draw_figures, forget_figures
from dlrun.report.mistakes import store_mistakes, store_reconstructions
from dlrun.report.tables import closing_table, format_number, some_of
from dlrun.run.context import RunContext
from dlrun.run.predicting import BestPredictions
from dlrun.run.rival import rival_of
from dlrun.run.samples import Samples, write_samples
from dlrun.run.screen import shorter, words_for
from dlrun.run.tested_rows import TestedRows
from dlrun.spec import BatchSource, DataSpec
from dlrun.store.files import write_atomic, write_json
from dlrun.store.reader import sweep_of

CONSTANT = 1e-4  # outputs with a smaller standard deviation over the samples are called constant


def close_run(context: RunContext) -> Values | None:
    """Evaluate the selected weights, write summary.json and the figures, and print the closing table.

    Returns the summary, or None if a stop was requested before the evaluation was done. Raises `TrainingFailed` if no
    weights could be selected.
    """
    check_selection(context)
    part, batches = evaluated_part(context)
    last = {name: value.clone() for name, value in context.state.model.state_dict().items()}
    if context.state.best_weights is not None:
        context.state.model.load_state_dict(context.state.best_weights)
    started = perf_counter()
    samples, tested = Samples(context.state.spec), TestedRows(context, part)
    result = evaluate(context.state, batches, context.plan, samples, tested)
    evaluating = perf_counter() - started
    if result is None:
        context.state.model.load_state_dict(last)
        return None
    summary = summarize(context, part, result, evaluating)
    summary["remarks"] = find_remarks(context, summary, part, samples.outputs)
    tested.write(samples)
    write_json(context.run.summary, summary)
    mistakes = store_values(context, result, samples)
    write_samples(context, part, samples, mistakes)
    draw(context)
    predicted = BestPredictions(context).at_the_end()
    context.state.model.load_state_dict(last)
    print_closing(context, summary, predicted)
    return summary


def check_selection(context: RunContext) -> None:
    """Raise `TrainingFailed` if the monitored metric was NaN in every evaluation."""
    monitor = context.plan.monitor
    values = [row[monitor] for row in context.state.history.rows if monitor in row]
    if values and all(map(math.isnan, values)):
        what = f"{monitor} was nan in every epoch: none can be selected."
        raise TrainingFailed(f"{what} Look for numbers that are not finite in that part's data.", "diverged")


def evaluated_part(context: RunContext) -> tuple[str, BatchSource]:
    """The part on which the result is measured: test, else validation, else train."""
    batches = context.batches
    if context.components.test is not None:
        return "test", context.components.test
    part = next(name for name in ("test", "val", "train") if name in batches)
    return part, batches[part]


def summarize(context: RunContext, part: str, result: Evaluation, evaluating: float) -> Values:
    """The values of summary.json; `evaluating` is the time in seconds that `result` took."""
    state, plan, components = context.state, context.plan, context.components
    best = None if state.best is None else dict(state.best.row)
    rows = state.history.rows
    used = components.rows_used()
    summary: Values = {
        "monitor": plan.monitor,
        "mode": plan.mode,
        "better": directions(state.metric),
        "bounds": bounds(state.metric, state.loss),
        "stopped": "pruned" if context.pruned else state.stop_reason,
        "best": best,
        "last": dict(rows[-1]) if rows else None,
        "loss": components.auto["loss"],
        "data": data_facts(components.data.spec),
        "baseline": baseline(components.data, getattr(state.loss, "ignore_index", None), used),
        "counts": {
            **{name: p.samples for name, p in components.data.parts().items()},
            **{f"{name}_used": count for name, count in used.items()},
            "parameters": sum(p.numel() for p in state.model.parameters()),
            "epochs": len(rows),
            "steps": state.step,
        },
        "times": {
            "train_seconds": state.train_seconds,
            "eval_seconds": state.eval_seconds + evaluating,
            "total_seconds": context.seconds(),
            "samples_per_second": rows[-1]["samples_per_second"] if rows else None,
            "peak_memory_mib": peak_mib(),
        },
    }
    if components.data.rival is not None and not context.pruned:
        summary["rival"] = rival_of(components.data, context.run.path)
    if part == "test":
        summary["test"] = {"of": "last" if state.best is None else "best", **result.metrics}
    return summary


def data_facts(spec: DataSpec) -> Values:
    """What the data are, for those who read the run's files alone."""
    classes = len(class_names(spec)) if spec.task in ("classification", "labelling") else None
    return {"task": spec.task, "input_kind": spec.input_kind, "input_shape": list(spec.input_shape), "classes": classes}


def find_remarks(context: RunContext, summary: Values, evaluated: str, outputs: Tensor) -> list[str]:
    """Remarks on constant outputs, on a result that is no better than the baseline, and on leaks in the data.

    `outputs` are those of some samples of the part that was evaluated.
    """
    remarks = []
    used, rows = summary["counts"][f"{evaluated}_used"], summary["counts"][evaluated]
    if context.config.trainer.max_batches is not None and used < rows:
        words = f"{some_of(used, rows)} {evaluated} rows"
        remarks.append(f"the result is measured on {words} (trainer.max_batches={context.config.trainer.max_batches})")
    if evaluated == "train":
        remarks.append("measured on the rows that were trained on: nothing here concerns new data")
    if len(outputs) > 1 and float(outputs.flatten(1).std(0).max()) < CONSTANT:
        remarks.append("the outputs are constant: the model gives the same answer to every sample")
    for metric, reached, base in not_better(summary, summary["baseline"]):
        remarks.append(f"no better than the baseline: {metric} {format_number(reached)} against {format_number(base)}")
    for metric, reached, base in not_better(summary, summary.get("rival") or {})[:1]:
        what = f"{summary['rival']['of']} (scikit-learn) do better: {metric} {format_number(base)}"
        remarks.append(f"{what} against {format_number(reached)}")
    return [*remarks, *context.components.data.remarks]


def not_better(summary: Values, other: Values) -> list[tuple[str, float, float]]:
    """The metrics in which the run is no better than something else: the name, its own value and the other one."""
    row = summary["best"] or summary["last"] or {}
    found = []
    for metric, base in other.items():
        reached = summary["test"].get(metric) if "test" in summary else row.get(f"{other.get('part')}_{metric}")
        way = summary["better"].get(metric)
        if way and isinstance(base, float) and isinstance(reached, float) and not better(reached, base, way):
            found.append((metric, reached, base))
    return found


def draw(context: RunContext) -> None:
    """Draw the figures, if they are drawn now; else remove those of an earlier session, which show another state."""
    forget_figures(context.run.path)
    if draws_now(context):
        draw_figures(context.run.path)


def draws_now(context: RunContext) -> bool:
    """Whether the run draws its figures: by `run.figures`, and if that is auto, unless it is a job of a sweep."""
    asked = context.config.get("run.figures")
    return asked == "all" or (asked != "none" and sweep_of(context.run.path) is None)


def store_values(context: RunContext, result: Evaluation, samples: Samples) -> bool:
    """Write what the figures of the task are drawn from: confusion matrix, fit, worst mistakes or reconstructions.

    Returns whether the worst mistakes are among it.
    """
    state, run, spec = context.state, context.run, context.state.spec
    matrix = state.metric.confusion(result.counts)
    if matrix is not None:
        labels = list(spec.labels) or [str(i) for i in range(len(matrix))]
        store_confusion(run.path, matrix, labels)
    outputs = samples.outputs
    if spec.task == "reconstruction":
        inputs = samples.first_input()
        store_reconstructions(run.path, inputs.numpy(), outputs.reshape(inputs.shape).numpy())
    elif spec.task == "classification" and spec.input_kind == "image" and outputs.shape[1] > 1:
        kind = output_kind(context.components.auto["loss"], state.loss)
        chances, predicted = answers(spec, kind, outputs).max(1)
        store_mistakes(
            run.path, samples.first_input().numpy(), samples.targets.numpy(), predicted.numpy(), chances.numpy(),
            list(spec.labels),
        )  # fmt: skip
        return True
    elif is_line(context, outputs):
        write_line(context)
    return False


def is_line(context: RunContext, outputs: Tensor) -> bool:
    """Whether the data have one feature and one output, and are in memory."""
    train = context.components.data.train
    if train.dataset is not None or len(train.inputs) != 1 or len(train.target) != len(train.inputs[0]):
        return False
    one_out = outputs.ndim == 2 and outputs.shape[1] == 1 and train.target[0].numel() == 1
    return context.state.spec.input_kind == "tabular" and context.state.spec.input_shape == (1,) and one_out


def write_line(context: RunContext) -> None:
    """Write fit.csv: the points of data with one feature, and the fitted curve."""
    state, part = context.state, context.components.data.train
    points = torch.sort(part.inputs[0].flatten().float())
    span = float(points.values[-1] - points.values[0]) or 1.0
    usual = (float(points.values[0]) - 0.2 * span, float(points.values[-1]) + 0.2 * span)
    low, high = context.components.data.drawn or usual
    grid = torch.linspace(float(low), float(high), 201)
    rows = torch.cat([points.values, grid])[:, None]
    inputs = Preparation(state.spec).prepare_inputs((rows,))
    with eval_mode(state.model), torch.inference_mode():
        outputs = state.model(*(x.to(state.device) for x in inputs)).cpu()
    kind = output_kind(context.components.auto["loss"], state.loss)
    outputs = answers(state.spec, kind, outputs)[:, -1]  # a value, or the probability of the second class
    known = part.target.flatten().float()[points.indices].tolist() + [None] * len(grid)
    lines = ["x,y,prediction"]
    for x, y, prediction in zip(rows.flatten().tolist(), known, outputs.flatten().tolist(), strict=True):
        lines.append(f"{x!r},{'' if y is None else repr(y)},{prediction!r}")
    write_atomic(context.run.file("fit.csv"), ("\n".join(lines) + "\n").encode())


def print_closing(context: RunContext, summary: Values, predicted: Sequence[str]) -> None:
    """Print the closing table, the predictions that were asked for, the remarks and the directory of the run."""
    screen = context.screen
    screen.line()
    table = closing_table(summary, context.run.path)
    head, *lines = str(table).splitlines()
    screen.line(f"  {head}", style="dim")
    for number, line in enumerate(lines):
        screen.line(f"  {line}", style="bold" if number == table.result else "")
    if summary["stopped"]:
        screen.line(f"  stopped early: {summary['stopped']}")
    for line in predicted:
        screen.line(line)
    for remark in summary["remarks"]:
        screen.line(f"  remark: {remark}", style="yellow")
    if not draws_now(context):
        screen.line(f"  figures    {words_for('report', context.run.path)}", style="dim")
    screen.line(f"Finished: {shorter(context.run.path)}", style="green", always=True)
