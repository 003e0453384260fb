"""The end of a run: the test result of the selected weights, the summary, the figures, the closing table."""

from __future__ import annotations

import math
from time import perf_counter

import torch
from torch import Tensor

from dlrun.data.baseline import baseline
from dlrun.data.preprocess import preprocess, restore_target
from dlrun.engine.evaluation import Evaluation, eval_mode, evaluate
from dlrun.engine.state import TrainState, better
from dlrun.errors import TrainingFailed
from dlrun.objectives.metrics import directions
from dlrun.plain import Values
from dlrun.processes import peak_mib
from dlrun.report.confusion import write_confusion
from dlrun.report.curves import draw_curves
from dlrun.report.fits import draw_fit
from dlrun.report.mistakes import draw_mistakes, draw_reconstructions
from dlrun.report.tables import closing_table, some_of
from dlrun.run.context import RunContext
from dlrun.run.screen import shorter
from dlrun.spec import BatchSource
from dlrun.store.files import write_atomic, write_json

CONSTANT = 1e-4  # outputs whose standard deviation over the samples is smaller are called constant
LOOKED_AT = 10_000_000  # numbers in the samples that are looked at one by one: all of MNIST's test part

Looked = tuple[tuple[Tensor, ...], Tensor, Tensor]  # inputs, outputs and targets of some samples


def close_run(context: RunContext) -> Values | None:
    """Evaluate the selected weights, write summary.json and the figures, print the table.

    Returns the summary; None if a stop was asked for before the evaluation was done. Raises `TrainingFailed` where
    there are no selected weights.
    """
    check_selection(context)
    part, batches = judged(context)
    last = {name: value.clone() for name, value in context.state.model.state_dict().items()}
    if context.state.best_weights is not None:
        context.state.model.load_state_dict(context.state.best_weights)
    started = perf_counter()
    result = evaluate(context.state, batches, context.plan)
    evaluating = perf_counter() - started
    if result is None:
        context.state.model.load_state_dict(last)
        return None
    looked = look(context.state, batches)
    summary = summarize(context, part, result, evaluating)
    remarks = find_remarks(context, summary, looked)
    summary["remarks"] = remarks
    write_json(context.run.summary, summary)
    draw(context, part, result, looked)
    context.state.model.load_state_dict(last)
    print_closing(context, summary)
    return summary


def check_selection(context: RunContext) -> None:
    """Raise `TrainingFailed` if the monitored metric was NaN whenever it was evaluated."""
    monitor = context.plan.monitor
    values = [row[monitor] for row in context.state.history.rows if monitor in row]
    if values and all(map(math.isnan, values)):
        what = f"{monitor} was nan in every epoch: none can be selected."
        raise TrainingFailed(f"{what} Look for numbers that are not finite in that part's data.", "diverged")


def judged(context: RunContext) -> tuple[str, BatchSource]:
    """The part that the result is told of: test, else validation, else train."""
    batches = context.batches
    if context.components.test is not None:
        return "test", context.components.test
    part = next(name for name in ("test", "val", "train") if name in batches)
    return part, batches[part]


def summarize(context: RunContext, part: str, result: Evaluation, evaluating: float) -> Values:
    """The nested values of summary.json; `evaluating` are the seconds that `result` took."""
    state, plan, components = context.state, context.plan, context.components
    best = None if state.best is None else dict(state.best.row)
    rows = state.history.rows
    used = components.rows_used()
    summary: Values = {
        "monitor": plan.monitor,
        "mode": plan.mode,
        "better": directions(state.metric),
        "stopped": "pruned" if context.pruned else state.stop_reason,
        "best": best,
        "last": dict(rows[-1]) if rows else None,
        "loss": components.auto["loss"],
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
    if part == "test":
        summary["test"] = {"of": "last" if state.best is None else "best", **result.metrics}
    return summary


def look(state: TrainState, batches: BatchSource) -> Looked:
    """Inputs, outputs and targets of the first samples, on the CPU; of text one batch, and no inputs: nothing draws
    them, and batches are trimmed to their own lengths.
    """
    text = state.spec.input_kind == "text"
    inputs: list[tuple[Tensor, ...]] = []
    outputs, targets, seen = [], [], 0
    with eval_mode(state.model), torch.inference_mode():
        for batch in batches.epoch(0):
            outputs.append(state.model(*batch.inputs).detach().float().cpu())  # it may be a parameter's view
            inputs.append(tuple(x.cpu() for x in batch.inputs))
            targets.append(batch.target.cpu())
            seen += sum(x.numel() for x in batch.inputs)
            if text or seen >= LOOKED_AT:
                break
    shown = () if text else tuple(torch.cat(x) for x in zip(*inputs, strict=True))
    return shown, torch.cat(outputs), torch.cat(targets)


def find_remarks(context: RunContext, summary: Values, looked: Looked) -> list[str]:
    """What a careful reader would want to be told: constant outputs, nothing gained over the baseline, leaks."""
    outputs = looked[1]
    remarks = []
    used, rows = summary["counts"][f"{judged(context)[0]}_used"], summary["counts"][judged(context)[0]]
    if context.config.trainer.max_batches is not None and used < rows:
        words = f"{some_of(used, rows)} {judged(context)[0]} rows"
        remarks.append(f"the result is measured on {words} (trainer.max_batches={context.config.trainer.max_batches})")
    if judged(context)[0] == "train":
        remarks.append("measured on the rows that were trained on: nothing here concerns new data")
    if len(outputs) > 1 and float(outputs.flatten(1).std(0).max()) < CONSTANT:
        remarks.append("the outputs are constant: the model gives the same answer to every sample")
    part = summary["baseline"].get("part")
    for metric, base in summary["baseline"].items():
        row = summary["best"] or summary["last"] or {}
        reached = summary["test"].get(metric) if "test" in summary else row.get(f"{part}_{metric}")
        way = summary["better"].get(metric)
        if way and isinstance(base, float) and isinstance(reached, float) and not better(reached, base, way):
            remarks.append(f"no better than the baseline: {metric} {reached:.4f} against {base:.4f}")
    return [*remarks, *context.components.data.remarks]


def draw(context: RunContext, part: str, result: Evaluation, looked: Looked) -> None:
    """curves.png, and what the task has: confusion matrix, fit, worst mistakes, reconstructions."""
    state, run = context.state, context.run
    draw_curves(run.path)
    matrix = state.metric.confusion(result.counts)
    if matrix is not None:
        labels = list(state.spec.labels) or [str(i) for i in range(len(matrix))]
        write_confusion(run.path, matrix, labels)
    inputs, outputs, targets = looked
    draw_samples(context, inputs, outputs, targets)


def draw_samples(context: RunContext, inputs: tuple[Tensor, ...], outputs: Tensor, targets: Tensor) -> None:
    """The figure that shows single samples, where the task has one."""
    state, run = context.state, context.run
    spec = state.spec
    if spec.task == "reconstruction":
        draw_reconstructions(run.path, inputs[0].numpy(), outputs.reshape(inputs[0].shape).numpy())
    elif spec.task == "classification" and spec.input_kind == "image" and outputs.shape[1] > 1:
        chances, predicted = outputs.softmax(1).max(1)
        draw_mistakes(
            run.path, inputs[0].numpy(), targets.numpy(), predicted.numpy(), chances.numpy(), list(spec.labels)
        )
    elif is_line(context, outputs):
        draw_line(context)


def is_line(context: RunContext, outputs: Tensor) -> bool:
    """One number in, one number out, and the points are in memory."""
    train = context.components.data.train
    if train.dataset is not None or len(train.inputs) != 1 or len(train.target) != len(train.inputs[0]):
        return False
    one_out = outputs.ndim == 2 and outputs.shape[1] == 1 and train.target[0].numel() == 1
    return context.state.spec.input_kind == "tabular" and context.state.spec.input_shape == (1,) and one_out


def draw_line(context: RunContext) -> None:
    """fit.csv and fit.png of data with one feature and one output: the points, and the fitted curve."""
    state, part = context.state, context.components.data.train
    points = torch.sort(part.inputs[0].flatten().float())
    span = float(points.values[-1] - points.values[0]) or 1.0
    usual = (float(points.values[0]) - 0.2 * span, float(points.values[-1]) + 0.2 * span)
    low, high = state.spec.preprocessing.get("drawn", usual)
    grid = torch.linspace(float(low), float(high), 201)
    rows = torch.cat([points.values, grid])[:, None]
    inputs, _ = preprocess(state.spec, (rows,), torch.zeros(len(rows), 1))
    with eval_mode(state.model), torch.inference_mode():
        outputs = restore_target(state.spec, state.model(*(x.to(state.device) for x in inputs)).cpu())
    logistic = state.spec.task == "classification"
    if logistic and not state.loss.probabilities:
        outputs = outputs.sigmoid()
    known = part.target.flatten().float()[points.indices].tolist() + [None] * len(grid)
    lines = ["x,y,prediction"]
    for x, y, prediction in zip(rows.flatten().tolist(), known, outputs.flatten().tolist(), strict=True):
        lines.append(f"{x!r},{'' if y is None else repr(y)},{prediction!r}")
    write_atomic(context.run.file("fit.csv"), ("\n".join(lines) + "\n").encode())
    draw_fit(context.run.path)


def print_closing(context: RunContext, summary: Values) -> None:
    """Best and last metrics, the test result, the baseline beside them, time, where things are."""
    screen = context.screen
    screen.line()
    table = closing_table(summary, context.run.path)
    head, *lines = str(table).splitlines()
    screen.line(f"  {head}", style="dim")
    for number, line in enumerate(lines):
        screen.line(f"  {line}", style="bold" if number == table.result else "")
    if summary["stopped"]:
        screen.line(f"  stopped early: {summary['stopped']}")
    for remark in summary["remarks"]:
        screen.line(f"  remark: {remark}", style="yellow")
    screen.line(f"Finished: {shorter(context.run.path)}", style="green", always=True)
